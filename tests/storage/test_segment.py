"""The directory of segments: a segment has its name only when it is whole."""

import errno
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftd.consensus.types import LogIndex
from raftd.storage.format import SegmentHeader, decode_segment_header
from raftd.storage.reserve import Reserve
from raftd.storage.segment import SegmentDirectory, SegmentRow
from raftd.storage.simulated import Call, SimulatedCrash, SimulatedFileSystem
from tests.storage.logs import crash_at

WAL = Path("/wal")


@pytest.fixture
def filesystem() -> SimulatedFileSystem:
    filesystem = SimulatedFileSystem()
    filesystem.make_directory(WAL)
    filesystem.sync_directory(Path("/"))
    return filesystem


def directory_of(filesystem: SimulatedFileSystem, reserve_bytes: int = 0) -> SegmentDirectory:
    reserve = Reserve(filesystem, Path("/reserve"), reserve_bytes)
    reserve.restore()
    return SegmentDirectory(filesystem, WAL, reserve)


def header(number: int, size: int = 2048) -> SegmentHeader:
    return SegmentHeader(1, bytes(16), 1, number, size, 1, 1, 0, 0, 0)


def test_names_sort_as_numbers_do(filesystem: SimulatedFileSystem) -> None:
    """Segments are listed in order; other names are left alone."""
    directory = directory_of(filesystem)
    for number in (10, 9, 1, 2**63):
        directory.create(header(number))
    filesystem.create(WAL / "notes.txt")
    assert directory.numbers() == [1, 9, 10, 2**63]
    assert [directory.segment_path(number).name for number in directory.numbers()] == sorted(
        name for name in filesystem.list_directory(WAL) if name.endswith(".wal")
    )


def test_a_new_segment_is_durable_and_whole(filesystem: SimulatedFileSystem) -> None:
    """When `create` has returned, the segment survives a power cut: name, length and header."""
    directory_of(filesystem).create(header(7))
    filesystem.lose_power(lambda _: False)
    contents = bytes(filesystem.contents(WAL / f"{7:020d}.wal"))
    assert len(contents) == 2048
    assert decode_segment_header(WAL, contents[:512]) == header(7)


def test_a_segment_has_its_name_only_when_it_is_whole(filesystem: SimulatedFileSystem) -> None:
    """At whatever call a crash comes, and whatever survives: a file with a segment's name has its header and length."""
    survives: dict[bool, Callable[[object], bool]] = {
        True: lambda _: True,
        # Names survive, contents and lengths do not.
        False: lambda change: isinstance(change, tuple) and len(change) == 4,
    }
    for number in itertools.count(1):
        for sectors_survive in (True, False):
            trial = filesystem.copy()
            trial.before_call = crash_at(number)
            directory = directory_of(trial)
            try:
                directory.create(header(1))
            except SimulatedCrash:
                finished = False
            else:
                finished = True
            trial.lose_power(survives[sectors_survive])
            for segment in directory.numbers():
                contents = bytes(trial.contents(directory.segment_path(segment)))
                assert decode_segment_header(WAL, contents[:512]) == header(1)
                assert len(contents) == 2048
        if finished:
            assert number > 5
            return


def test_a_prepared_segment_is_used(filesystem: SimulatedFileSystem) -> None:
    """What was prepared costs no allocation later, unless another size is wanted."""
    directory = directory_of(filesystem)
    directory.prepare(2048)
    assert not any("length" in change for change in filesystem.unsynced() if isinstance(change, tuple))
    directory.prepare(2048)
    calls: list[str] = []
    filesystem.before_call = lambda call: calls.append(call.name)
    directory.create(header(1))
    assert calls == ["write", "sync", "rename", "sync_directory"]
    directory.prepare(2048)
    directory.create(header(2, 4096))
    assert len(filesystem.contents(directory.segment_path(2))) == 4096


def test_what_was_unfinished_is_removed(filesystem: SimulatedFileSystem) -> None:
    """Of a segment that a crash kept from its name nothing stays."""
    directory_of(filesystem).prepare(2048)
    directory = directory_of(filesystem)
    directory.remove_unfinished()
    directory.remove_unfinished()
    assert filesystem.list_directory(WAL) == []


def test_a_full_disk_costs_the_reserve_first(filesystem: SimulatedFileSystem) -> None:
    """Then it is an error; any other error is one at once."""
    directory = directory_of(filesystem, reserve_bytes=3000)
    filesystem.space = 5000
    directory.create(header(1))
    directory.create(header(2))
    assert "reserve" not in filesystem.list_directory(Path("/"))
    with pytest.raises(OSError, match="No space left"):
        directory.create(header(3))


def test_another_failure_does_not_cost_the_reserve(filesystem: SimulatedFileSystem) -> None:
    """EIO is not answered with space, nor with a second try."""
    directory = directory_of(filesystem, reserve_bytes=3000)
    calls: list[str] = []

    def before_call(call: Call) -> None:
        calls.append(call.name)
        if call.name == "allocate":
            raise OSError(errno.EIO, "Input/output error")

    filesystem.before_call = before_call
    with pytest.raises(OSError, match="Input/output"):
        directory.create(header(1))
    assert "reserve" in filesystem.list_directory(Path("/"))
    assert calls.count("allocate") == 1


def test_a_removal_is_durable(filesystem: SimulatedFileSystem) -> None:
    """When `remove` has returned, the segment does not come back."""
    directory = directory_of(filesystem)
    directory.create(header(1))
    directory.create(header(2))
    directory.remove(1)
    filesystem.lose_power(lambda _: False)
    assert directory.numbers() == [2]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 3)), max_size=30), st.integers(0, 60))
def test_a_row_of_segments_knows_where_each_would_begin(steps: list[tuple[bool, int, int]], index: int) -> None:
    """A log that lost its oldest segments begins at the lowest index that the others' headers and batches name."""
    row = SegmentRow()
    named: list[list[int]] = []
    next_index = 1
    for begins, back, count in [(True, 0, 0), *steps]:
        if begins:
            row.add(row.next_number, LogIndex(next_index))
            named.append([next_index])
        start = max(1, next_index - back)
        row.replace_from(LogIndex(start))
        named[-1].append(start)
        next_index = start + count
    beginnings = [min(itertools.chain(*named[place:])) for place in range(len(named))]
    assert row.first_index == beginnings[0] == 1
    needed = max(place for place, beginning in enumerate(beginnings) if place == 0 or beginning <= index + 1)
    assert row.release(LogIndex(index)) == list(range(1, needed + 1))
    assert (row.first_index, row.next_number) == (beginnings[needed], len(named) + 1)
    assert row.reset(LogIndex(index)) == list(range(needed + 1, len(named)))
    assert (row.first_index, row.next_number, row.release(LogIndex(1000))) == (index, len(named) + 1, [])
