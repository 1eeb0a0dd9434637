"""Backups as files: what they say of themselves, and what is found out about those that are damaged."""

import struct
from pathlib import Path

import pytest

from raftd.cli.backup_file import BackupFileError, inspect, load, time_of
from raftd.errors import ExitCode
from tests.cli.backups import CLUSTER_ID, backup_of, machine_of, write_backup

MACHINE = machine_of({b"a": b"1", b"b": bytes(300), b"c": b""}, {b"locks/x": b"me"})
FILE = backup_of(MACHINE)


def ignore(_: int) -> None:
    """Progress is of no interest."""


def test_what_a_backup_says_of_itself(tmp_path: Path) -> None:
    """Its header, and the counts of its state."""
    contents = inspect(write_backup(tmp_path / "x", MACHINE))
    record = contents.record
    assert (record["cluster"], record["node"], record["voters"]) == ("test", 2, "1, 2, 3")
    assert record["cluster_id"] == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert record["time"] == "2023-11-14T22:13:20.000Z"
    assert (record["revision"], record["index"], record["term"], record["format"]) == (4, 6, 3, 1)
    assert (record["keys"], record["leases"], record["sessions"], record["changes"]) == (4, 1, 1, 4)
    assert record["bytes"] == len(FILE)
    assert record["state_hash"] == f"{MACHINE.state_hash:08x}"


def test_a_good_one_is_loaded(tmp_path: Path) -> None:
    """As the state that it was made of; all of its bytes are counted."""
    counted: list[int] = []
    header, machine = load(write_backup(tmp_path / "x", MACHINE), counted.append, thorough=True)
    assert machine.digest() == MACHINE.digest()
    assert header.cluster_id == CLUSTER_ID
    assert sum(counted) == len(FILE)


@pytest.mark.parametrize("length", range(0, len(FILE), 7))
def test_one_that_was_cut_is_refused_at_once(tmp_path: Path, length: int) -> None:
    """By whoever looks at it, without reading all of it; in one line, with where, and how much is missing."""
    path = tmp_path / "x"
    path.write_bytes(FILE[:length])
    for look in (lambda: inspect(path), lambda: load(path, ignore)):
        with pytest.raises(BackupFileError, match=rf"^{path}: byte \d+: the file ends after {length} bytes") as caught:
            look()
        assert caught.value.exit_code == ExitCode.ERROR
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("position", range(len(FILE)))
def test_one_with_a_flipped_bit_is_refused(tmp_path: Path, position: int) -> None:
    """In every byte; the offset that is named is not behind it."""
    path = tmp_path / "x"
    damaged = bytearray(FILE)
    damaged[position] ^= 0x80 >> (position % 8)
    path.write_bytes(damaged)
    with pytest.raises(BackupFileError, match=rf"^{path}: byte \d+: ") as caught:
        load(path, ignore)
    assert int(str(caught.value).removeprefix(f"{path}: byte ").partition(":")[0]) <= position


def test_a_header_of_another_state_is_refused(tmp_path: Path) -> None:
    """Though every checksum is right."""
    for changes in ({"revision": 5}, {"state_hash": 1}):
        with pytest.raises(BackupFileError, match="its header is that of another state"):
            load(write_backup(tmp_path / "x", MACHINE, **changes), ignore)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """With both numbers, whatever the rest of it may be."""
    path = tmp_path / "x"
    path.write_bytes(b"raftdBAK" + struct.pack("<I", 2) + b"whatever will be")
    for look in (lambda: inspect(path), lambda: load(path, ignore)):
        with pytest.raises(BackupFileError, match="format 2, and this raftd knows format 1 only"):
            look()


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    """In one line."""
    with pytest.raises(BackupFileError, match="No such file"):
        inspect(tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(BackupFileError, match="byte 0: this is not a backup of raftd"):
        inspect(tmp_path / "text")


def test_a_time_that_no_calendar_has(tmp_path: Path) -> None:
    """Is shown as the last there is."""
    header = inspect(write_backup(tmp_path / "x", MACHINE, wall_clock_ms=(1 << 64) - 1)).header
    assert time_of(header).year == 9999
