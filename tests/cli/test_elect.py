import io
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from raftd.client import Client
from raftd.errors import ExitCode
from tests.cli.conftest import PATIENCE_SECONDS, Spawn
from tests.client.fake import FakeCluster

Raftctl = Callable[..., bytes]


def test_a_command_runs_while_one_leads(raftctl: Raftctl, client: Client, tmp_path: Path) -> None:
    """With the fencing token in its environment; afterwards nobody leads."""
    raftctl("elect", "el/a", "me", "--", "sh", "-c", f"echo $RAFTCTL_FENCE > {tmp_path}/out; exit 5", code=5)
    assert int((tmp_path / "out").read_text()) > 0
    assert client.election("el/a").leader() is None


def test_without_a_command_one_leads_until_ctrl_c(spawn: Spawn, client: Client) -> None:
    """A line says that the election is won."""
    process = spawn("elect", "el/b", "me\n", "-o", "json")
    assert process.stdout is not None
    token = json.loads(process.stdout.readline())["token"]
    leader = client.election("el/b").leader()
    assert leader is not None
    assert (leader.value, leader.token) == (b"me\n", token)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_SECONDS) == ExitCode.OK
    assert client.election("el/b").leader() is None


def test_who_leads_is_seen(spawn: Spawn, client: Client) -> None:
    """Each leader, and that there is none; until Ctrl-C."""
    process = spawn("elect", "el/c", "--observe")
    out = process.stdout
    assert out is not None
    assert [out.readline().split() for _ in range(2)] == [[b"TOKEN", b"LEADER"], [b"-", b"-"]]
    with client.election("el/c", b"first\xff") as election:
        assert out.readline().split() == [str(election.token).encode(), b"first\\xff"]
    assert out.readline().split() == [b"-", b"-"]
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=PATIENCE_SECONDS) == (b"", b"")
    assert process.returncode == ExitCode.OK


def test_a_value_from_standard_input(raftctl: Raftctl, client: Client, stdin: Callable[[bytes], io.BytesIO]) -> None:
    """`-`, as with set; and --wait as with lock."""
    stdin(b"from stdin")
    with client.election("el/d", "other", ttl=5):
        assert b"another holds it" in raftctl("elect", "el/d", "-", "--wait", "0s", code=ExitCode.COMPARE_FAILED)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["el/e"], 2, "what does the candidate say"),
        (["el/e", "v", "--observe"], 2, "neither VALUE nor COMMAND"),
        (["el/e", "v", "--", "no-such-command"], 127, "cannot run"),
        ([], 2, "NAME"),
    ],
)
def test_wrong_calls(raftctl: Raftctl, client: Client, arguments: list[str], code: int, said: str) -> None:
    """One line, and nobody is a candidate."""
    output = raftctl("elect", *arguments, code=code).decode()
    assert said in output
    assert output.count("\n") == 1
    assert client.count(prefix="el/e") == 0


def test_a_lost_leadership_is_told(spawn: Spawn, cluster_in_thread: FakeCluster, config_path: Path) -> None:
    """One line and exit code 1."""
    process = spawn("elect", "e", "me", "--ttl", "1s", config=config_path)
    assert process.stdout is not None
    process.stdout.readline()
    cluster_in_thread.expire_leases()
    _, error = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, error) == (ExitCode.ERROR, b"raftctl: the leadership was lost, or may be\n")
