import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftd.pki.files import (
    KeyPairFiles,
    PkiFileError,
    WouldOverwriteError,
    authority_files,
    make_directory,
    next_authority_files,
    node_files,
    old_authority_key,
    promote_key,
    read_file,
    refuse_overwriting,
    remove_file,
    replace_certificates,
    user_files,
    write_key_pair,
)


@pytest.fixture(params=[0o000, 0o022, 0o077])
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def test_names_are_as_documented(tmp_path: Path) -> None:
    """Settings and deployment name these files too."""
    assert authority_files(tmp_path, "peer").key == tmp_path / "peer-ca.key"
    assert next_authority_files(tmp_path, "peer").certificate == tmp_path / "peer-ca.next.crt"
    assert old_authority_key(tmp_path, "client") == tmp_path / "client-ca.old.key"
    assert node_files(tmp_path, 7, "client").certificate == tmp_path / "node-7.client.crt"
    assert user_files(tmp_path, "admin") == KeyPairFiles(tmp_path / "user-admin.crt", tmp_path / "user-admin.key")


@pytest.mark.usefixtures("_umask")
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_key_is_closed_from_its_first_moment(
    tmp_path: Path, overwrite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the umask: every file that a key's bytes are ever in is opened with mode 0600, never changed to it."""
    modes: list[int] = []
    real_open = os.open

    def watched(path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = real_open(path, flags, mode)
        if flags & os.O_CREAT and ".key" in str(path):
            assert flags & os.O_EXCL
            modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", watched)
    files = user_files(tmp_path, "a")
    write_key_pair(files, certificate=b"c", key=b"k", overwrite=overwrite)
    assert modes == [0o600]
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    assert (files.certificate.read_bytes(), files.key.read_bytes()) == (b"c", b"k")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["user-a.crt", "user-a.key"]


def test_a_certificate_is_for_everybody_to_read(tmp_path: Path) -> None:
    """It is no secret; but nobody else may change it."""
    before = os.umask(0)
    try:
        write_key_pair(user_files(tmp_path, "a"), certificate=b"c", key=b"k", overwrite=False)
        replace_certificates(tmp_path / "bundle.crt", b"c")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*.crt")] == [0o644, 0o644]


@pytest.fixture
def synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int | None, list[str]]]:
    """Each fsync: how long the file was by then, None for the directory, and what the directory had."""
    seen: list[tuple[int | None, list[str]]] = []
    real_sync = os.fsync

    def watched(descriptor: int) -> None:
        status = os.fstat(descriptor)
        names = sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("."))
        seen.append((None if stat.S_ISDIR(status.st_mode) else status.st_size, names))
        real_sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    return seen


@pytest.mark.parametrize("overwrite", [False, True])
def test_bytes_are_on_the_disk_before_their_name_is(
    tmp_path: Path, overwrite: bool, synced: list[tuple[int | None, list[str]]]
) -> None:
    """So that a crash leaves each file whole or absent, the key first; and nothing stays open."""
    before = set(Path("/proc/self/fd").iterdir())
    write_key_pair(user_files(tmp_path, "a"), certificate=b"cc", key=b"k", overwrite=overwrite)
    both = ["user-a.crt", "user-a.key"]
    assert synced == [(1, []), (None, both[1:]), (2, both[1:]), (None, both)]
    assert set(Path("/proc/self/fd").iterdir()) <= before


def test_a_key_takes_a_place_and_the_old_one_is_kept(
    tmp_path: Path, synced: list[tuple[int | None, list[str]]]
) -> None:
    """The copy is on the disk before the place changes hands, and closed like every key."""
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "key").write_bytes(b"before")
    promote_key(tmp_path / "new", over=tmp_path / "key", kept=tmp_path / "old")
    assert ((tmp_path / "key").read_bytes(), (tmp_path / "old").read_bytes()) == (b"new", b"before")
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o600
    there = ["key", "new", "old"]
    assert synced == [(6, there[:2]), (None, there), (None, ["key", "old"])]
    with pytest.raises(PkiFileError, match=r"cannot write .*key: No such file"):
        promote_key(tmp_path / "new", over=tmp_path / "key", kept=tmp_path / "old")


def test_a_file_is_removed_for_good(tmp_path: Path, synced: list[tuple[int | None, list[str]]]) -> None:
    """One that is not there is no mistake; one that cannot be removed is."""
    (tmp_path / "key").touch()
    for _ in range(2):
        remove_file(tmp_path / "key")
    assert synced == [(None, [])] * 2
    with pytest.raises(PkiFileError, match="cannot remove"):
        remove_file(tmp_path)


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    """Neither a file nor a dangling link, and nothing else is left behind."""
    files = user_files(tmp_path, "a")
    for make in (lambda: files.key.write_bytes(b"old"), lambda: files.key.symlink_to("nowhere")):
        make()
        with pytest.raises(WouldOverwriteError, match=r"user-a\.key.*nothing was written"):
            refuse_overwriting(files)
        with pytest.raises(WouldOverwriteError, match="left as it is"):
            write_key_pair(files, certificate=b"c", key=b"k", overwrite=False)
        assert [path.name for path in tmp_path.iterdir()] == ["user-a.key"]
        files.key.unlink()


def test_overwriting_replaces_a_wider_file_and_a_link(tmp_path: Path) -> None:
    """The new key is a new file, closed, even where the old one was open or pointed elsewhere."""
    files = user_files(tmp_path, "a")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"old")
    files.key.symlink_to(elsewhere)
    write_key_pair(files, certificate=b"c", key=b"k", overwrite=True)
    assert elsewhere.read_bytes() == b"old"
    assert stat.S_IMODE(files.key.lstat().st_mode) == 0o600


def test_a_directory_for_keys_is_closed(tmp_path: Path) -> None:
    """A new one has mode 0700; one where everybody may write is refused; a file is no directory."""
    make_directory(tmp_path / "a" / "pki")
    assert stat.S_IMODE((tmp_path / "a" / "pki").stat().st_mode) == 0o700
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(PkiFileError, match="writable by everybody"):
        make_directory(tmp_path / "open")
    (tmp_path / "file").touch()
    with pytest.raises(PkiFileError, match="cannot make"):
        make_directory(tmp_path / "file")


def test_failing_to_write_is_one_line(tmp_path: Path) -> None:
    """It names the file."""
    files = user_files(tmp_path / "absent", "a")
    with pytest.raises(PkiFileError, match=r"cannot write .*user-a\.key: No such file"):
        write_key_pair(files, certificate=b"c", key=b"k", overwrite=False)


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    """A FIFO would hold whoever reads it for as long as nobody writes."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(PkiFileError, match="fifo: not a regular file"):
        read_file(tmp_path / "fifo")


def test_reading_is_bounded(tmp_path: Path) -> None:
    """A certificate of a megabyte is none."""
    path = tmp_path / "f"
    path.write_bytes(b"x" * (1 << 20))
    assert len(read_file(path)) == 1 << 20
    path.write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(PkiFileError, match="neither a certificate nor a key"):
        read_file(path)
    with pytest.raises(PkiFileError, match="No such file"):
        read_file(tmp_path / "none")
