"""The units are judged by systemd's own tools, which need no running systemd."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = "raftd@.service"

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def run(*command: str, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=directory, check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, starting a program that exists here: verify asks for it outside of ExecSearchPath too."""
    for path in [*SYSTEMD.glob("*.service"), *SYSTEMD.glob("*.target")]:
        text = re.sub(r"^ExecStart=raftd ", "ExecStart=/bin/true ", path.read_text(), flags=re.MULTILINE)
        (tmp_path / path.name).write_text(text)
    return tmp_path


def verify(units: Path) -> str:
    """What systemd complains about; its exit code is 0 for unknown directives, so the text decides."""
    ended = run("systemd-analyze", "verify", "./raftd@1.service", "./raftd.target", directory=units)
    return ended.stdout + ended.stderr


def directives() -> list[tuple[str, str]]:
    text = (SYSTEMD / UNIT).read_text()
    return [(name, value) for name, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)]


def test_systemd_has_nothing_to_complain_about(units: Path) -> None:
    """`systemd-analyze verify` prints nothing."""
    assert verify(units) == ""


@pytest.mark.parametrize("name", sorted({name for name, _ in directives()}))
def test_each_directive_is_known(units: Path, name: str) -> None:
    """A typo in any directive's name would be noticed: systemd itself only ignores it."""
    unit = units / UNIT
    unit.write_text(re.sub(rf"^{name}=", f"{name}x=", unit.read_text(), count=1, flags=re.MULTILINE))
    assert f"Unknown key '{name}x'" in verify(units)


def test_the_sandbox_holds(units: Path) -> None:
    """By systemd's own offline judgement, the service is exposed by 1.1 of 10 at most."""
    ended = run("systemd-analyze", "security", "--offline=true", f"./{UNIT}", directory=units)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", ended.stdout)
    assert found is not None, ended.stdout + ended.stderr
    assert float(found[1]) <= 1.1, ended.stdout


def test_process_metrics_stay_visible() -> None:
    """ProcSubset=pid would hide /proc/stat, and all process_* metrics with it."""
    assert "ProcSubset" not in dict(directives())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Type", "notify"),
        ("ExecStart", "raftd run --config /etc/raftd/raftd.yaml --node %i"),
        ("KillMode", "mixed"),
        ("Restart", "on-failure"),
        ("RestartPreventExitStatus", "78 9 10"),
        ("StateDirectory", "raftd/%i"),
        ("StateDirectoryMode", "0700"),
        ("PartOf", "raftd.target"),
        ("WantedBy", "multi-user.target"),
        ("TimeoutStopSec", "30"),
    ],
)
def test_what_other_parts_rely_on(name: str, value: str) -> None:
    """Exit codes, directories and signals are agreed with the daemon and the documentation."""
    assert dict(directives())[name] == value


def test_the_user_exists_before_the_files(tmp_path: Path) -> None:
    """The sysusers and tmpfiles are accepted by their own tools, and speak of the same user."""
    if shutil.which("systemd-sysusers") is None:
        pytest.skip("systemd-sysusers is not installed")
    (tmp_path / "etc").mkdir()
    ended = run("systemd-sysusers", "--dry-run", f"--root={tmp_path}", str(SYSTEMD / "raftd.sysusers"))
    assert ended.returncode == 0, ended.stderr
    assert "Creating user 'raftd'" in ended.stderr
    assert re.findall(r"^d (\S+) (\S+) (\S+) (\S+)", (SYSTEMD / "raftd.tmpfiles").read_text(), re.MULTILINE) == [
        ("/etc/raftd", dict(directives())["ConfigurationDirectoryMode"], "root", "raftd")
    ]
