"""Paths on a command line."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import pytest

from raftd.cli.named_path import FILE_OR_STREAM, NamedPath
from raftd.cli.output import run_main
from raftd.cli.raftctl import group as raftctl
from raftd.cli.raftd import group as raftd
from raftd.errors import ExitCode


def parameters(command: click.Command) -> Iterator[click.Parameter]:
    """Those of a command, and of all below it."""
    yield from command.params
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if (sub := command.get_command(context, name)) is not None:
                yield from parameters(sub)


@pytest.fixture
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("group", [raftctl, raftd])
def test_no_path_may_be_empty(group: click.Group) -> None:
    """Not one of any command's: click's own type would take the current directory for it."""
    paths = [each for each in parameters(group) if isinstance(each.type, click.Path)]
    assert len(paths) > 2
    for each in paths:
        assert isinstance(each.type, NamedPath), each.name
        with pytest.raises(click.BadParameter, match="it is empty, and names nothing"):
            each.type.convert("", each, None)


@pytest.mark.parametrize(
    ("group", "arguments", "named"),
    [
        (raftctl, ["pki", "init", "--cluster", "c", "--dir", ""], "'--dir'"),
        (raftctl, ["pki", "show", ""], "'[FILE]...'"),
        (raftctl, ["--config", "", "get", "k"], "'--config'"),
        (raftctl, ["--cacert", "", "get", "k"], "'--cacert'"),
        (raftctl, ["debug", "--file", ""], "'--file'"),
        (raftctl, ["export", "--file", ""], "'--file'"),
        (raftctl, ["import", ""], "'[FILE]'"),
        (raftctl, ["txn", ""], "'[FILE]'"),
        (raftctl, ["snapshot", "save", ""], "'[FILE]'"),
        (raftctl, ["snapshot", "save", "--directory", ""], "'--directory'"),
        (raftctl, ["snapshot", "verify", ""], "'FILE'"),
        (raftctl, ["snapshot", "restore", ""], "'FILE'"),
        (raftd, ["check-config", "--config", ""], "'--config'"),
        (raftd, ["demo", "--dir", ""], "'--dir'"),
    ],
)
def test_it_is_a_usage_error_that_names_it(
    empty_directory: Path, capsys: pytest.CaptureFixture[str], group: click.Group, arguments: Sequence[str], named: str
) -> None:
    """In one line, and nothing is written where the command runs."""
    assert run_main(group, "raftctl", arguments) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert f"Invalid value for {named}: it is empty, and names nothing" in said
    assert said.count("\n") == 1
    assert list(empty_directory.iterdir()) == []


def test_a_directory_is_no_file(run: Callable[..., bytes]) -> None:
    """By any name of the current one, too."""
    for arguments in (["snapshot", "save", "./"], ["snapshot", "save", "/"], ["export", "--file", "."]):
        assert b"is a directory" in run(*arguments, code=ExitCode.USAGE)


def test_a_stream_is_no_path() -> None:
    """`-` stays what it is, and a file can be called so."""
    assert FILE_OR_STREAM.convert("-", None, None) == "-"
    assert FILE_OR_STREAM.convert("./-", None, None) == "./-"
