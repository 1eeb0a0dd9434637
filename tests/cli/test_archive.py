import io
import tarfile
from pathlib import Path

import click
import pytest

from raftd.cli.archive import pack, write_new


def test_an_archive_holds_its_files() -> None:
    """Below one directory, each with its content, its time, and nobody else's to read."""
    packed = pack("report", {"b/c.txt": b"see", "a": b""}, 1000)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert archive.getnames() == ["report/a", "report/b/c.txt"]
        member = archive.getmember("report/b/c.txt")
        assert (member.mtime, member.mode, member.uid, member.uname) == (1000, 0o600, 0, "")
        content = archive.extractfile(member)
        assert content is not None
        assert content.read() == b"see"
    assert packed == pack("report", {"a": b"", "b/c.txt": b"see"}, 1000)


def test_a_new_file_is_one_s_own_and_new(tmp_path: Path) -> None:
    """What is there already stays as it is, and one line says so."""
    path = tmp_path / "new"
    write_new(path, b"data")
    assert path.read_bytes() == b"data"
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(click.ClickException, match="new: File exists"):
        write_new(path, b"other")
    assert path.read_bytes() == b"data"
    with pytest.raises(click.ClickException, match="No such file"):
        write_new(tmp_path / "absent" / "new", b"")
