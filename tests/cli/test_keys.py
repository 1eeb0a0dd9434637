import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raftd.cli.output import INTERRUPTED
from raftd.client import Client, DeleteRangeResult, Put, Unavailable
from raftd.errors import ExitCode
from raftd.kv.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX
from tests.client.fake import FakeCluster

Raftctl = Callable[..., bytes]

NOT_UTF8 = os.fsdecode(b"\xff\xfe")
"""How an argument of these bytes reaches a Python program."""


def test_what_is_set_is_there_until_it_is_deleted(raftctl: Raftctl) -> None:
    """The value, and a line end; then exit code 3 for get and del alike."""
    raftctl("set", "greeting", "hello")
    assert raftctl("get", "greeting") == b"hello\n"
    assert raftctl("get", "--stale", "greeting") == b"hello\n"
    raftctl("del", "greeting")
    assert raftctl("get", "greeting", code=ExitCode.NOT_FOUND) == b"raftctl: there is no key greeting\n"
    raftctl("del", "greeting", code=ExitCode.NOT_FOUND)


def test_json_has_the_revisions(raftctl_json: Callable[..., Any]) -> None:
    """What a script needs for its next conditional write."""
    first = raftctl_json("set", "j", "1")
    second = raftctl_json("set", "j", "2")
    assert second == {"key": "j", "revision": first["revision"] + 1, "version": 2}
    assert raftctl_json("get", "j") == {
        "key": "j",
        "value": "2",
        "create_revision": first["revision"],
        "modify_revision": second["revision"],
        "version": 2,
        "lease": None,
        "user": "admin",
    }
    assert raftctl_json("del", "j")["deleted"] is True


def test_conditional_writes(raftctl: Raftctl, raftctl_json: Callable[..., Any]) -> None:
    """0 is "absent"; a revision that is not the key's is exit code 4, and nothing is written."""
    revision = raftctl_json("set", "c", "1", "--if-revision", "0")["revision"]
    assert f"at revision {revision}".encode() in raftctl(
        "set", "c", "2", "--if-revision", "0", code=ExitCode.COMPARE_FAILED
    )
    raftctl("del", "c", "--if-revision", str(revision - 1), code=ExitCode.COMPARE_FAILED)
    raftctl("set", "c", "2", "--if-revision", str(revision))
    assert raftctl("get", "c") == b"2\n"
    raftctl("set", "c", "3", "--if-revision", str(1 << 64), code=ExitCode.USAGE)


def test_bytes_that_are_no_text(raftctl: Raftctl, raftctl_json: Callable[..., Any]) -> None:
    """Arguments are taken byte for byte; pipes get the bytes, people and JSON get what they can bear."""
    raftctl("set", NOT_UTF8, os.fsdecode(b"v\xff\n"))
    assert raftctl("get", "--raw", NOT_UTF8) == b"v\xff\n"
    assert raftctl("get", NOT_UTF8) == b"v\xff\n\n"
    found = raftctl_json("get", NOT_UTF8)
    assert found["key"] == {"base64": "//4="}
    assert found["value"] == {"base64": "dv8K"}
    assert b"\\xff\\xfe" in raftctl("del", NOT_UTF8)
    assert raftctl("get", NOT_UTF8, code=ExitCode.NOT_FOUND) == b"raftctl: there is no key \\xff\\xfe\n"


def test_a_message_is_one_line_whatever_the_key_is(raftctl: Raftctl) -> None:
    """A line feed in a key cannot forge a line, nor an escape sequence steer a terminal."""
    said = raftctl("get", "a\nraftctl: \x1b[2J", code=ExitCode.NOT_FOUND)
    assert said == b"raftctl: there is no key a\\nraftctl: \\x1b[2J\n"


def test_a_value_from_standard_input(raftctl: Raftctl, stdin: Callable[[bytes], io.BytesIO]) -> None:
    """Byte for byte, the line end too; the longest there may be; and nothing at all."""
    for value in (b"a\n\x00\xff", b"\x00" * VALUE_BYTES_MAX, b""):
        stdin(value)
        raftctl("set", "i", "-")
        assert raftctl("get", "--raw", "i") == value


