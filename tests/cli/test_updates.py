import io
from collections.abc import Callable
from typing import Any

import pytest

from raftd.cli.updates import incr_command
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


@pytest.mark.parametrize(
    ("arguments", "key", "delta"),
    [
        (["stock", "-5"], b"stock", -5),
        (["stock", "-5", "-o", "json"], b"stock", -5),
        (["-o", "json", "stock", "-5"], b"stock", -5),
        (["stock", "-ojson", "-5"], b"stock", -5),
        (["stock", "--fenced", "-5"], b"stock", -5),
        (["stock", "--if-revision", "3", "-5"], b"stock", -5),
        (["stock", "-5", "--"], b"stock", -5),
        (["stock", "--", "-5"], b"stock", -5),
        (["stock"], b"stock", 1),
        (["--", "--version"], b"--version", 1),
        (["--", "--version", "-5"], b"--version", -5),
        (["--", "-5"], b"-5", 1),
    ],
)
def test_a_negative_number_is_no_option(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], key: bytes, delta: int
) -> None:
    """Wherever it stands behind the key; a key that begins with a dash stands behind two."""
    monkeypatch.setenv("RAFTCTL_FENCE", "1")
    monkeypatch.setenv("RAFTCTL_FENCE_KEY", "k")
    context = incr_command.make_context("incr", list(arguments))
    assert (context.params["key"], context.params["delta"]) == (key, delta)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--version"], b"No such option"),
        (["-x"], b"No such option"),
        (["stock", "--vresion"], b"No such option"),
        (["stock", "-5x"], b"No such option"),
        (["-5"], b"No such option"),
        (["-5", "stock"], b"No such option"),
        (["stock", "--if-revision", "-5"], b"--if-revision"),
        (["stock", "-5", "-6"], b"No such option"),
    ],
)
def test_what_looks_like_an_option_is_one(run: Raftctl, arguments: list[str], said: bytes) -> None:
    """One that there is not is a usage error, and no key."""
    assert said in run("incr", *arguments, code=ExitCode.USAGE)


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
