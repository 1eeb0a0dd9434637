"""What a log lets go: segments that a snapshot covers, and the whole log where it is reset."""

import contextlib
import random
from pathlib import Path

import pytest

from raftd.consensus.types import HardState, LogIndex, NodeId, Term
from raftd.errors import CorruptionError, InvariantViolation, StorageError
from raftd.storage.data_directory import DataDirectory
from raftd.storage.filesystem import RealFileSystem
from raftd.storage.format import Identity
from raftd.storage.log import open_log
from raftd.storage.simulated import SimulatedCrash, SimulatedFileSystem
from tests.storage.logs import OpenOn, append, commands, crash_at, path_of, reset, segments_in, state_of


def test_compacting_removes_whole_segments_only(open_on: OpenOn, identity: Identity) -> None:
    """Segments go when a snapshot holds all that they held; the log then begins later, and is read as before."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem, segment_bytes=2048)
    for index in range(1, 11):
        append(log, commands(index, 1, b"a" * 300), HardState(Term(1), NodeId(1)))
        log.sync()
    log.compact(LogIndex(2))
    assert log.first_index == 1
    log.compact(LogIndex(7))
    assert log.first_index == 7
    with pytest.raises(InvariantViolation, match="do not join"):
        append(log, commands(6, 2, b"a"))
    filesystem.lose_power(lambda _: False)
    directory = DataDirectory(filesystem, Path("/data"), identity)
    log, recovered = open_log(directory, segment_bytes=2048, reserve_bytes=0, compacted_index=LogIndex(7))
    assert recovered.entries == [entry for i in range(7, 11) for entry in commands(i, 1, b"a" * 300)]
    assert (recovered.first_index, log.first_index, log.next_index) == (7, 7, 11)


def test_a_crash_while_compacting_leaves_no_gap(open_on: OpenOn, identity: Identity) -> None:
    """Segments go oldest first, each for good before the next."""
    generator = random.Random(3)
    for number in range(1, 10):
        filesystem = SimulatedFileSystem()
        log, _ = open_on(filesystem, segment_bytes=1024)
        for index in range(1, 7):
            append(log, commands(index, 1, b"a"), HardState(Term(1), NodeId(1)))
            log.sync()
        filesystem.before_call = crash_at(number)
        with contextlib.suppress(SimulatedCrash):
            log.compact(LogIndex(5))
        filesystem.lose_power(lambda _: generator.random() < 0.5)
        _, recovered = open_log(
            DataDirectory(filesystem, Path("/data"), identity),
            segment_bytes=1024,
            reserve_bytes=0,
            compacted_index=LogIndex(5),
        )
        assert recovered.entries[-1] == commands(6, 1, b"a")[0]


def test_compacting_allows_for_entries_replaced_across_segments(open_on: OpenOn) -> None:
    """A segment that replaces what the ones before it hold may become the oldest: the log begins with what replaced."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem, segment_bytes=2048)
    for first, term in [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (2, 2), (3, 2), (4, 2), (5, 2)]:
        append(log, commands(first, term, b"a" * 300), HardState(Term(term), NodeId(1)))
        log.sync()
    log.compact(LogIndex(1))
    assert (log.first_index, segments_in(filesystem)) == (2, [2, 3])
    for first_index, compacted in ((2, 1), (3, 4)):
        filesystem.lose_power(lambda _: False)
        log, recovered = open_on(filesystem, segment_bytes=2048, compacted_index=compacted)
        assert recovered.first_index == log.first_index == first_index
        assert recovered.entries == [entry for i in range(first_index, 6) for entry in commands(i, 2, b"a" * 300)]
        log.compact(LogIndex(4))


@pytest.mark.parametrize("base_index", [0, 1, 3, 6, 7, 1000], ids=lambda base_index: f"base {base_index}")
def test_a_reset_log_is_a_log(open_on: OpenOn, base_index: int) -> None:
    """Below, within or above what there was: it takes entries, replaces them, rotates, is compacted and read again."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem, segment_bytes=2048)
    for index in range(1, 7):
        append(log, commands(index, 1, b"a" * 700), HardState(Term(1), NodeId(1)))
        log.sync()
    reset(log, base_index)
    assert (log.first_index, log.next_index) == (base_index + 1, base_index + 1)
    log.sync()
    first = base_index + 1
    model = [*commands(first, 1, b"b" * 700, b"c" * 700), *commands(first + 2, 2, *[b"d" * 700] * 5)]
    append(log, commands(first, 1, *[b"b" * 700, b"c" * 700] * 2))
    log.sync()
    for entry in model[2:]:
        append(log, (entry,), HardState(Term(2), NodeId(2)))
        log.sync()
    with pytest.raises(InvariantViolation, match="do not join"):
        append(log, commands(base_index, 2, b"hole"))
    while log.remove_released():
        pass
    assert not log.has_released
    for compacted in (base_index, base_index + 4):
        filesystem.lose_power(lambda _: False)
        log, recovered = open_on(filesystem, segment_bytes=2048, compacted_index=compacted)
        assert state_of(recovered) == (HardState(Term(2), NodeId(2)), log.first_index, model[log.first_index - first :])
        assert log.first_index <= compacted + 1
        assert log.next_index == first + len(model)
        log.compact(LogIndex(base_index + 4))
    assert log.first_index == base_index + 5


def test_what_a_reset_voids_is_removed_once_it_is_durable(open_on: OpenOn) -> None:
    """Not before the sync, one segment at a time, oldest first; what a crash leaves of it the next start removes."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem, segment_bytes=1024)
    for index in range(1, 5):
        append(log, commands(index, 1, b"a"), HardState(Term(1), NodeId(1)))
        log.sync()
    reset(log, 9)
    assert not log.remove_released()
    log.compact(LogIndex(9))
    assert segments_in(filesystem) == [1, 2, 3, 4, 5]
    log.sync()
    assert log.has_released
    assert log.remove_released()
    assert segments_in(filesystem) == [2, 3, 4, 5]
    # The segment is still there; a second reset voids it and those that the first one did.
    reset(log, 4)
    log.sync()
    assert log.remove_released()
    filesystem.lose_power(lambda _: False)
    assert segments_in(filesystem) == [3, 4, 5, 6]
    _, recovered = open_on(filesystem, segment_bytes=1024, compacted_index=4)
    assert (recovered.first_index, recovered.entries) == (5, [])
    filesystem.lose_power(lambda _: False)
    assert segments_in(filesystem) == [6]


