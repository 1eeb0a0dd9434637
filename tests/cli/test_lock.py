import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from raftd.client import Client
from raftd.errors import ExitCode
from tests.cli.conftest import PATIENCE_SECONDS, PROGRAM, Spawn, wait_until
from tests.client.fake import FakeCluster

Raftctl = Callable[..., bytes]

TIDY = """\
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("ready", flush=True)
signal.sigwait({signal.SIGTERM})
print("tidy", flush=True)
raise SystemExit(6)
"""
"""A program that ends by SIGTERM in its own way."""


def nested(cluster_directory: Path) -> str:
    """raftctl, for a command that raftctl runs."""
    return " ".join(f"'{word}'" for word in (*PROGRAM, "--config", str(cluster_directory / "raftctl.yaml")))


def test_a_command_runs_under_the_lock(raftctl: Raftctl, client: Client, tmp_path: Path) -> None:
    """The fencing token is in its environment, its exit code is passed on, and the lock is given back."""
    script = f'echo "$RAFTCTL_FENCE $RAFTCTL_FENCE_KEY" > {tmp_path}/out; exit 7'
    raftctl("lock", "lock/a", "--", "sh", "-c", script, code=7)
    first, key = (tmp_path / "out").read_text().split()
    assert re.fullmatch("lock/a/[0-9a-f]{16}", key)
    raftctl("lock", "lock/a", "--", "sh", "-c", script, code=7)
    second, _ = (tmp_path / "out").read_text().split()
    assert int(second) > int(first)
    assert client.count(prefix="lock/a") == 0


