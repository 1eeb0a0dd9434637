import io
from collections.abc import Callable
from typing import Any

import pytest

from raftd.client import Client
from raftd.errors import ExitCode

Raftctl = Callable[..., bytes]


def test_a_counter(raftctl: Raftctl, raftctl_json: Callable[..., Any], client: Client) -> None:
    """It begins at 0 and goes both ways; a negative number is no option."""
    client.delete("count")
    assert raftctl_json("incr", "count")["value"] == 1
    assert raftctl_json("incr", "count", "41")["value"] == 42
    found = raftctl_json("incr", "count", "-50")
    assert (found["value"], found["version"]) == (-8, 3)
    assert raftctl("get", "count") == b"-8\n"
    raftctl("incr", "count", "--if-revision", "1", code=ExitCode.COMPARE_FAILED)


def test_what_cannot_be_counted(raftctl: Raftctl, client: Client) -> None:
    """A value that is no number, a sum that does not fit, and what is no number to add; nothing is written."""
    client.put("word", "hello")
    assert b"number" in raftctl("incr", "word", code=ExitCode.ERROR)
    client.put("large", str((1 << 63) - 1))
    assert b"64 bits" in raftctl("incr", "large", code=ExitCode.ERROR)
    for delta in ("x", str(1 << 63), "1.5", "--nonsense"):
        assert b"raftctl incr --help" in raftctl("incr", "word", delta, code=ExitCode.USAGE)
    assert raftctl("get", "word") == b"hello\n"


def test_compare_and_set(raftctl: Raftctl, client: Client) -> None:
    """Only if the value is the old one; exit code 4 otherwise, and nothing is written."""
    client.put("state", "running")
    raftctl("cas", "state", "stopped", "x", code=ExitCode.COMPARE_FAILED)
    raftctl("cas", "state", "running", "stopped")
    assert raftctl("get", "state") == b"stopped\n"
    raftctl("cas", "no-such-state", "", "x", code=ExitCode.COMPARE_FAILED)


@pytest.mark.parametrize(("old", "new"), [("-", "2"), ("1", "-")])
def test_one_from_standard_input(
    raftctl: Raftctl, client: Client, stdin: Callable[[bytes], io.BytesIO], old: str, new: str
) -> None:
    """The old value or the new one, but not both."""
    client.put("piped", "1")
    stdin(b"1" if old == "-" else b"2")
    raftctl("cas", "piped", old, new)
    assert raftctl("get", "piped") == b"2\n"
    assert b"only one of" in raftctl("cas", "piped", "-", "-", code=ExitCode.USAGE)
