"""Files that are there whole or not at all."""

import errno
import os
import stat
from pathlib import Path

import click
import pytest

from raftd.cli.new_file import check_place, discard_unfinished, new_file


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


@pytest.mark.parametrize("kind", ["fifo", "link", "directory"])
def test_only_a_file_is_replaced(tmp_path: Path, kind: str) -> None:
    """Least of all a device, as root: it would be gone for everybody."""
    path, target = tmp_path / "file", tmp_path / "target"
    target.write_text("old")
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.symlink_to(target)
        case _:
            path.mkdir()
    before = path.lstat()
    with pytest.raises(click.ClickException, match="no regular file"), new_file(path):
        pass
    assert path.lstat() == before
    assert {each.name for each in tmp_path.iterdir()} == {"file", "target"}


@pytest.mark.parametrize("kind", ["fifo", "second name"])
def test_what_somebody_else_may_have_put_there_is_not_written_to(tmp_path: Path, kind: str) -> None:
    """They would read it; and it may be nothing that one writes to."""
    path, partial, other = tmp_path / "file", tmp_path / "file.part", tmp_path / "other"
    if kind == "fifo":
        os.mkfifo(partial)
    else:
        other.write_text("theirs")
        partial.hardlink_to(other)
    with pytest.raises(click.ClickException), new_file(path):
        pass
    assert not path.exists()
    assert kind == "fifo" or other.read_text() == "theirs"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_another_user_s_file_is_not_written_to(tmp_path: Path) -> None:
    """Whoever owns it could read it, whatever its mode becomes."""
    partial = tmp_path / "file.part"
    partial.touch(0o666)
    os.chown(partial, 65534, 65534)
    with pytest.raises(click.ClickException, match="in the way"), new_file(tmp_path / "file"):
        pass
    assert partial.stat().st_size == 0


@pytest.mark.parametrize("name", ["", ".", "./", "/", "x/.."])
def test_a_directory_has_no_name_to_take(name: str) -> None:
    """One line, whatever it is called."""
    for begin in (lambda: new_file(Path(name)).__enter__(), lambda: check_place(Path(name))):
        with pytest.raises(click.ClickException, match=r"is a directory|no regular file|No such file"):
            begin()


def test_a_place_is_looked_at(tmp_path: Path) -> None:
    """Nothing is left there, and what is there stays; what would fail is found out."""
    path = tmp_path / "file"
    check_place(path)
    assert list(tmp_path.iterdir()) == []
    path.write_text("old")
    check_place(path)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("file", "old")]
    with pytest.raises(click.ClickException, match="none/file: No such file or directory"):
        check_place(tmp_path / "none" / "file")
    with new_file(path), pytest.raises(click.ClickException, match="another process is writing it"):
        check_place(path)
