import shutil
import subprocess

import click
import pytest

from raftd.cli.raftctl import group as raftctl
from raftd.cli.raftd import group as raftd
from raftd.settings.reference import rows
from raftd_build.manual import pages
from raftd_build.source import read_source

PAGES = pages(read_source())


def paths(command: click.Command, path: str = "") -> list[str]:
    """The names of all commands, as they are typed."""
    if not isinstance(command, click.Group):
        return [path]
    context = click.Context(command)
    subs = {name: command.get_command(context, name) for name in command.list_commands(context)}
    return [each for name, sub in subs.items() if sub for each in paths(sub, f"{path} {name}".strip())]


def rendered(name: str) -> str:
    """The page as a reader sees it; man warns of what roff does not understand."""
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    ended = subprocess.run(
        ["man", "--warnings", "--local-file", "-"],
        input=PAGES[name],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "200", "MAN_KEEP_FORMATTING": ""},
    )
    assert ended.stderr == ""
    return ended.stdout


@pytest.mark.parametrize(("name", "group"), [("raftd.8", raftd), ("raftctl.1", raftctl)])
def test_every_command_is_described(name: str, group: click.Group) -> None:
    """A program's page has each of its commands, also those of groups."""
    text = rendered(name)
    missing = [path for path in paths(group) if not any(line.strip().startswith(path) for line in text.splitlines())]
    assert paths(group)
    assert not missing


def test_examples_keep_their_lines() -> None:
    """An example's commands are lines of their own, to be copied."""
    lines = [line.strip() for line in rendered("raftd.8").splitlines()]
    example = lines.index("raftd check-config --config raftd.yaml --node 1")
    assert lines[example - 1] == "Example:"


def test_every_setting_is_described() -> None:
    """raftd.yaml(5) has each key that the schema has."""
    text = rendered("raftd.yaml.5")
    assert [row.key for row in rows() if f" {row.key} " not in text.replace("\n", " ")] == []
