import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from raftd.consensus.types import LogIndex, Term
from raftd.kv.types import LeaseId
from raftd.node import lease_clock
from raftd.node.lease_clock import LeaseClock

ALICE, BOB = b"alice", b"bob"


@dataclass
class FakeLease:
    ttl_ms: int
    user: bytes = ALICE
    keys: set[bytes] = field(default_factory=set)


class FakeLeases(dict[int, FakeLease]):
    """As `raftd.kv.leases`, as far as the clock uses it."""

    def ids_after(self, lease_id: int, /) -> Iterator[LeaseId]:
        return iter(sorted(LeaseId(found) for found in self if found > lease_id))


class Leader:
    """A clock with its leases and a time."""

    def __init__(self, *ttl_ms: int) -> None:
        self.leases = FakeLeases({number: FakeLease(ttl) for number, ttl in enumerate(ttl_ms, 1)})
        self.clock = LeaseClock()
        self.now = 100.0
        self.last_applied = LogIndex(1)
        self.term: Term | None = Term(3)
        self.lead()

    def lead(self) -> bool:
        return self.clock.lead(self.term, self.leases, self.now)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.lead()

    def keep_alive(self, lease_id: int, user: bytes = ALICE) -> int:
        return self.clock.keep_alive(LeaseId(lease_id), user, self.leases, self.now)

    def due(self) -> list[LeaseId]:
        return self.clock.due(self.leases, self.now, self.last_applied)

    def remaining(self, lease_id: int) -> int:
        return self.clock.remaining_ms(LeaseId(lease_id), self.leases, self.now)


def test_a_lease_is_due_when_its_time_is_up() -> None:
    """Not a moment before; and it stays due until it is gone, whoever asks."""
    leader = Leader(1000, 2000)
    leader.advance(0.75)
    assert (leader.due(), leader.remaining(1), leader.remaining(2)) == ([], 250, 1250)
    leader.advance(0.25)
    assert leader.due() == leader.due() == [1]
    del leader.leases[1]
    assert leader.due() == []
    leader.advance(1.0)
    assert leader.due() == [2]


def test_a_lease_that_was_granted_lately_is_found() -> None:
    """Its time runs from the first look at it."""
    leader = Leader()
    leader.advance(5.0)
    leader.leases[7] = FakeLease(1000)
    assert leader.remaining(7) == 1000
    leader.lead()
    leader.advance(0.5)
    assert (leader.remaining(7), leader.due()) == (500, [])
    leader.advance(0.5)
    assert leader.due() == [7]


def test_a_keep_alive_gives_the_full_time_again() -> None:
    """To its own user's leases; of others', and of those that are not there, nobody is told anything."""
    leader = Leader(1000)
    for _ in range(10):
        leader.advance(0.9)
        assert leader.keep_alive(1) == 1000
        assert leader.due() == []
    assert leader.keep_alive(1, BOB) == leader.keep_alive(2) == 0
    leader.advance(1.0)
    assert leader.due() == [1]
    assert leader.keep_alive(1) == 1000
    assert leader.due() == []


def test_a_lease_whose_expiry_is_proposed_cannot_be_kept_alive() -> None:
    """The entry may be committed already: who was told that the lease lives on would be deceived."""
    leader = Leader(1000, 1000)
    leader.advance(1.0)
    leader.clock.proposed([LeaseId(1)], leader.leases, LogIndex(2))
    assert (leader.due(), leader.keep_alive(1), leader.remaining(1)) == ([2], 0, 0)
    leader.clock.pause(0.5)
    assert (leader.remaining(1), leader.remaining(2)) == (0, 500)
    assert leader.keep_alive(2) == 1000
    leader.advance(5.0)
    assert leader.due() == [2]
    assert leader.clock.expired_total == 1


def test_a_lease_that_its_entry_has_left_is_due_again() -> None:
    """Its keys had become too many for one step. Until it is gone it cannot be kept alive."""
    leader = Leader(1000, 1000)
    leader.advance(1.0)
    leader.clock.proposed(leader.due(), leader.leases, LogIndex(2))
    assert leader.due() == []
    leader.last_applied = LogIndex(2)
    del leader.leases[1]
    assert (leader.due(), leader.keep_alive(2)) == ([2], 0)
    leader.clock.proposed([LeaseId(2)], leader.leases, LogIndex(3))
    assert leader.due() == []
    leader.last_applied = LogIndex(3)
    del leader.leases[2]
    leader.advance(1.0)
    assert leader.due() == []


