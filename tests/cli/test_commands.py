import subprocess
import sys

import click
import pytest

from raftd.cli.commands import LazyGroup, version_option
from raftd.cli.output import run_main
from raftd.errors import ExitCode
from raftd.version import version


@pytest.fixture
def group() -> click.Group:
    @click.group(cls=LazyGroup, commands_at={"later": "raftd.cli.inspect:log_command", "after": "nowhere:nothing"})
    @version_option
    def made() -> None:
        """Has commands elsewhere."""

    @made.command("here")
    def here() -> int:
        return 3

    assert isinstance(made, click.Group)
    return made


def test_a_command_is_imported_when_it_is_asked_for(group: click.Group) -> None:
    """Listing imports nothing; asking for one does not import another, which here could not be."""
    context = click.Context(group)
    assert group.list_commands(context) == ["after", "here", "later"]
    assert list(group.commands) == ["here"]
    found = group.get_command(context, "later")
    assert found is not None
    assert found is group.get_command(context, "later")
    assert group.list_commands(context) == ["after", "here", "later"]
    assert run_main(group, "made", ["here"]) == 3


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """And similar ones may be suggested, whether they are imported or not."""

    @click.group(cls=LazyGroup, commands_at={"later": "raftd.cli.inspect:log_command"})
    def made() -> None:
        """Has commands elsewhere."""

    assert run_main(made, "made", ["latre"]) == ExitCode.USAGE
    assert "latre" in capsys.readouterr().err
    assert "later" in made.commands


def test_the_version_is_told(group: click.Group, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard output, with the name that was called."""
    assert run_main(group, "made", ["--version"]) == 0
    assert capsys.readouterr().out == f"made {version()}\n"


@pytest.mark.parametrize("program", ["raftd", "raftctl"])
def test_every_command_has_a_help_with_an_example(program: str) -> None:
    """Nobody has to guess how a command is called, or what an option is for, and each fits a line of the list."""
    code = f"""
import click
from raftd.cli.{program} import group

def walk(command, path):
    context = click.Context(command, info_name=path)
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from walk(command.get_command(context, name), f"{{path}} {{name}}")

for path, command in walk(group, {program!r}):
    assert "\\\\b" not in command.get_help(click.Context(command, info_name=path)), path
    assert "Example" in command.help, path
    for option in command.params:
        assert isinstance(option, click.Argument) or option.help, (path, option.name)
    assert not command.get_short_help_str(100).endswith("..."), path
    assert len(command.get_short_help_str(60)) <= 60, path
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
