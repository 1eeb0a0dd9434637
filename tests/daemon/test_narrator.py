import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from raftd import events
from raftd.consensus import Membership, RaftView
from raftd.consensus.abdication import Abdication, AbdicationReason
from raftd.consensus.types import LogIndex, NodeId, Role, Term
from raftd.daemon.logs import event_of
from raftd.daemon.narrator import Narrator, tell_failure
from raftd.errors import CorruptionError, DataDirectoryError, InvariantViolation, StorageError


@dataclass
class FakeRaft:
    role: Role = Role.FOLLOWER
    current_term: Term = field(default=Term(7))
    abdication: Abdication | None = None
    leader_silent_ticks: int = 12
    election_timeout_ticks_min: int = 10
    election_timeout_ticks: int = 19
    """The next one is drawn by the time that anything is told."""


@dataclass
class Told:
    """A narrator, its surroundings, and what it told."""

    caplog: pytest.LogCaptureFixture
    raft: FakeRaft = field(default_factory=FakeRaft)
    busy_since: float | None = None
    now: float = 100.0

    def __post_init__(self) -> None:
        self.narrator = Narrator(
            cast("RaftView", self.raft),
            tick_seconds=0.1,
            election_timeout_seconds=2.0,
            busy_since=lambda: self.busy_since,
            now=lambda: self.now,
        )

    @property
    def messages(self) -> list[str]:
        """What was told since the last look."""
        told = [f"{each.name}: {record.getMessage()}" for record in self.caplog.records if (each := event_of(record))]
        self.caplog.clear()
        return told

    def become(self, role: Role, term: int, leader: int | None) -> None:
        self.narrator.leadership(role, Term(term), None if leader is None else NodeId(leader))


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    caplog.set_level(logging.DEBUG)
    return Told(caplog)


def test_a_follower_s_life(told: Told) -> None:
    """Each leader once, its loss once with the reason, and each campaign."""
    told.become(Role.FOLLOWER, 5, 2)
    told.become(Role.FOLLOWER, 5, 2)
    assert told.messages == ["leader_elected: node 2 leads term 5"]
    told.become(Role.PRE_CANDIDATE, 5, None)
    assert told.messages == ["leader_lost: no leader is known in term 5: nothing was heard from node 2 for 1.2 s"]
    told.become(Role.CANDIDATE, 6, None)
    told.become(Role.PRE_CANDIDATE, 6, None)
    assert told.messages == ["election_started: no leader was heard of in time: campaigns in term 6"]
    told.become(Role.FOLLOWER, 7, 3)
    told.become(Role.FOLLOWER, 8, None)
    assert told.messages == [
        "leader_elected: node 3 leads term 7",
        "leader_lost: no leader is known in term 8: another node than 3 has begun term 8",
    ]


def test_who_is_handed_the_lead_does_not_call_the_other_silent(told: Told) -> None:
    """Nor does it say that it campaigns: that is how leadership is handed over."""
    told.become(Role.FOLLOWER, 5, 2)
    told.raft.leader_silent_ticks = 1
    told.become(Role.CANDIDATE, 6, None)
    told.become(Role.LEADER, 6, 1)
    assert told.messages == [
        "leader_elected: node 2 leads term 5",
        "leader_lost: no leader is known in term 6: node 2 hands over to this one",
        "leader_elected: node 1 leads term 6",
    ]