def test_writes_with_the_fence(
    raftctl: Raftctl, client: Client, cluster_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They happen while the lock is held, and not with a token of an earlier holder."""
    inner = nested(cluster_directory)
    tell = f"env | grep ^RAFTCTL_FENCE > {tmp_path}/env"
    script = f"{inner} set --fenced fenced/a 1 && {inner} incr --fenced fenced/n && {tell}"
    raftctl("lock", "lock/f", "--", "sh", "-c", script)
    assert client.get("fenced/n") is not None
    for line in (tmp_path / "env").read_text().splitlines():
        monkeypatch.setenv(*line.split("=", 1))
    for command in (["set", "fenced/a", "2"], ["del", "fenced/a"], ["incr", "fenced/n"], ["cas", "fenced/a", "1", "2"]):
        assert b"fence" in raftctl(*command, "--fenced", code=ExitCode.COMPARE_FAILED)
    assert raftctl("get", "fenced/a") == b"1\n"


@pytest.mark.parametrize("command", [["lock", "l"], ["elect", "l", "me"]], ids=["lock", "elect"])
def test_raftctl_in_the_command_means_the_same_cluster(
    command: list[str], raftctl: Raftctl, client: Client, tmp_path: Path
) -> None:
    """And the same namespace, in which the fence is: wherever the command goes, and whatever flags said so."""
    inner = " ".join(f"'{word}'" for word in PROGRAM)
    script = f"cd {tmp_path} && {inner} set --fenced inner 1"
    raftctl("--namespace", "of-the-parent/", "--timeout", "2500ms", *command, "--", "sh", "-c", script)
    found = client.get("of-the-parent/inner")
    assert found is not None
    client.delete("of-the-parent/inner")


@pytest.mark.parametrize("command", [["lock", "l"], ["elect", "l", "me"]], ids=["lock", "elect"])
def test_raftctl_in_the_command_has_no_namespace_either(
    command: list[str], run: Raftctl, client: Client, cluster_directory: Path, tmp_path: Path
) -> None:
    """An empty one on the command line counts more than that of the file, there too."""
    config = tmp_path / "raftctl.yaml"
    text = (cluster_directory / "raftctl.yaml").read_text().replace("pki/", f"{cluster_directory}/pki/")
    config.write_text(f"{text}namespace: of-the-file/\n")
    inner = [*PROGRAM, "set", "--fenced", "inner", "1"]
    run("--config", str(config), "--namespace", "", *command, "--", *inner)
    assert client.get("of-the-file/inner") is None
    assert client.delete("inner").deleted


def test_another_holds_it(raftctl: Raftctl, client: Client) -> None:
    """--wait says how long; exit code 4, and the command does not run."""
    with client.lock("lock/held", ttl=5):
        for wait in ("0s", "50ms"):
            said = raftctl("lock", "lock/held", "--wait", wait, "--", "touch", "/nowhere/x", code=4)
            assert said == b"raftctl: another holds it\n"
    raftctl("lock", "lock/held", "--wait", "5s", "true")


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["--", "no-such-command"], 127, "cannot run no-such-command: there is no such command"),
        (["--", "/etc/passwd"], 126, "cannot run /etc/passwd: it is not an executable file"),
        ([], 2, "which command is to be run?"),
        (["--ttl", "0s", "true"], 2, "more than 0"),
        (["--ttl", "1", "true"], 2, "not a duration"),
        (["--wait", "x", "true"], 2, "not a duration"),
    ],
)
def test_what_cannot_be_run(raftctl: Raftctl, client: Client, command: list[str], code: int, said: str) -> None:
    """One line, and the lock is not taken."""
    output = raftctl("lock", "lock/none", *command, code=code).decode()
    assert said in output
    assert output.count("\n") == 1
    assert client.count(prefix="lock/none") == 0


@pytest.mark.parametrize("command", [["lock", "", "true"], ["elect", "", "me"], ["elect", "", "--observe"]])
def test_a_name_that_is_none(raftctl: Raftctl, command: list[str]) -> None:
    """As of a variable that is not set: all who slip so would share one lock."""
    assert b"NAME is empty" in raftctl(*command, code=ExitCode.USAGE)


def test_a_command_that_only_looks_like_one(raftctl: Raftctl, client: Client, tmp_path: Path) -> None:
    """That is found out when the lock is held already; it is given back."""
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    assert b"Exec format error" in raftctl("lock", "lock/broken", "--", str(broken), code=126)
    assert client.count(prefix="lock/broken") == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_waits_leaves_nothing_behind(spawn: Spawn, client: Client, number: signal.Signals) -> None:
    """The place in the queue is given up at once, long before its time to live is over."""
    with client.lock("lock/queue", ttl=5):
        process = spawn("lock", "lock/queue", "--ttl", "10m", "--", "true")
        wait_until(lambda: client.count(prefix="lock/queue/") == 2, "it waits")
        process.send_signal(number)
        assert process.wait(PATIENCE_SECONDS) == 128 + number
        assert client.count(prefix="lock/queue/") == 1


def test_a_signal_while_it_runs_ends_the_command(spawn: Spawn, client: Client) -> None:
    """It decides how; then the lock is given back."""
    # Not a shell: one that waits for a child tells of that child's end by the same signal, if it comes to it.
    process = spawn("lock", "lock/run", "--", sys.executable, "-S", "-c", TIDY)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.terminate()
    assert process.communicate(timeout=PATIENCE_SECONDS) == (b"tidy\n", b"")
    assert process.returncode == 6
    assert client.count(prefix="lock/run") == 0


def test_a_lost_lock_stops_the_command(spawn: Spawn, cluster_in_thread: FakeCluster, config_path: Path) -> None:
    """When the cluster has ended the lease, and says so at the next keep-alive; one line, exit code 1."""
    process = spawn("lock", "l", "--ttl", "1s", "--", "sh", "-c", "echo ready; exec sleep 100", config=config_path)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    cluster_in_thread.expire_leases()
    _, error = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == ExitCode.ERROR
    assert error == b"raftctl: the lock was lost, or may be, and so the command was stopped\n"


def test_an_unreachable_cluster_stops_the_command(
    spawn: Spawn, cluster_in_thread: FakeCluster, config_path: Path
) -> None:
    """Before another can have the lock; whatever becomes of the lease, it is not waited for."""
    process = spawn("lock", "l", "--ttl", "1s", "--", "sh", "-c", "echo ready; exec sleep 100", config=config_path)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    cluster_in_thread.leader = None
    _, error = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == ExitCode.ERROR
    assert b"the lock was lost" in error
