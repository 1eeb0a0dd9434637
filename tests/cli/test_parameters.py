import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from raftd.cli import parameters
from raftd.cli.output import run_main
from raftd.cli.parameters import Span, given_value, span_of
from raftd.client import Fence
from raftd.errors import ExitCode
from raftd.kv.limits import VALUE_BYTES_MAX
from tests.cli.conftest import PROGRAM

Taken = dict[str, object]


@pytest.fixture
def taken() -> Taken:
    return {}


@pytest.fixture
def command(taken: Taken) -> click.Command:
    """A command with some of the parameters; `taken` is what it was called with."""

    @click.command(context_settings={"ignore_unknown_options": False})
    @click.option("--ttl", callback=parameters.duration())
    @click.option("--wait", callback=parameters.duration(or_none=True))
    @parameters.fenced_option
    @parameters.command_argument
    def made(**arguments: object) -> int:
        taken.update(arguments)
        return 0

    return made


def test_what_a_shell_passes_is_taken_byte_for_byte(command: click.Command, taken: Taken) -> None:
    """UTF-8 or not; and what follows -- is not looked at."""
    assert run_main(command, "x", ["--", "a\udcff", "--ttl", "é"]) == 0
    assert taken["command"] == (b"a\xff", b"--ttl", "é".encode())


def test_durations(command: click.Command, taken: Taken, capsys: pytest.CaptureFixture[str]) -> None:
    """They have a unit, and only waiting may be of no length."""
    assert run_main(command, "x", ["--ttl", "1.5s", "--wait", "0s"]) == 0
    assert (taken["ttl"], taken["wait"]) == (1.5, 0.0)
    for arguments, said in (
        (["--ttl", "5"], "'5' is not a duration"),
        (["--ttl", "0s"], "more than 0"),
        (["--wait", "-1s"], "not a duration"),
    ):
        assert run_main(command, "x", arguments) == ExitCode.USAGE
        assert said in capsys.readouterr().err


def test_a_fence_comes_from_the_environment(
    command: click.Command, taken: Taken, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `raftctl lock` has put it there; nonsense is a usage error, and without --fenced it is not looked at."""
    monkeypatch.setenv("RAFTCTL_FENCE", "12")
    monkeypatch.setenv("RAFTCTL_FENCE_KEY", "locks/\udcff")
    assert run_main(command, "x", ["--fenced"]) == 0
    assert taken["fence"] == Fence(b"locks/\xff", 12)
    for token, key in (("", "k"), ("1x", "k"), ("٣", "k"), (str(1 << 64), "k"), ("9" * 5000, "k"), ("12", "")):
        monkeypatch.setenv("RAFTCTL_FENCE", token)
        monkeypatch.setenv("RAFTCTL_FENCE_KEY", key)
        assert run_main(command, "x", ["--fenced"]) == ExitCode.USAGE
        assert "RAFTCTL_FENCE" in capsys.readouterr().err
        assert run_main(command, "x", []) == 0
        assert taken["fence"] is None


def test_spans() -> None:
    """A key alone, all that begin so, or all up to another; not two of them."""
    assert span_of(b"a", None, is_prefix=False) is None
    assert span_of(b"a", None, is_prefix=True) == Span(prefix=b"a")
    assert span_of(b"a", b"", is_prefix=False) == Span(b"a", b"")
    assert Span(b"a", b"c").arguments == {"low": b"a", "high": b"c", "prefix": None}
    with pytest.raises(click.UsageError, match="exclude"):
        span_of(b"a", b"b", is_prefix=True)


def test_a_value_from_standard_input(stdin: Callable[[bytes], io.BytesIO]) -> None:
    """Only for `-`, and no more than a value may have is taken into memory."""
    assert given_value(b"--") == b"--"
    stdin(b"a\n\x00")
    assert given_value(b"-") == b"a\n\x00"
    stream = stdin(bytes(2 * VALUE_BYTES_MAX))
    with pytest.raises(click.ClickException, match="at most 1048576 bytes"):
        given_value(b"-")
    assert stream.tell() == VALUE_BYTES_MAX + 1


@pytest.mark.parametrize(
    "command", [["set", "k", "-"], ["cas", "k", "-", "x"], ["elect", "e", "-"], ["txn"], ["import"]]
)
@pytest.mark.parametrize(("redirection", "said"), [("<&-", "it is closed"), ("0>/dev/null", "Bad file descriptor")])
def test_standard_input_that_cannot_be_read(
    cluster_directory: Path, command: list[str], redirection: str, said: str
) -> None:
    """One line, and no node is asked."""
    words = " ".join(f"'{word}'" for word in (*PROGRAM, "--config", str(cluster_directory / "raftctl.yaml"), *command))
    ended = subprocess.run(
        ["bash", "-c", f"{words} {redirection}"], capture_output=True, text=True, timeout=30, check=False
    )
    assert (ended.returncode, ended.stderr) == (1, f"raftctl: cannot read standard input: {said}\n")