@pytest.mark.parametrize(
    ("abdication", "reason"),
    [
        (
            Abdication(Term(6), AbdicationReason.NO_QUORUM, {NodeId(2): 14, NodeId(3): 12}),
            "no quorum since 1.2 s, last heard from 3: 1.2 s, 2: 1.4 s ago",
        ),
        (
            Abdication(
                Term(6), AbdicationReason.NO_QUORUM, {NodeId(2): 5, NodeId(3): 20, NodeId(4): 30, NodeId(5): 40}
            ),
            "no quorum since 2.0 s, last heard from 2: 0.5 s, 3: 2.0 s, 4: 3.0 s, 5: 4.0 s ago",
        ),
        (Abdication(Term(6), AbdicationReason.NEWER_TERM, {}), "another node has begun term 7"),
        (Abdication(Term(6), AbdicationReason.TRANSFER, {}), "leadership was handed over"),
        (Abdication(Term(6), AbdicationReason.DISK, {}), "its disk stores nothing any more"),
        (Abdication(Term(6), AbdicationReason.REMOVED, {}), "it is a voter no more"),
    ],
    ids=lambda value: value.reason.value if isinstance(value, Abdication) else "",
)
def test_a_leader_says_why_it_leads_no_more(told: Told, abdication: Abdication, reason: str) -> None:
    """Once, with the reason, and without a second line about the same loss."""
    told.become(Role.LEADER, 6, 1)
    told.raft.abdication = abdication
    told.become(Role.FOLLOWER, 6, None)
    assert told.messages == [
        "leader_elected: node 1 leads term 6",
        f"leader_stepped_down: steps down in term 6: {reason}",
    ]


def test_members_are_told(told: Told) -> None:
    """Who votes, who leaves, who learns."""
    told.narrator.membership(Membership(frozenset({NodeId(2), NodeId(1)}), learners=frozenset({NodeId(3)})))
    assert told.messages == ["membership_changed: voters [1, 2], leaving [], learners [3]"]


def test_a_slow_disk_is_told_once_in_a_while(told: Told) -> None:
    """From half an election timeout on; a write that goes on, and further ones, are told again ten seconds later."""
    told.narrator.tick(0.0)
    told.busy_since = told.now
    told.now += 0.9
    told.narrator.tick(0.0)
    assert told.messages == []
    told.now += 0.2
    told.narrator.tick(0.0)
    told.now += 5.0
    told.narrator.tick(0.0)
    assert told.messages == ["disk_slow: a log write has taken 1.1 s so far"]
    told.now += 5.0
    told.narrator.tick(0.0)
    assert told.messages == ["disk_slow: a log write has taken 11.1 s so far"]


def test_a_late_loop_is_told_once_in_a_while(told: Told) -> None:
    """The same of ticks, and the one does not silence the other."""
    told.narrator.tick(0.9)
    assert told.messages == []
    told.narrator.tick(1.5)
    told.now += 1.0
    told.narrator.tick(3.0)
    told.busy_since = told.now - 2.0
    told.narrator.tick(3.0)
    assert told.messages == [
        "loop_late: the event loop was 1.5 s late",
        "disk_slow: a log write has taken 2.0 s so far",
    ]


@pytest.mark.parametrize(
    ("error", "stored", "expected"),
    [
        (CorruptionError("log/1: damaged at offset 9"), None, "log_damaged"),
        (StorageError("no space"), 41, "disk_failed"),
        (StorageError("cannot be opened"), None, "node_failed"),
        (DataDirectoryError("in use"), 41, "node_failed"),
        (InvariantViolation("a bug"), None, "node_failed"),
        (KeyError(), None, "node_failed"),
    ],
)
def test_why_a_process_ends(told: Told, error: BaseException, stored: int | None, expected: str) -> None:
    """One line with the reason: the event of what failed, where there is one, and else that the node ends."""
    reason = tell_failure(error, None if stored is None else LogIndex(stored))
    (message,) = told.messages
    assert message.partition(":")[0] == expected
    assert reason in message
    assert reason


def test_every_event_is_logged_somewhere() -> None:
    """No event is in the catalogue that nothing can ever log: each has a call of its `log` in the code."""
    package = Path(events.__file__).parent
    code = "\n".join(path.read_text() for path in package.rglob("*.py") if path.name != "events.py")
    unlogged = [event.name for event in events.CATALOGUE if f"events.{event.name.upper()}.log(" not in code]
    assert unlogged == []
