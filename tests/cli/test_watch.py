import json
import select
import signal
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from raftd.cli.watch import VARIABLE_BYTES_MAX, variables_of
from raftd.client import Change, Client, Previous
from raftd.errors import ExitCode
from tests.cli.conftest import PATIENCE_SECONDS, Spawn, wait_until

Raftctl = Callable[..., bytes]


def test_changes_that_are_held_still(raftctl: Raftctl, client: Client) -> None:
    """In their order, values escaped; --changes ends it."""
    first = client.put("w/a", "one").revision
    client.put("w/b", b"\x1b\xff")
    client.delete("w/a")
    shown = raftctl("watch", "w/", "--prefix", "--revision", str(first), "--changes", "3").decode()
    assert [line.split() for line in shown.splitlines()] == [
        ["REVISION", "KIND", "KEY", "VALUE"],
        [str(first), "put", "w/a", "one"],
        [str(first + 1), "put", "w/b", "\\x1b\\xff"],
        [str(first + 2), "delete", "w/a", "-"],
    ]
    shown = raftctl("watch", "w/", "--prefix", "--revision", str(first), "--changes", "1", "--only", "deletes").decode()
    assert "delete" in shown
    lines = raftctl(
        *("watch", "w/a", "--to", "w/b", "--revision", str(first), "--changes", "2", "--previous", "-o", "json")
    ).splitlines()
    assert [json.loads(line)["previous_value"] for line in lines] == [None, "one"]
    shown = raftctl("watch", "w/a", "--revision", str(first), "--changes", "1", "--no-values").decode()
    assert "VALUE" not in shown
    assert "one" not in shown


def put_and_look(client: Client, out: IO[bytes]) -> bool:
    client.put("w/now", "after")
    return bool(select.select([out], [], [], 0.05)[0])


def test_from_now_on_until_ctrl_c(spawn: Spawn, client: Client) -> None:
    """What was before is not shown; Ctrl-C is how it is meant to end."""
    client.put("w/now", "before")
    process = spawn("watch", "w/now", "-o", "json")
    out = process.stdout
    assert out is not None
    # When it has begun nobody says, so there is something to see until it sees something.
    wait_until(lambda: put_and_look(client, out), "it sees a change")
    assert json.loads(out.readline())["value"] == "after"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, error) == (ExitCode.OK, b"")


def test_a_command_for_each_change(raftctl: Raftctl, client: Client, tmp_path: Path) -> None:
    """One at a time and in order, with the change in its environment and the value on standard input."""
    first = client.put("w/cmd", "1").revision
    client.put("w/cmd", "2")
    client.delete("w/cmd")
    script = (
        'printf "%s %s %s %s [%s] " "$RAFTCTL_CHANGE_KIND" "$RAFTCTL_CHANGE_KEY" "$RAFTCTL_CHANGE_REVISION"'
        f' "$RAFTCTL_CHANGE_USER" "$RAFTCTL_CHANGE_PREVIOUS_VALUE" >> {tmp_path}/out; cat >> {tmp_path}/out'
    )
    arguments = ("w/cmd", "--revision", str(first), "--changes", "3", "--previous", "--", "sh", "-c", script)
    raftctl("watch", *arguments)
    assert (tmp_path / "out").read_text() == (
        f"put w/cmd {first} admin [] 1put w/cmd {first + 1} admin [1] 2delete w/cmd {first + 2} admin [2] "
    )


def test_a_command_that_fails(raftctl: Raftctl, client: Client) -> None:
    """It is told and the watch goes on, or ends with its exit code if that is wanted."""
    first = str(client.put("w/fail", "1").revision)
    client.put("w/fail", "2")
    arguments = ("watch", "w/fail", "--revision", first, "--changes", "2")
    raftctl(*arguments, "--", "false")
    assert raftctl(*arguments, "--stop-on-failure", "--", "sh", "-c", "exit 9", code=9) == b""
    said = raftctl("watch", "w/fail", "--", "no-such-command", code=127)
    assert said == b"raftctl: cannot run no-such-command: there is no such command\n"


def test_ctrl_c_while_a_command_runs(spawn: Spawn, client: Client) -> None:
    """The command ends as it likes, and then the watch does."""
    first = str(client.put("w/int", "1").revision)
    script = "trap 'echo tidy; exit 1' INT; echo ready; while :; do sleep 0.02; done"
    process = spawn("watch", "w/int", "--revision", first, "--", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=PATIENCE_SECONDS) == (b"tidy\n", b"")
    assert process.returncode == ExitCode.OK


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["w", "--revision", "0"], 2, "not in the range"),
        (["w", "--revision", str(1 << 40)], 1, "the newest revision is"),
        (["w", "--changes", "0"], 2, "not in the range"),
        (["w", "--only", "some"], 2, "puts"),
        (["w", "--prefix", "--to", "x"], 2, "exclude each other"),
        ([""], 1, "at least one byte"),
        ([], 2, "KEY"),
    ],
)
def test_wrong_calls(raftctl: Raftctl, arguments: list[str], code: int, said: str) -> None:
    """One line; a watch in the future is a typed answer of the cluster."""
    output = raftctl("watch", *arguments, code=code).decode()
    assert said in output
    assert output.count("\n") == 1


def test_variables() -> None:
    """What no variable can hold is base64, or missing if it is long; nothing is left of an outer watch's change."""
    change = Change("put", b"k\x00", b"v\xff", 7, 7, 1, 0, False, 0.0, "admin", "127.0.0.1:1", Previous(b"\x00", 6))
    found = variables_of(change)
    assert (found["RAFTCTL_CHANGE_KEY"], found["RAFTCTL_CHANGE_KEY_BASE64"]) == (None, b"awA=")
    assert (found["RAFTCTL_CHANGE_VALUE"], found["RAFTCTL_CHANGE_VALUE_BASE64"]) == (b"v\xff", None)
    assert found["RAFTCTL_CHANGE_PREVIOUS_VALUE_BASE64"] == b"AA=="
    assert found["RAFTCTL_CHANGE_LEASE"] is None
    long = variables_of(change._replace(value=bytes(VARIABLE_BYTES_MAX + 1), previous=None, lease=5))
    for name in ("VALUE", "VALUE_BASE64", "PREVIOUS_VALUE", "PREVIOUS_VALUE_BASE64"):
        assert long[f"RAFTCTL_CHANGE_{name}"] is None
    assert long["RAFTCTL_CHANGE_LEASE"] == b"5"


def test_a_long_value_is_on_standard_input(raftctl: Raftctl, client: Client, tmp_path: Path) -> None:
    """No variable can hold a megabyte, so it is on standard input alone."""
    first = str(client.put("w/long", bytes(1 << 20)).revision)
    raftctl(
        *("watch", "w/long", "--revision", first, "--changes", "1", "--"),
        *("sh", "-c", f"wc -c > {tmp_path}/out; echo ${{RAFTCTL_CHANGE_VALUE-unset}} >> {tmp_path}/out"),
    )
    assert (tmp_path / "out").read_text().split() == ["1048576", "unset"]
