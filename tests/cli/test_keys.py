import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raftd.errors import ExitCode
from raftd.kv.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX

Raftctl = Callable[..., bytes]

NOT_UTF8 = os.fsdecode(b"\xff\xfe")
"""How an argument of these bytes reaches a Python program."""


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], io.BytesIO]:
    def give(data: bytes) -> io.BytesIO:
        stream = io.BytesIO(data)
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
        return stream

    return give


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


def test_a_terminal_sees_nothing_that_could_steer_it(raftctl: Raftctl, cluster_directory: Path) -> None:
    """On a terminal a value is escaped; --raw is for those who know what they do."""
    raftctl("set", "t", "\x1b[31mred\n")
    master, slave = pty.openpty()
    with open(master, "rb", buffering=0) as terminal:  # noqa: PTH123 - a descriptor has no path
        subprocess.run(
            [
                sys.executable,
                "-c",
                "from raftd.cli.raftctl import main; main()",
                "--config",
                str(cluster_directory / "raftctl.yaml"),
                "get",
                "t",
            ],
            stdout=slave,
            timeout=30,
            check=True,
        )
        os.close(slave)
        assert terminal.read(1000) == b"\\x1b[31mred\\n\r\n"


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
