"""The membership in force is a function of snapshot and log, whatever was done to the log."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus import NO_MEMBERSHIP, Entry, EntryKind, LogIndex, Membership, NodeId, Term, encode_membership
from raftd.consensus.memberships import Memberships
from raftd.errors import InvariantViolation
from tests.consensus.words import entry, members


def change(index: int, membership: Membership) -> Entry:
    return LogIndex(index), Term(1), EntryKind.MEMBERSHIP, encode_membership(membership)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_as_a_walk_along_the_log(data: st.DataObject) -> None:
    """After any appends, truncations, compactions and resets, it is what a walk along base and entries finds."""
    memberships = Memberships(NodeId(1), LogIndex(0), members(1))
    base, base_membership = 0, members(1)
    log: list[Membership | None] = []
    for _ in range(data.draw(st.integers(1, 20))):
        match data.draw(st.sampled_from(["append", "append", "truncate", "compact", "reset"])):
            case "append":
                new = [
                    members(data.draw(st.integers(1, 9))) if data.draw(st.booleans()) else None
                    for _ in range(data.draw(st.integers(1, 3)))
                ]
                first = base + len(log) + 1
                memberships.append(
                    [entry(at, 1) if one is None else change(at, one) for at, one in enumerate(new, first)]
                )
                log += new
            case "truncate" if log:
                kept = data.draw(st.integers(0, len(log) - 1))
                memberships.truncate(LogIndex(base + kept + 1))
                del log[kept:]
            case "compact":
                dropped = data.draw(st.integers(0, len(log)))
                memberships.compact(LogIndex(base + dropped))
                base_membership = next((one for one in reversed(log[:dropped]) if one is not None), base_membership)
                base += dropped
                del log[:dropped]
            case "reset":
                base, base_membership = base + len(log) + 5, members(data.draw(st.integers(1, 9)))
                memberships.reset(LogIndex(base), base_membership, LogIndex(base - 5))
                log = []
            case _:
                pass
        expected = base_membership
        for index, one in enumerate([None, *log], base):
            expected = one if one is not None else expected
            assert memberships.at(LogIndex(index)) == expected
        assert memberships.current == expected


def test_what_is_compacted_is_not_kept() -> None:
    """A cluster whose members change for years would remember each membership that it ever had."""
    memberships = Memberships(NodeId(1), LogIndex(0), members(1))
    memberships.append([change(index, members(1, index)) for index in range(2, 9)])
    memberships.compact(LogIndex(7))
    assert [index for index, _ in memberships._history] == [7, 8]


def test_a_removal_takes_a_membership_before() -> None:
    """Memberships from before a node was added have not removed it; one after it has, once it is committed."""
    memberships = Memberships(NodeId(3), LogIndex(0), NO_MEMBERSHIP)
    memberships.append([change(1, members(1, 2)), change(2, members(1, 2, learners=(3,))), change(3, members(1, 2))])
    assert [memberships.has_removed_me(LogIndex(index)) for index in range(4)] == [False, False, False, True]


@pytest.mark.parametrize("by_reset", [True, False])
def test_a_removal_is_known_after_compaction(by_reset: bool) -> None:
    """That this node was a member is remembered when the entry that said so is gone."""
    memberships = Memberships(NodeId(3), LogIndex(0), members(1, 2, 3))
    if by_reset:
        memberships.reset(LogIndex(9), members(1, 2), LogIndex(0))
    else:
        memberships.append([change(1, members(1, 2))])
        memberships.compact(LogIndex(1))
    assert memberships.has_removed_me(LogIndex(9))


def test_an_addition_that_was_never_committed_is_no_membership() -> None:
    """A snapshot that takes the place of an uncommitted addition has removed nobody."""
    memberships = Memberships(NodeId(3), LogIndex(0), members(1, 2))
    memberships.append([change(1, members(1, 2, learners=(3,)))])
    memberships.reset(LogIndex(9), members(1, 2), LogIndex(0))
    assert not memberships.has_removed_me(LogIndex(9))


def test_an_unreadable_membership_stops_the_node() -> None:
    """It was checked when it came; if it cannot be read, what is in the log is not what was put there."""
    with pytest.raises(InvariantViolation, match="entry 1 of the log"):
        Memberships(NodeId(1), LogIndex(0), members(1)).append([(LogIndex(1), Term(1), EntryKind.MEMBERSHIP, b"?")])


def test_who_was_left_out_may_campaign_until_that_is_committed() -> None:
    """A server that is not part of its own latest configuration should still start new elections (thesis §4.2.2)."""
    memberships = Memberships(NodeId(1), LogIndex(0), members(1, 2))
    memberships.append([change(1, members(2, outgoing=(1, 2)))])
    assert memberships.may_campaign(LogIndex(0))
    memberships.append([change(2, members(2))])
    assert memberships.may_campaign(LogIndex(1))
    assert not memberships.may_campaign(LogIndex(2))
    learner = Memberships(NodeId(3), LogIndex(0), members(1, learners=(3,)))
    learner.append([change(1, members(1))])
    assert not learner.may_campaign(LogIndex(0))