def test_too_much_standard_input_is_not_read(raftctl: Raftctl, stdin: Callable[[bytes], io.BytesIO]) -> None:
    """An endless stream ends in a message, not in all of the memory."""
    stream = stdin(bytes(4 * VALUE_BYTES_MAX))
    assert raftctl("set", "i", "-", code=ExitCode.ERROR).endswith(b"1048576 bytes, and standard input has more\n")
    assert stream.tell() == VALUE_BYTES_MAX + 1


def test_keys_have_bounds(raftctl: Raftctl) -> None:
    """One byte at least, 4096 at most, and none of it depends on the cluster."""
    longest = "k" * KEY_BYTES_MAX
    raftctl("set", longest, "v")
    raftctl("del", longest)
    assert b"at least one byte" in raftctl("get", "", code=ExitCode.ERROR)
    assert b"at most 4096" in raftctl("set", longest + "k", "v", code=ExitCode.ERROR)


def test_raw_is_a_form_of_its_own(raftctl: Raftctl) -> None:
    """With -o it would be unclear which of the two counts."""
    assert b"--raw" in raftctl("get", "--raw", "raftd", "-o", "json", code=ExitCode.USAGE)


def test_a_terminal_sees_nothing_that_could_steer_it(raftctl: Raftctl, on_terminal: Callable[..., bytes]) -> None:
    """On a terminal a value is escaped; --raw is for those who know what they do."""
    raftctl("set", "t", "\x1b[31mred\n")
    assert on_terminal("stdout", "get", "t") == b"\\x1b[31mred\\n\r\n"


def test_a_result_that_cannot_be_written_is_one_line(cluster_directory: Path, raftctl: Raftctl) -> None:
    """A full disk and a closed descriptor; a pipe without a reader ends as for any other command."""
    raftctl("set", "full", "x" * 100_000)
    raftctl_in_a_shell = (
        f"'{sys.executable}' -c 'from raftd.cli.raftctl import main; main()'"
        f" --config '{cluster_directory / 'raftctl.yaml'}'"
    )

    def shell(command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "-c", f'raftctl() {{ {raftctl_in_a_shell} "$@"; }}; {command}'],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    full = shell("raftctl get full >/dev/full")
    assert (full.returncode, full.stderr) == (1, "raftctl: cannot write the result: No space left on device\n")
    closed = shell("raftctl get full >&-")
    assert (closed.returncode, closed.stderr) == (1, "raftctl: cannot write the result: standard output is closed\n")
    gone = shell("raftctl get full | true; exit ${PIPESTATUS[0]}")
    assert gone.returncode in {0, 141}  # the reader may be late in leaving
    assert gone.stderr == ""


def test_denied_and_unavailable(raftctl: Raftctl, cluster_directory: Path) -> None:
    """Who may not is told so at once; where nobody listens, the deadline is kept and the reason given."""
    reader = [
        f"--{name}={cluster_directory}/pki/user-reader.{suffix}" for name, suffix in (("cert", "crt"), ("key", "key"))
    ]
    assert b"grant this user no such right" in raftctl(*reader, "set", "public/a", "1", code=ExitCode.ERROR)
    assert b"grant this user no such right" in raftctl(*reader, "get", "private", code=ExitCode.ERROR)
    raftctl(*reader, "get", "public/none", code=ExitCode.NOT_FOUND)
    said = raftctl("--endpoints", "127.0.0.1:1", "--timeout", "1s", "get", "a", code=ExitCode.UNAVAILABLE)
    assert b"127.0.0.1:1: connection refused" in said


@pytest.fixture
def fruit(client: Client) -> None:
    """Three keys that begin with `fruit/`."""
    client.delete_range(prefix="fruit/")
    for name, value in (("apple", "1"), ("banana", "2\n"), ("cherry", b"\xff")):
        client.put(f"fruit/{name}", value)


