"""What counts as being on disk, while the log changes under way."""

import pytest

from raftd.consensus import HardState, LogIndex, NodeId, Term
from raftd.consensus.log import RaftLog
from raftd.consensus.storing import Storing
from raftd.errors import InvariantViolation
from tests.consensus.words import entries_of

TERM_1 = HardState(Term(1), None)
TERM_2 = HardState(Term(2), None)


def test_recovered_state_is_stored() -> None:
    """What came from the disk is on it: nothing is due."""
    storing = Storing(TERM_1, LogIndex(3))
    assert storing.stored_index == 3
    assert storing.stored_hard_state == TERM_1
    assert not storing.is_due(Term(1), None, LogIndex(3))


def test_each_thing_is_handed_out_once() -> None:
    """Entries and a changed hard state go to the log writer exactly once."""
    log = RaftLog()
    storing = Storing(TERM_1, LogIndex(0))
    log.append(entries_of(1, 1))
    assert storing.hand_out(TERM_1, log) == (None, None, entries_of(1, 1))
    assert storing.hand_out(TERM_1, log) == (None, None, ())
    voted = HardState(Term(1), NodeId(2))
    assert storing.is_due(Term(1), NodeId(2), LogIndex(2))
    assert storing.hand_out(voted, log) == (voted, None, ())
    assert not storing.is_due(Term(1), NodeId(2), LogIndex(2))


def test_entries_replaced_under_way_are_not_stored() -> None:
    """The disk acknowledges entries that memory has replaced by now: they say nothing about the new ones (ABA)."""
    log = RaftLog()
    storing = Storing(TERM_1, LogIndex(0))
    log.append(entries_of(1, 1, 1))
    storing.hand_out(TERM_1, log)
    log.truncate(LogIndex(2))
    storing.truncated(LogIndex(2))
    log.append(entries_of(2, 2, first=2))
    assert storing.hand_out(TERM_2, log) == (TERM_2, None, entries_of(2, 2, first=2))
    storing.acknowledge(Term(1), LogIndex(3))
    assert storing.stored_index == 1
    assert storing.stored_hard_state == TERM_1
    storing.acknowledge(Term(2), LogIndex(3))
    assert storing.stored_index == 3
    assert storing.stored_hard_state == TERM_2


def test_stored_entries_that_are_removed_are_not_stored() -> None:
    """Truncation takes back what was stored, and what was handed out, of the removed entries."""
    log = RaftLog(entries_of(1, 1, 1))
    storing = Storing(TERM_1, LogIndex(3))
    log.truncate(LogIndex(3))
    storing.truncated(LogIndex(3))
    assert storing.stored_index == 2
    log.append(entries_of(2, first=3))
    assert storing.is_due(Term(1), None, LogIndex(3))


@pytest.mark.parametrize(("term", "index"), [(1, 3), (2, 2), (2, 4)])
def test_acknowledgements_come_in_order(term: int, index: int) -> None:
    """An acknowledgement of anything but the oldest Ready is a bug."""
    log = RaftLog()
    storing = Storing(TERM_1, LogIndex(0))
    log.append(entries_of(1, 1))
    storing.hand_out(TERM_1, log)
    log.append(entries_of(2, 2, first=3))
    storing.hand_out(TERM_2, log)
    with pytest.raises(InvariantViolation, match="was handed out before it"):
        storing.acknowledge(Term(term), LogIndex(index))
    assert storing.stored_index == 0


def test_nothing_to_acknowledge() -> None:
    """An acknowledgement when nothing is under way is a bug."""
    with pytest.raises(InvariantViolation, match="nothing was to be stored"):
        Storing(TERM_1, LogIndex(0)).acknowledge(Term(1), LogIndex(0))


def test_a_snapshot_takes_the_place_of_the_log() -> None:
    """What it covers is stored, whatever was under way; what lies behind it is handed out again, after the new base."""
    log = RaftLog(entries_of(1, 1))
    storing = Storing(TERM_1, LogIndex(2))
    log.append(entries_of(1, 1, first=3))
    storing.hand_out(TERM_1, log)
    log.reset(LogIndex(9), Term(2))
    storing.reset(LogIndex(9), Term(2))
    assert storing.stored_index == 9
    assert storing.is_due(Term(1), None, LogIndex(9))
    log.append(entries_of(2, first=10))
    assert storing.hand_out(TERM_2, log) == (TERM_2, (9, 2), entries_of(2, first=10))
    storing.acknowledge(Term(1), LogIndex(4))
    assert storing.stored_index == 9
    storing.acknowledge(Term(2), LogIndex(10))
    assert storing.stored_index == 10
    assert not storing.is_due(Term(2), None, LogIndex(10))
