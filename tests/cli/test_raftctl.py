import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from raftd.client import Client
from raftd.errors import ExitCode

Raftctl = Callable[..., bytes]

HEAVY = {"cryptography", "aiohttp", "uvloop", "prometheus_client", "importlib.metadata"}
OF_OTHER_COMMANDS = {
    "raftd.pki",
    "raftd.settings",
    "raftd.client.load",
    "raftd.cli.status",
    "raftd.consensus.raft",
    "raftd.net",
    "raftd.storage",
}


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("arguments", [["get", "raftd"], ["set", "raftd", "ready"]])
def test_a_command_imports_what_it_needs(arguments: list[str], cluster_directory: Path) -> None:
    """A script that calls raftctl in a loop does not pay for the daemon's libraries, nor for other commands."""
    code = "import sys\nfrom raftd.cli.output import run_main\nfrom raftd.cli.raftctl import group\n"
    code += "assert run_main(group, 'raftctl', sys.argv[1:]) == 0\nprint(*sys.modules, sep='\\n')"
    config = str(cluster_directory / "raftctl.yaml")
    ended = subprocess.run(
        [sys.executable, "-c", code, "--config", config, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    modules = set(ended.stdout.split())
    assert "raftd.client" in modules
    assert not modules & (HEAVY | OF_OTHER_COMMANDS)


@pytest.mark.usefixtures("node")
def test_flag_over_environment_over_file(
    raftctl: Raftctl,
    cluster_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of the three alone would do; where two speak, the one in front counts."""
    assert raftctl("get", "raftd") == b"ready\n"
    monkeypatch.setenv("RAFTCTL_ENDPOINTS", "127.0.0.1:1")
    monkeypatch.setenv("RAFTCTL_TIMEOUT", "100ms")
    assert b"127.0.0.1:1" in raftctl("get", "raftd", code=ExitCode.UNAVAILABLE)
    text = (cluster_directory / "raftctl.yaml").read_text()
    endpoint = text.partition("[")[2].partition("]")[0]
    assert raftctl("--endpoints", endpoint, "--timeout", "5s", "get", "raftd") == b"ready\n"


@pytest.mark.usefixtures("node")
def test_everything_may_come_from_the_environment(
    run: Raftctl,
    cluster_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a container, where there is no file."""
    monkeypatch.setenv("RAFTCTL_CONFIG", str(cluster_directory / "raftctl.yaml"))
    assert run("get", "raftd") == b"ready\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--endpoints", ",", "get", "a"], "names no node"),
        (["--endpoints", "a b", "get", "a"], "neither a host's name nor an IP address"),
        (["--endpoints", "n1,n1:7400", "get", "a"], "same node twice"),
        (["--timeout", "5", "get", "a"], "not a duration"),
        (["--timeout", "0s", "get", "a"], "more than 0"),
        (["get"], "KEY"),
        (["gte", "a"], "gte"),
        (["get", "a"], "which cluster?"),
    ],
)
def test_a_wrong_call_is_one_line(run: Raftctl, arguments: list[str], said: str) -> None:
    """With exit code 2 and where to read on."""
    output = run(*arguments, code=ExitCode.USAGE).decode()
    assert said in output
    assert output.startswith("raftctl: ")
    assert output.count("\n") == 1
    assert "--help" in output


def test_a_file_that_cannot_be_used_is_one_line(run: Raftctl, tmp_path: Path) -> None:
    """Exit code 78 for the configuration, 7 for certificates; the file is named."""
    assert run("--config", str(tmp_path / "none"), "get", "a", code=78).endswith(b"none: No such file or directory\n")
    files = [f"--{name}={tmp_path / name}" for name in ("cacert", "cert", "key")]
    said = run("--endpoints", "n1", *files, "get", "a", code=ExitCode.TLS)
    assert said == f"raftctl: {tmp_path}/cacert: No such file or directory\n".encode()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(run: Raftctl, shell: str) -> None:
    """Each names the program and the variable by which the shell asks it."""
    script = run("completion", shell).decode()
    assert "_RAFTCTL_COMPLETE" in script
    assert "raftctl" in script


@pytest.fixture
def bash_completes(run: Raftctl, tmp_path: Path) -> Callable[..., list[str]]:
    """What a real bash, which has sourced the script, offers for the last word."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash here")
    (tmp_path / "completion").write_bytes(run("completion", "bash"))
    program = tmp_path / "raftctl"
    program.write_text(f"#!{sys.executable}\nfrom raftd.cli.raftctl import main\nmain()\n")
    program.chmod(0o755)

    def complete(*words: str) -> list[str]:
        line = f"""
source {tmp_path}/completion
COMP_WORDS=({" ".join(map(repr, (str(program), *words)))}); COMP_CWORD={len(words)}
_raftctl_completion {program} {words[-1]!r} ''
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
        ended = subprocess.run(
            ["bash", "--norc", "-c", line], capture_output=True, text=True, timeout=30, check=True, cwd=tmp_path
        )
        assert ended.stderr == ""
        return ended.stdout.split()

    return complete


def test_bash_completes_commands_and_options(bash_completes: Callable[..., list[str]]) -> None:
    """What begins so."""
    assert bash_completes("s") == ["set", "snapshot", "status"]
    assert bash_completes("get", "--s") == ["--stale"]
    assert bash_completes("get", "-o", "j") == ["json"]
    assert bash_completes("lease", "k") == ["keep-alive"]


def test_bash_completes_keys(
    bash_completes: Callable[..., list[str]], client: Client, cluster_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster's own, wherever the configuration comes from; nothing, and no word, if it cannot be reached."""
    client.put("complete/one", "1")
    client.put("complete/two", "2")
    config = str(cluster_directory / "raftctl.yaml")
    assert bash_completes("--config", config, "get", "complete/") == ["complete/one", "complete/two"]
    monkeypatch.setenv("RAFTCTL_CONFIG", config)
    assert bash_completes("--namespace", "complete/", "set", "t") == ["two"]
    assert bash_completes("--endpoints", "127.0.0.1:1", "get", "complete/") == []
    assert bash_completes("--endpoints", "not an address", "get", "complete/") == []
    assert bash_completes("--config", "/none", "get", "complete/") == []
