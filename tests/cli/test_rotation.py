"""Which backups go, and which never do."""

import os
from pathlib import Path
from typing import Any

import pytest

from raftd.cli.backup_file import inspect
from raftd.cli.rotation import name_of, rotate
from raftd.consensus.types import LogIndex, NodeId
from raftd.storage.backup_format import BackupHeader
from tests.cli.backups import machine_of, write_backup

DAY_MS = 86_400_000


def made(directory: Path, day: int, index: int = 3, **changes: Any) -> tuple[Path, BackupHeader]:
    """A backup under its own name."""
    machine = machine_of({b"a": b"1"})
    while machine.last_applied < index:
        machine.skip(LogIndex(machine.last_applied + 1))
    path = write_backup(directory / "new", machine, wall_clock_ms=1_700_000_000_000 + day * DAY_MS, **changes)
    header = inspect(path).header
    return path.rename(directory / name_of(header)), header


def test_names_say_what_they_are(tmp_path: Path) -> None:
    """Cluster, node, time and index."""
    path, _ = made(tmp_path, 0)
    assert path.name == "test-2-20231114T221320Z-3.backup"


def test_the_newest_stay(tmp_path: Path) -> None:
    """As many as are to be kept, whatever the order of their making and the files' own times."""
    paths = [made(tmp_path, day)[0] for day in (3, 1, 4, 0, 2)]
    header = inspect(paths[0]).header
    for path in paths:
        os.utime(path, (0, 0))
    assert rotate(tmp_path, header, 3) == [paths[3], paths[1]]
    assert set(tmp_path.iterdir()) == {paths[0], paths[2], paths[4]}
    assert rotate(tmp_path, header, 3) == []


def test_a_clock_that_was_set_back_costs_no_backup(tmp_path: Path) -> None:
    """What has more of the log is newer, whatever time it has."""
    paths = [made(tmp_path, day, index=7 + day)[0] for day in (3, 4, 5)]
    new, header = made(tmp_path, 0, index=13)
    assert rotate(tmp_path, header, 3) == [paths[0]]
    assert set(tmp_path.iterdir()) == {*paths[1:], new}
    assert rotate(tmp_path, header, 1) == paths[1:]


def test_what_was_just_made_stays(tmp_path: Path) -> None:
    """A node that was asked for what it has may have less than it once had; there are `keep` all the same."""
    paths = [made(tmp_path, day, index=7 + day)[0] for day in (3, 4, 5)]
    new, header = made(tmp_path, 0, index=9)
    assert rotate(tmp_path, header, 2) == paths[:2]
    assert set(tmp_path.iterdir()) == {paths[2], new}


def test_what_is_somebody_s_stays(tmp_path: Path) -> None:
    """Another node's, another cluster's, one under another name, damaged ones, links, directories, and all else."""
    newest, header = made(tmp_path, 9)
    others = [made(tmp_path, 0, node_id=NodeId(3))[0], made(tmp_path, 0, cluster_name="test-2")[0]]
    renamed, _ = made(tmp_path, 1)
    others.append(renamed.rename(tmp_path / "test-2-20000101T000000Z-3.backup"))
    others.append(tmp_path / "test-2-20010101T000000Z-3.backup")
    others[-1].write_text("not a backup")
    others.append(tmp_path / "test-2-20020101T000000Z-3.backup")
    others[-1].symlink_to(newest)
    others.append(tmp_path / "test-2-20030101T000000Z-3.backup")
    others[-1].mkdir()
    others.append(tmp_path / "monday.backup")
    others[-1].write_bytes(newest.read_bytes())
    others.append(tmp_path / "xtest-2-20231114T221320Z-3.backup")
    others[-1].write_bytes(newest.read_bytes())
    assert rotate(tmp_path, header, 1) == []
    assert set(tmp_path.iterdir()) == {newest, *others}


def test_what_was_left_unfinished_goes(tmp_path: Path) -> None:
    """If its name is one of ours."""
    _, header = made(tmp_path, 0)
    (tmp_path / "test-2-20231114T221320Z-3.backup.part").write_text("half")
    (tmp_path / "monday.part").write_text("somebody's")
    rotate(tmp_path, header, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["monday.part", "test-2-20231114T221320Z-3.backup"]


def test_a_directory_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """By the operating system's error."""
    _, header = made(tmp_path, 0)
    with pytest.raises(FileNotFoundError):
        rotate(tmp_path / "none", header, 1)
