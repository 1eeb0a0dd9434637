"""Files that are there whole or not at all."""

import errno
import os
import stat
from pathlib import Path

import click
import pytest

from raftd.cli.new_file import discard_unfinished, new_file


def test_it_takes_its_name_when_it_is_complete(tmp_path: Path) -> None:
    """Until then what was there stays; it is for this user alone, whatever the mode of an unfinished one was."""
    path, partial = tmp_path / "file", tmp_path / "file.part"
    path.write_text("old")
    partial.write_text("what a process that was killed has left, and is longer")
    partial.chmod(0o644)
    with new_file(path) as stream:
        stream.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    """Be it what writes, or what checks."""

    def refuse(partial: Path) -> None:
        assert partial.read_bytes() == b"bad"
        raise ValueError("no good")

    def write(data: bytes) -> None:
        with new_file(tmp_path / "file", refuse) as stream:
            stream.write(data)
            if data == b"half":
                raise KeyError

    with pytest.raises(KeyError):
        write(b"half")
    with pytest.raises(ValueError, match="no good"):
        write(b"bad")
    assert list(tmp_path.iterdir()) == []


def test_two_processes_do_not_mix(tmp_path: Path) -> None:
    """The second is refused, and the first is not disturbed."""
    path = tmp_path / "file"
    with new_file(path) as stream:
        stream.write(b"first")
        with pytest.raises(click.ClickException, match="another process is writing it"), new_file(path):
            pass
        discard_unfinished(tmp_path / "file.part")
        assert (tmp_path / "file.part").exists()
    assert path.read_bytes() == b"first"


def test_no_link_is_followed(tmp_path: Path) -> None:
    """Whoever can make names in the directory cannot have another file overwritten."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "file.part").symlink_to(victim)
    with pytest.raises(click.ClickException), new_file(tmp_path / "file"):
        pass
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        discard_unfinished(tmp_path / "file.part")
    assert victim.read_text() == "precious"


def test_what_was_left_is_removed(tmp_path: Path) -> None:
    """If nobody is at it."""
    (tmp_path / "file.part").write_text("left")
    discard_unfinished(tmp_path / "file.part")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """One line."""
    with pytest.raises(click.ClickException, match="none/file: No such file or directory"):
        new_file(tmp_path / "none" / "file").__enter__()
