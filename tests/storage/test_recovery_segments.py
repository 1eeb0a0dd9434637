"""Recovery of a log in several segments: none may be missing, strange, another's, or shorter than the next says."""

from typing import Any

import pytest

from raftd.consensus.types import HardState, NodeId, Term
from raftd.errors import CorruptionError
from raftd.storage.format import (
    SECTOR_BYTES,
    Identity,
    SegmentHeader,
)
from raftd.storage.recovery import Replay
from raftd.storage.simulated import SimulatedFileSystem
from tests.storage.logs import WAL, OpenOn, append, batch_positions, commands, path_of, recover_on


@pytest.fixture
def three_segments(open_on: OpenOn) -> SimulatedFileSystem:
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem, segment_bytes=2048)
    for index in range(1, 8):
        append(log, commands(index, 1, b"a" * 700), HardState(Term(1), NodeId(1)))
        log.sync()
    log.close()
    filesystem.kill()
    assert sum(name.endswith(".wal") for name in filesystem.list_directory(WAL)) > 3
    return filesystem


def test_a_missing_segment_is_refused(three_segments: SimulatedFileSystem, open_on: OpenOn) -> None:
    """A gap in the row of segments is damage, also at its beginning, unless a snapshot covers it."""
    trial = three_segments.copy()
    trial.unlink(path_of(2))
    with pytest.raises(CorruptionError, match="segment 2 is missing"):
        open_on(trial)
    trial = three_segments.copy()
    trial.unlink(path_of(1))
    with pytest.raises(CorruptionError, match="the log begins at entry 2, and nothing holds those from 1 on"):
        open_on(trial)


def test_no_segment_at_all_is_refused(three_segments: SimulatedFileSystem, open_on: OpenOn) -> None:
    """A directory that had a log and has none is damaged, not new."""
    for name in three_segments.list_directory(WAL):
        three_segments.unlink(WAL / name)
    with pytest.raises(CorruptionError, match="no segment is there"):
        open_on(three_segments)


def test_a_copied_segment_is_refused(three_segments: SimulatedFileSystem, open_on: OpenOn) -> None:
    """A segment under another's name is damage."""
    three_segments.rename(path_of(1), path_of(2))
    with pytest.raises(CorruptionError, match="this is segment 1"):
        open_on(three_segments)


def test_a_strange_name_is_refused(three_segments: SimulatedFileSystem, open_on: OpenOn) -> None:
    """A name that ends like a segment's and is none is not overlooked."""
    three_segments.rename(path_of(1), WAL / "1.wal")
    with pytest.raises(CorruptionError, match=r"1\.wal: damaged .* 20 digits"):
        open_on(three_segments)


def test_an_earlier_segment_without_its_last_batch_is_refused(
    three_segments: SimulatedFileSystem, open_on: OpenOn
) -> None:
    """What would be a clean end or a tear in the last segment is damage in any other."""
    start, end = batch_positions(three_segments, path_of(2))[-1]
    trial = three_segments.copy()
    trial.damage(path_of(2), start, bytes(end - start))
    with pytest.raises(CorruptionError, match="does not continue"):
        open_on(trial)
    trial = three_segments.copy()
    trial.damage(path_of(2), start, bytes(SECTOR_BYTES))
    with pytest.raises(CorruptionError, match=f"2.wal: damaged at offset {start}: batch"):
        open_on(trial)


@pytest.mark.parametrize(
    "other",
    [{"first_index": 7}, {"sequence": 7}, {"chain": 7}, {"current_term": 7}, {"voted_for": 7}],
    ids=lambda other: next(iter(other)),
)
def test_a_segment_continues_a_log_in_all_that_it_says(other: dict[str, Any]) -> None:
    """One that differs in anything is from another log, or from another time of this one."""
    header = SegmentHeader(
        salt=1,
        cluster_id=bytes(16),
        node_id=1,
        number=1,
        size=8192,
        first_index=4,
        sequence=3,
        current_term=2,
        voted_for=1,
        chain=9,
    )
    replay = Replay(header)
    assert replay.continues(header)
    assert not replay.continues(header._replace(**other))


@pytest.mark.parametrize("other", [Identity(b"0123456789abcdef", NodeId(2)), Identity(bytes(16), NodeId(1))])
def test_another_s_segment_is_refused(open_on: OpenOn, other: Identity) -> None:
    """A file that was copied from elsewhere is not this node's log, whatever the data directory says."""
    filesystem = SimulatedFileSystem()
    open_on(filesystem)[0].close()
    with pytest.raises(CorruptionError, match="segment of node 1 of cluster 30313233"):
        recover_on(filesystem, other)