@pytest.mark.usefixtures("fruit")
def test_many_keys(raftctl: Raftctl) -> None:
    """A prefix or a range, as a table with escaped values, keys alone, or a count; exit code 3 if there is none."""
    table = raftctl("get", "fruit/", "--prefix").decode().splitlines()
    assert [line.split()[::5] for line in table] == [
        ["KEY", "VALUE"],
        ["fruit/apple", "1"],
        ["fruit/banana", "2\\n"],
        ["fruit/cherry", "\\xff"],
    ]
    assert raftctl("get", "fruit/b", "--to", "fruit/d", "--keys-only") == b"fruit/banana\nfruit/cherry\n"
    assert raftctl("get", "fruit/", "--prefix", "--count") == b"3\n"
    assert raftctl("get", "fruit/x", "--prefix", code=ExitCode.NOT_FOUND) == b"raftctl: there is no such key\n"


@pytest.mark.usefixtures("fruit")
def test_many_keys_as_json_are_lines(raftctl: Raftctl) -> None:
    """A script can read them one by one; a count is an object."""
    lines = raftctl("get", "fruit/", "--prefix", "-o", "json").splitlines()
    assert [json.loads(line)["value"] for line in lines] == ["1", "2\n", {"base64": "/w=="}]
    keys = raftctl("get", "fruit/", "--prefix", "--keys-only", "--limit", "1", "-o", "json")
    assert keys == b'{"key": "fruit/apple"}\n'
    assert json.loads(raftctl("get", "fruit/", "--prefix", "--count", "-o", "json")) == {"count": 3}


def test_an_earlier_revision(raftctl: Raftctl, client: Client) -> None:
    """What a key had, and that it was absent, as long as it is held."""
    before = client.put("earlier", "1").revision
    client.put("earlier", "2")
    assert raftctl("get", "earlier", "--revision", str(before)) == b"1\n"
    raftctl("get", "earlier", "--revision", str(before - 1), code=ExitCode.NOT_FOUND)
    assert b"the newest revision is" in raftctl(
        "get", "earlier", "--revision", str(before + 10**6), code=ExitCode.ERROR
    )
    assert b"at least one byte" in raftctl("get", "", "--revision", "1", code=ExitCode.ERROR)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["get", "a", "--limit", "1"], "add --prefix or --to"),
        (["get", "a", "--keys-only"], "add --prefix or --to"),
        (["get", "a", "--count"], "add --prefix or --to"),
        (["get", "a", "--prefix", "--raw"], "single key"),
        (["get", "a", "--prefix", "--to", "b"], "exclude each other"),
        (["get", "a", "--prefix", "--count", "--keys-only"], "counts all keys"),
        (["get", "a", "--prefix", "--limit", "0"], "0 is not in the range"),
        (["get", "a", "--revision", "0"], "0 is not in the range"),
        (["set", "a", "b", "--if-absent", "--if-value", "c"], "--if-absent excludes"),
        (["set", "a", "b", "--lease", "0"], "0 is not in the range"),
        (["set", "a", "b", "--fenced"], "raftctl lock"),
        (["del", "a", "--prefix", "--if-value", "b"], "single key"),
        (["del", "", "--prefix"], "delete every key"),
        (["del", "", "--to", ""], "delete every key;"),
        (["del", "z", "--to", ""], "delete every key from z to the end"),
        (["del", "", "--to", "a"], "delete every key before a"),
    ],
)
def test_what_does_not_go_together(raftctl: Raftctl, arguments: list[str], said: str) -> None:
    """One line, exit code 2, and nothing is done."""
    output = raftctl(*arguments, code=ExitCode.USAGE).decode()
    assert said in output
    assert output.count("\n") == 1


