"""When a change is done, when it was lost, and when nobody waits any longer."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import cast

import pytest

from raftd.cli.member_wait import Change, wait_for_change, wait_for_leader
from raftd.client import ChangeKind, Client, Members, Unavailable

PLACES = "client=n4:1,peer=n4:2,http=n4:3"
THREE = Members(
    node_id=1,
    leader_id=1,
    index=5,
    committed=True,
    commit_index=9,
    voters=frozenset({1, 2, 3}),
    outgoing=frozenset(),
    learners=frozenset({5}),
    joining={},
    addresses={},
    lag_entries={2: 0, 3: 0, 5: 1234},
)
FOUR = replace(THREE, voters=frozenset({1, 2, 3, 4}), addresses={4: PLACES})
REPLACED = replace(THREE, voters=frozenset({1, 3, 4}))


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        (Change(ChangeKind.ADD_VOTER, 4, address=PLACES), THREE, FOUR),
        (Change(ChangeKind.ADD_VOTER, 5, address=PLACES), THREE, replace(THREE, voters=frozenset({1, 2, 3, 5}))),
        (Change(ChangeKind.ADD_LEARNER, 5, address=PLACES), replace(THREE, learners=frozenset()), THREE),
        (Change(ChangeKind.PROMOTE, 5), THREE, replace(THREE, voters=frozenset({1, 2, 3, 5}))),
        (Change(ChangeKind.REMOVE, 5), THREE, replace(THREE, learners=frozenset())),
        (Change(ChangeKind.REPLACE, 4, 2, PLACES), FOUR, REPLACED),
        (Change(ChangeKind.REPLACE, 4, 2, PLACES), replace(THREE, voters=frozenset({1, 3})), REPLACED),
        (Change(ChangeKind.UPDATE_ADDRESS, 4, address=PLACES), replace(FOUR, addresses={4: "elsewhere"}), FOUR),
    ],
)
def test_when_it_is_done(change: Change, before: Members, after: Members) -> None:
    """Not before it is committed, and a joint membership is left."""
    assert not change.is_done(before)
    assert change.is_done(after)
    assert not change.is_done(replace(after, committed=False))
    assert not change.is_done(replace(after, outgoing=frozenset({1, 2, 3})))


class Told:
    """A client whose cluster is, look by look, as it is told; the last look goes on."""

    def __init__(self, looks: Iterable[Members | Unavailable]) -> None:
        self.looks = list(looks)
        self.begun: list[tuple[ChangeKind, int, int, str]] = []

    def members(self) -> Members:
        found = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(found, Unavailable):
            raise found
        return found

    def change_membership(self, kind: ChangeKind, node_id: int, *, old_node_id: int, address: str) -> int:
        self.begun.append((kind, node_id, old_node_id, address))
        return 20


ADD = Change(ChangeKind.ADD_VOTER, 4, address=PLACES)


def clock() -> tuple[Callable[[], float], Callable[[float], None], list[float]]:
    """A clock that moves when somebody sleeps."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    return lambda: now[0], sleep, now


def wait(told: Told, index: int, seconds: float = 60.0) -> Members:
    tell, sleep, _ = clock()
    return wait_for_change(cast("Client", told), ADD, index, seconds, clock=tell, sleep=sleep)


def test_waiting_outlives_leaders() -> None:
    """Who does not lead does not count, nor does it end the waiting that nobody answers."""
    follower = replace(FOUR, node_id=2)
    leaderless = replace(FOUR, leader_id=None)
    told = Told([Unavailable("down"), follower, leaderless, THREE, FOUR])
    assert wait(told, 10) is FOUR
    assert told.begun == []


def test_a_lost_change_begins_anew() -> None:
    """Another leader has committed something else where it stood."""
    told = Told([replace(THREE, commit_index=9), replace(THREE, commit_index=10), THREE, FOUR])
    wait(told, 10)
    assert told.begun == [(ChangeKind.ADD_VOTER, 4, 0, PLACES)]


def test_a_change_that_is_there_does_not() -> None:
    """A membership at its index or behind it is it, or one that came after it."""
    told = Told([replace(THREE, index=10, commit_index=10), replace(THREE, index=12, commit_index=12), FOUR])
    wait(told, 10)
    assert told.begun == []


def test_waiting_ends() -> None:
    """In one line that says that the change goes on."""
    with pytest.raises(Unavailable, match=r"not done within 3 s; it goes on, see `raftctl member list`"):
        wait(Told([THREE]), 10, 3.0)


def test_a_new_leader_is_one_that_says_so() -> None:
    """Or it has given up, and who leads is told."""
    tell, sleep, _ = clock()
    told = cast("Client", Told([THREE, Unavailable("election"), replace(THREE, node_id=2, leader_id=2)]))
    wait_for_leader(told, 2, 5.0, clock=tell, sleep=sleep)
    with pytest.raises(Unavailable, match="node 3 has not taken over within 5 s; node 1 leads"):
        wait_for_leader(cast("Client", Told([THREE])), 3, 5.0, clock=tell, sleep=sleep)
    with pytest.raises(Unavailable, match="no node leads"):
        wait_for_leader(cast("Client", Told([Unavailable("down")])), 3, 5.0, clock=tell, sleep=sleep)