def test_a_log_that_fills_the_disk_can_be_reset(open_on: OpenOn) -> None:
    """No room for a segment, nor a reserve: one that holds but a batch has to do until what is void is removed."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem, segment_bytes=4096)
    for index in range(1, 4):
        append(log, commands(index, 1, b"a" * 3000), HardState(Term(1), NodeId(1)))
        log.sync()
    filesystem.space = filesystem._used_bytes() + 2 * 1024
    reset(log, 9)
    log.sync()
    assert segments_in(filesystem) == [1, 2, 3, 4]
    append(log, commands(10, 1, b"b"))  # before there was time to remove any
    log.sync()
    while log.remove_released():
        pass
    append(log, commands(11, 1, b"c"))
    log.sync()
    assert [len(filesystem.contents(path_of(number))) for number in segments_in(filesystem)] == [1024, 1024, 4096]
    filesystem.lose_power(lambda _: False)
    _, recovered = open_on(filesystem, segment_bytes=4096, compacted_index=9)
    assert state_of(recovered) == (HardState(Term(1), NodeId(1)), 10, [*commands(10, 1, b"b", b"c")])


def test_a_full_disk_ends_a_log_that_has_nothing_to_remove(open_on: OpenOn) -> None:
    """Segments of one batch each would only put off the end, and there are reserve and warnings for that."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem, segment_bytes=4096)
    append(log, commands(1, 1, b"a" * 3000), HardState(Term(1), NodeId(1)))
    log.sync()
    filesystem.space = filesystem._used_bytes() + 2 * 1024
    with pytest.raises(StorageError, match="No space left on device"):
        append(log, commands(2, 1, b"b" * 1000))


def test_a_large_segment_goes_in_pieces(open_on: OpenOn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name goes first and for good; its space comes back a piece a call, on real files and on simulated ones."""
    monkeypatch.setattr("raftd.storage.log._REMOVED_BYTES", 4096)
    simulated = SimulatedFileSystem()
    for filesystem, path in ((simulated, Path("/data")), (RealFileSystem(), tmp_path / "data")):
        log, _ = open_on(filesystem, segment_bytes=10_240, path=path)
        append(log, commands(1, 1, b"a"), HardState(Term(1), NodeId(1)))
        log.sync()
        reset(log, 9)
        log.sync()
        for left in (10_240, 6144, 2048):
            assert log.has_released
            assert log.remove_released()
            assert [name for name in filesystem.list_directory(path / "wal") if name.endswith("1.wal")] == []
            assert (0 if log._removed is None else log._removed.size()) == (left if left > 4096 else 0)
        assert not log.remove_released()
        log.close()
    simulated.lose_power(lambda _: False)
    assert segments_in(simulated) == [2]


def test_a_log_may_be_closed_within_a_removal(open_on: OpenOn, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of a segment without a name goes with the file."""
    monkeypatch.setattr("raftd.storage.log._REMOVED_BYTES", 512)
    log, _ = open_on(SimulatedFileSystem(), segment_bytes=2048)
    reset(log, 9)
    log.sync()
    assert log.remove_released()
    log.close()
    assert not log.has_released


def test_no_reset_forgets_a_term_or_a_vote(open_on: OpenOn) -> None:
    """The hard state outlives the log that is thrown away, and goes back in no reset."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    append(log, commands(1, 1, b"a"), HardState(Term(7), NodeId(3)))
    log.sync()
    reset(log, 20)
    log.sync()
    for state in (HardState(Term(6), NodeId(3)), HardState(Term(7), NodeId(2)), HardState(Term(7), None)):
        with pytest.raises(InvariantViolation, match="term"):
            reset(log, 21, (), state)
    with pytest.raises(InvariantViolation, match="behind entry -1"):
        reset(log, -1)
    while log.remove_released():
        pass
    filesystem.lose_power(lambda _: False)
    log, recovered = open_on(filesystem, compacted_index=20)
    assert recovered.hard_state == log.hard_state == HardState(Term(7), NodeId(3))
    assert recovered.first_index == 21


def test_a_log_reset_beyond_its_snapshot_is_refused(open_on: OpenOn) -> None:
    """Where the snapshot that a reset relied upon is gone, nobody makes up what it held."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    reset(log, 20)
    log.sync()
    filesystem.kill()
    with pytest.raises(CorruptionError, match="begins at entry 21, and nothing holds those from 20 on"):
        open_on(filesystem, compacted_index=19)