def test_set_on_conditions(raftctl: Raftctl, raftctl_json: Callable[..., Any]) -> None:
    """--if-absent and --if-value, and what was there before."""
    raftctl("del", "cond", code=ExitCode.NOT_FOUND)
    assert b"previous  -" in raftctl("set", "cond", "1", "--if-absent", "--previous")
    raftctl("set", "cond", "2", "--if-absent", code=ExitCode.COMPARE_FAILED)
    raftctl("set", "cond", "2", "--if-value", "x", code=ExitCode.COMPARE_FAILED)
    assert raftctl_json("set", "cond", "2", "--if-value", "1", "--previous")["previous"]["value"] == "1"
    assert raftctl("get", "cond") == b"2\n"
    raftctl("del", "cond", "--if-value", "1", code=ExitCode.COMPARE_FAILED)
    assert raftctl_json("del", "cond", "--if-value", "2", "--previous")["previous"]["value"] == "2"


def test_a_key_with_a_lease(raftctl: Raftctl, client: Client) -> None:
    """It ends with the lease; one that does not exist is exit code 3, and nothing is written."""
    lease = client.grant_lease(60)
    raftctl("set", "leased", "1", "--lease", str(lease.id))
    assert client.lease_info(lease.id).keys == [b"leased"]
    lease.revoke()
    raftctl("get", "leased", code=ExitCode.NOT_FOUND)
    assert b"lease" in raftctl("set", "leased", "1", "--lease", str(lease.id), code=ExitCode.NOT_FOUND)
    raftctl("get", "leased", code=ExitCode.NOT_FOUND)


@pytest.mark.usefixtures("fruit")
def test_many_are_deleted(raftctl: Raftctl, raftctl_json: Callable[..., Any]) -> None:
    """A range, then a prefix; what was there is shown on request, and exit code 3 says that nothing was."""
    found = raftctl_json("del", "fruit/a", "--to", "fruit/b", "--previous")
    assert found["deleted"] == 1
    assert [item["key"] for item in found["previous"]] == ["fruit/apple"]
    shown = raftctl("del", "fruit/", "--prefix", "--previous").decode()
    assert "deleted   2" in shown
    assert "fruit/cherry" in shown
    assert raftctl("del", "fruit/", "--prefix", code=ExitCode.NOT_FOUND) == b""


@pytest.mark.usefixtures("fruit")
def test_all_on_one_side_are_deleted(raftctl_json: Callable[..., Any], client: Client) -> None:
    """With an empty end, and --yes."""
    within = ("--namespace", "fruit/")
    assert raftctl_json(*within, "del", "b", "--to", "", "--yes")["deleted"] == 2
    assert raftctl_json(*within, "del", "", "--to", "b", "--yes")["deleted"] == 1
    assert client.count(prefix="fruit/") == 0


def test_more_than_one_step_deletes(raftctl_json: Callable[..., Any], client: Client) -> None:
    """The cluster deletes 10,000 keys in one step at most; all are gone in the end, and none beside them."""
    for start in range(0, 10_240, 128):
        client.transaction().then(*(Put(f"many/{number}", "") for number in range(start, start + 128))).commit()
    client.put("many0", "stays")
    assert raftctl_json("del", "many/", "--prefix")["deleted"] == 10_240
    assert client.count(prefix="many") == 1


def test_a_delete_that_is_cut_off_says_how_far_it_came(
    run: Raftctl, cluster_in_thread: FakeCluster, config_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was deleted stays deleted; the second of two lines is why it ended."""
    del cluster_in_thread
    monkeypatch.setattr(Client, "delete_range", _one_step_and_then(Unavailable("nobody is there")))
    said = run("--config", str(config_path), "del", "a", "--prefix", code=ExitCode.UNAVAILABLE)
    assert said == (
        b"raftctl: 10000 keys were deleted before that, and others may be left:\nraftctl: nobody is there\n"
    )
    monkeypatch.setattr(Client, "delete_range", _one_step_and_then(KeyboardInterrupt()))
    said = run("--config", str(config_path), "del", "a", "--prefix", code=INTERRUPTED)
    assert said.rstrip() == b"raftctl: 10000 keys were deleted, and perhaps the next few; others may be left"


def _one_step_and_then(failure: BaseException) -> Callable[..., DeleteRangeResult]:
    steps = iter([DeleteRangeResult(5, 10_000, more=True)])

    def step(_client: Client, **_arguments: object) -> DeleteRangeResult:
        for each in steps:
            return each
        raise failure

    return step
