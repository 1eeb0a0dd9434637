"""The state machine against a model of plain dicts, under clients that retry blindly and in any order."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from raftd.kv import answers, commands
from raftd.kv.answers import Outcome
from raftd.kv.commands import Revision, SessionId
from raftd.kv.limits import Limits
from raftd.kv.types import NO_LEASE, Record
from tests.kv.test_machine import TERM, Driver


@dataclass(eq=False)
class ModelSession:
    """What a client and an honest, slow server would know of one session."""

    session_id: SessionId
    user: str
    ttl_ms: int
    last_active_ms: int
    first_unanswered: int = 1
    alive: bool = True
    given: dict[int, bytes] = field(default_factory=dict)
    """All answers ever given, forgotten ones too."""
    next_sequence: int = 1
    client_first_unanswered: int = 1


@dataclass(frozen=True)
class Write:
    """One write that a client has sent and may send again."""

    session: ModelSession
    sequence: int
    first_unanswered: int
    key: bytes
    value: bytes | None
    expected: Revision | None

    def encode(self) -> bytes:
        session_id, sequence, mark = self.session.session_id, self.sequence, self.first_unanswered
        if self.value is None:
            return commands.delete(session_id, sequence, mark, self.key, expected_revision=self.expected)
        return commands.put(session_id, sequence, mark, self.key, self.value, expected_revision=self.expected)


IN_FLIGHT_MAX = 4


class AgainstPlainDicts(RuleBasedStateMachine):
    """Clients that retry blindly, in any order, on two machines and against a model of plain dicts."""

    def __init__(self) -> None:
        super().__init__()
        limits = Limits(
            in_flight_max=IN_FLIGHT_MAX, ttl_ms_min=10, ttl_ms_max=100, ttl_ms_default=50, advance_ms_max=20
        )
        self.driver = Driver(limits)
        self.twin = Driver(limits)
        self.keys: dict[bytes, Record] = {}
        self.revision = 0
        self.clock_ms = 0
        self.sessions: list[ModelSession] = []

    opened = Bundle("opened")
    sent = Bundle("sent")

    def send(self, command: bytes, user: str) -> bytes:
        answer = self.driver.send(command, user)
        assert self.twin.send(command, user) == answer
        return answer

    @rule(target=opened, user=st.sampled_from(["alice", "bob"]), ttl_ms=st.sampled_from([0, 1, 30, 1000]))
    def open_session(self, user: str, ttl_ms: int) -> ModelSession:
        answer = answers.decode(self.send(commands.open_session(ttl_ms), user))
        opened = answers.decode_open_session(answer.body)
        assert opened.ttl_ms == {0: 50, 1: 10, 30: 30, 1000: 100}[ttl_ms]
        session = ModelSession(opened.session, user, opened.ttl_ms, self.clock_ms)
        self.sessions.append(session)
        return session

    @rule(session=opened)
    def close_session(self, session: ModelSession) -> None:
        answer = self.send(commands.close_session(session.session_id), session.user)
        assert answer == self.without_body(Outcome.OK if session.alive else Outcome.SESSION_EXPIRED)
        session.alive = False

    @rule(session=opened)
    def keep_alive(self, session: ModelSession) -> None:
        mark = session.client_first_unanswered
        answer = self.send(commands.keep_alive(session.session_id, mark), session.user)
        assert answer == self.without_body(Outcome.OK if session.alive else Outcome.SESSION_EXPIRED)
        session.last_active_ms = self.clock_ms
        session.first_unanswered = max(session.first_unanswered, mark)

    @rule(elapsed_ms=st.integers(0, 40))
    def advance_clock(self, elapsed_ms: int) -> None:
        assert self.send(commands.advance_clock(elapsed_ms), "") == self.without_body(Outcome.OK)
        self.clock_ms += min(elapsed_ms, 20)
        for session in self.sessions:
            session.alive = session.alive and session.last_active_ms + session.ttl_ms + 20 > self.clock_ms

    @rule(session=opened)
    def acknowledge(self, session: ModelSession) -> None:
        """The client moves its mark over what it has an answer for."""
        while session.client_first_unanswered in session.given:
            session.client_first_unanswered += 1

    @rule(
        target=sent,
        session=opened,
        key=st.sampled_from([b"a", b"b", b"c"]),
        value=st.none() | st.binary(max_size=3),
        expected=st.none() | st.integers(0, 5).map(Revision),
    )
    def write(self, session: ModelSession, key: bytes, value: bytes | None, expected: Revision | None) -> Write:
        """Send nothing yet: `deliver` does, any number of times and in any order."""
        write = Write(session, session.next_sequence, session.client_first_unanswered, key, value, expected)
        session.next_sequence += 1
        return write

    @rule(write=sent)
    def deliver(self, write: Write) -> None:
        session = write.session
        answer = self.send(write.encode(), session.user)
        if not session.alive:
            assert answer == self.without_body(Outcome.SESSION_EXPIRED)
            return
        session.last_active_ms = self.clock_ms
        session.first_unanswered = max(session.first_unanswered, write.first_unanswered)
        if write.sequence < session.first_unanswered:
            assert answer == self.without_body(Outcome.SEQUENCE_ANSWERED)
        elif write.sequence in session.given:
            assert answer == session.given[write.sequence]
        elif write.sequence >= session.first_unanswered + IN_FLIGHT_MAX:
            assert answer == self.without_body(Outcome.TOO_MANY_IN_FLIGHT)
        else:
            session.given[write.sequence] = answer
            assert answer == self.effect(write)

    @rule(write=sent)
    def deliver_under_another_name(self, write: Write) -> None:
        assert self.send(write.encode(), "mallory") == self.without_body(Outcome.SESSION_EXPIRED)

    def without_body(self, outcome: Outcome) -> bytes:
        return answers.encode(outcome, TERM, Revision(self.revision))

    def effect(self, write: Write) -> bytes:
        """Apply a write to the model."""
        record = self.keys.get(write.key)
        modify_revision = record[1] if record else 0
        if write.expected not in (None, modify_revision):
            return answers.encode_compare_failed(TERM, Revision(self.revision), Revision(modify_revision))
        if write.value is None:
            if record is None:
                return self.without_body(Outcome.NOT_FOUND)
            self.revision += 1
            del self.keys[write.key]
            return self.without_body(Outcome.OK)
        self.revision += 1
        created, version = (record[0], record[2] + 1) if record else (self.revision, 1)
        user = write.session.user.encode()
        self.keys[write.key] = (Revision(created), Revision(self.revision), version, NO_LEASE, user, write.value)
        return answers.encode_put(TERM, Revision(self.revision), version, Revision(created))

    @invariant()
    def equal(self) -> None:
        machine = self.driver.machine
        assert dict(machine._store) == self.keys
        assert machine.revision == self.revision
        assert machine.clock_ms == self.clock_ms
        assert machine.session_count == sum(session.alive for session in self.sessions)

    def teardown(self) -> None:
        assert self.driver.machine.state_hash == self.twin.machine.state_hash
        assert self.driver.machine.digest() == self.twin.machine.digest()


TestAgainstPlainDicts = AgainstPlainDicts.TestCase
TestAgainstPlainDicts.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
