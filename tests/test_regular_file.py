"""Nothing that settings may name can hold up whoever opens it."""

import errno
import os
from pathlib import Path

import pytest

from raftd import regular_file
from raftd.regular_file import open_regular


def test_a_file_is_read_also_by_another_name(tmp_path: Path) -> None:
    """A link to a file is as good as the file."""
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        with open_regular(tmp_path / name) as file:
            assert file.read() == b"text"


def test_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    """Though nobody writes to it, and whatever leads to it."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    for name in ("fifo", "link"):
        with pytest.raises(OSError, match="not a regular file") as refused:
            open_regular(tmp_path / name)
        assert refused.value.strerror == "not a regular file"


def test_a_device_is_refused() -> None:
    """Even one that would end at once."""
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(Path(os.devnull))


def test_what_cannot_be_opened_is_said_as_ever(tmp_path: Path) -> None:
    """Nothing there, or a directory."""
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError) as refused:
        open_regular(tmp_path)
    assert refused.value.strerror == os.strerror(errno.EISDIR)


def test_a_name_that_comes_to_mean_a_fifo_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the opening; and the descriptor is closed again."""
    path = tmp_path / "file"
    path.write_bytes(b"text")
    require = regular_file._require_regular
    looks: list[os.stat_result] = []

    def look(path: Path, status: os.stat_result) -> None:
        require(path, status)
        looks.append(status)
        path.unlink()
        os.mkfifo(path)

    monkeypatch.setattr(regular_file, "_require_regular", look)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(path)
    assert len(looks) == 1
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_names_that_no_file_can_have(name: str) -> None:
    """As of any file that cannot be opened: whoever named it is told so in one line."""
    with pytest.raises(OSError, match="no file can be called that") as refused:
        open_regular(Path(name))
    assert refused.value.strerror == "no file can be called that"