def test_a_new_leader_gives_each_lease_its_full_time() -> None:
    """Whatever it knew when it led before, and whatever it had proposed then."""
    leader = Leader(1000, 60_000)
    leader.advance(30.0)
    leader.clock.proposed([LeaseId(1)], leader.leases, LogIndex(2))
    leader.term = None
    assert not leader.lead()
    assert leader.due() == []
    leader.advance(40.0)
    leader.term = Term(5)
    assert leader.lead()
    assert (leader.due(), leader.remaining(1), leader.remaining(2)) == ([], 1000, 60_000)
    assert leader.keep_alive(1) == 1000


def test_a_term_that_follows_at_once_is_another_leadership() -> None:
    """Though this node was leader before and after."""
    leader = Leader(1000)
    leader.advance(1.0)
    leader.term = Term(4)
    leader.lead()
    assert leader.due() == []


def test_a_pause_counts_for_nobody() -> None:
    """Keep-alives wait in the sockets of a process that was stopped: they must not find their leases gone."""
    leader = Leader(1000, 3000)
    leader.advance(0.5)
    leader.now += 30.0
    leader.clock.pause(30.0)
    leader.lead()
    assert (leader.due(), leader.remaining(1), leader.remaining(2)) == ([], 500, 2500)
    leader.advance(0.5)
    assert leader.due() == [1]


def test_one_command_ends_only_so_many_leases_and_keys() -> None:
    """The state machine does it in one step; a lease with very many keys goes alone."""
    leader = Leader(*[1000] * 3000)
    leader.advance(0.0)
    leader.advance(1.0)
    assert len(leader.due()) == lease_clock.EXPIRED_MAX
    for lease_id in list(leader.leases)[3:]:
        del leader.leases[lease_id]
    for lease in leader.leases.values():
        lease.keys = {b"%d" % number for number in range(3000)}
    assert len(leader.due()) == 1


def test_very_many_leases_are_found_a_part_at_a_time() -> None:
    """A new leader finds all of them new; those that were not looked at yet live the longer."""
    count = 3 * lease_clock.FOUND_MAX
    leader = Leader(*[1000] * count)
    assert leader.remaining(count) == 1000
    for _ in range(3):
        leader.advance(0.5)
    assert leader.due() == list(range(1, lease_clock.EXPIRED_MAX + 1))
    assert leader.remaining(count) == 500


def test_leases_that_come_and_go_leave_nothing_behind() -> None:
    """Programs may grant and revoke all day long, with times to live of a week."""
    leader = Leader()
    for lease_id in range(1, 20_000):
        leader.leases[lease_id] = FakeLease(604_800_000)
        leader.lead()
        del leader.leases[lease_id]
    assert len(leader.clock._heap) < 200
    assert len(leader.clock._deadlines) < 200


@pytest.mark.parametrize("seed", range(20))
def test_against_plain_deadlines(seed: int) -> None:
    """With random grants, keep-alives, revocations, pauses and expiries, what is due is what plain arithmetic says."""
    draw = random.Random(seed)
    leader = Leader()
    deadlines: dict[int, float] = {}
    next_id = 1
    for _ in range(2000):
        action = draw.randrange(7)
        if action == 0:
            leader.leases[next_id] = FakeLease(draw.choice([1000, 5000, 20_000]))
            leader.lead()
            deadlines[next_id] = leader.now + leader.leases[next_id].ttl_ms / 1000
            next_id += 1
        elif action == 1 and deadlines:
            lease_id = draw.choice(list(deadlines))
            del deadlines[lease_id], leader.leases[lease_id]
        elif action in (2, 3) and deadlines:
            lease_id = draw.choice(list(deadlines))
            ttl_ms = leader.leases[lease_id].ttl_ms
            assert leader.keep_alive(lease_id) == ttl_ms
            deadlines[lease_id] = leader.now + ttl_ms / 1000
        elif action == 4 and draw.random() < 0.1:
            pause = draw.uniform(0, 30)
            leader.now += pause
            leader.clock.pause(pause)
            deadlines = {lease_id: deadline + pause for lease_id, deadline in deadlines.items()}
        else:
            leader.advance(draw.uniform(0, 1))
        due = leader.due()
        sure = [lease_id for lease_id, deadline in deadlines.items() if deadline < leader.now - 1e-6]
        maybe = [lease_id for lease_id, deadline in deadlines.items() if deadline < leader.now + 1e-6]
        assert set(sure) <= set(due) <= set(maybe)
        if due and draw.random() < 0.3:
            leader.clock.proposed(due, leader.leases, LogIndex(2))
            for lease_id in due:
                assert leader.keep_alive(lease_id) == 0
                del deadlines[lease_id], leader.leases[lease_id]
