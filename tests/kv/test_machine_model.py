"""The state machine against a model of plain dicts, under clients that retry blindly and in any order."""

from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from raftd.consensus.types import LogIndex
from raftd.kv import answers, commands
from raftd.kv.answers import Outcome
from raftd.kv.commands import Revision, SessionId, Stamp, Write
from raftd.kv.limits import Limits
from raftd.kv.machine import StateMachine
from raftd.kv.operations import (
    I64_MAX,
    Compare,
    CompareTarget,
    Delete,
    DeleteRange,
    Fence,
    Increment,
    Operation,
    Put,
    Range,
    Relation,
    Transaction,
    WriteOperation,
)
from raftd.kv.operations import Get as GetOperation
from raftd.kv.pages import decode_history, decode_range
from raftd.kv.queries import HistoryQuery, RangeQuery
from raftd.kv.snapshot import SnapshotReader
from raftd.kv.snapshot_loader import SnapshotLoader
from raftd.kv.types import LeaseId
from tests.kv.model import RIGHT, RIGHT_VALUE, Model, ModelSession, Origin, aimed
from tests.kv.shown import shown_change, shown_result
from tests.kv.test_machine import TERM

IN_FLIGHT_MAX = 4
LIMITS = Limits(
    in_flight_max=IN_FLIGHT_MAX,
    ttl_ms_min=10,
    ttl_ms_max=300,
    ttl_ms_default=200,
    advance_ms_max=20,
    leases_max=4,
    leases_per_user_max=3,
    keys_per_lease_max=2,
    lease_ttl_ms_min=5,
    lease_ttl_ms_max=50,
    lease_ttl_ms_default=20,
    history_bytes_max=50,
    history_changes_max=10,
    history_ms_max=90,
)

keys = st.sampled_from([b"a", b"b", b"b\x00", b"c", b"n"])
bounds = st.sampled_from([b"", b"a", b"b", b"b\x00", b"c", b"d"])
values = st.sampled_from([b"", b"x", b"1", b"-2", b"%d" % I64_MAX, b"yes and no"])
lease_numbers = st.sampled_from([0, 0, 1, 2, 3, 4]).map(LeaseId)  # see `aimed`
maybe_revisions = st.sampled_from([None, None, None, None, RIGHT, RIGHT, Revision(0), Revision(3)])
maybe_values = st.sampled_from([None, None, None, None, RIGHT_VALUE, RIGHT_VALUE, b"", b"1"])
deltas = st.sampled_from([1, -1, 5, I64_MAX, -I64_MAX - 1])

ranges = st.builds(Range, bounds, bounds, st.integers(0, 3), st.booleans(), st.booleans())
inner: st.SearchStrategy[Operation] = (
    st.builds(Put, keys, values, lease_numbers, st.none(), st.none(), st.booleans())
    | st.builds(Delete, keys, st.none(), st.none(), st.booleans())
    | st.builds(Increment, keys, deltas, st.none())
    | st.builds(DeleteRange, bounds, bounds, st.integers(1, 3), st.booleans())
    | st.builds(GetOperation, keys)
    | ranges
)
relations = st.sampled_from(Relation)
compares = st.builds(Compare, st.just(CompareTarget.VALUE), relations, keys, values) | st.builds(
    Compare,
    st.sampled_from([target for target in CompareTarget if target is not CompareTarget.VALUE]),
    relations,
    keys,
    st.integers(0, 3),
)
compare_lists = st.lists(compares, max_size=2).map(tuple)
inner_lists = st.lists(inner, max_size=3).map(tuple)
nested = st.builds(Transaction, compare_lists, inner_lists, inner_lists)
outer_lists: st.SearchStrategy[tuple[Operation, ...]] = st.lists(inner | nested, max_size=4).map(tuple)
plain_puts = st.tuples(keys, values).map(lambda pair: Put(*pair))
plain_deletes = keys.map(Delete)
operations: st.SearchStrategy[WriteOperation] = (
    plain_puts
    | st.builds(Put, keys, values, lease_numbers, st.none(), st.none(), st.booleans())
    | st.builds(Put, keys, values, lease_numbers, maybe_revisions, maybe_values, st.booleans())
    | st.builds(Delete, keys, maybe_revisions, maybe_values, st.booleans())
    | st.builds(Increment, keys, deltas, maybe_revisions)
    | st.builds(DeleteRange, bounds, bounds, st.integers(1, 3), st.booleans())
    | st.builds(Transaction, compare_lists, outer_lists, outer_lists)
    | st.builds(Transaction, compare_lists, outer_lists, outer_lists)
)
fences = st.none() | st.none() | st.none() | st.builds(Fence, keys, st.sampled_from([RIGHT, RIGHT, Revision(0)]))
users = st.sampled_from([b"alice", b"bob"])


@dataclass(frozen=True)
class Sent:
    """One write that a client has sent and may send again."""

    session: ModelSession
    sequence: int
    first_unanswered: int
    wanted: Write | int | tuple[LeaseId]
    """What to write; or an int, the time to live of a lease to grant; or a lease to revoke."""

    def encode(self) -> bytes:
        head = SessionId(self.session.session_id), self.sequence, self.first_unanswered
        match self.wanted:
            case Write():
                return commands.write(*head, self.wanted)
            case (lease,):
                return commands.lease_revoke(*head, lease)
            case int():
                return commands.lease_grant(*head, self.wanted)


class AgainstPlainDicts(RuleBasedStateMachine):
    """Clients that retry blindly, in any order, on two machines and against a model of plain dicts.

    The first machine is again and again replaced by one that was loaded from its snapshot; the second never is.
    """

    opened = Bundle("opened")
    sent = Bundle("sent")

    def __init__(self) -> None:
        super().__init__()
        self.machine = StateMachine(LIMITS)
        self.twin = StateMachine(LIMITS)
        self.model = Model(LIMITS)
        self.sessions: list[ModelSession] = []
        self.lease_ids: list[LeaseId] = []
        self.reader: SnapshotReader | None = None
        self.pieces: list[bytes] = []
        self.digest = b""

    # The ways to the machine.

    def send(self, command: bytes, user: bytes) -> bytes:
        """Apply a command on both machines."""
        data = Stamp(user.decode(), "from " + user.decode()).at(self.machine.last_applied) + command
        index = LogIndex(self.machine.last_applied + 1)
        answer = self.machine.apply(index, TERM, data)
        assert self.twin.apply(index, TERM, data) == answer
        return answer

    def origin(self, user: bytes, *, by_lease: bool = False) -> Origin:
        """Of a command that was just sent."""
        return Origin(by_lease, self.machine.last_applied - 1, user, b"from " + user)

    def bare(self, outcome: Outcome) -> bytes:
        return answers.encode(outcome, TERM, Revision(self.model.revision))

    def aimed(self, user: bytes, operation: WriteOperation, fence: Fence | None) -> Write:
        if fence is not None and fence.revision == RIGHT:
            row = self.model.now.get(fence.key)
            fence = Fence(fence.key, row.create_revision if row else Revision(0))
        return Write(aimed(operation, self.model, user), fence)

    # Sessions and the clock.

    @initialize(target=opened)
    def begin(self) -> MultipleResults[ModelSession]:
        """Both users have a session and a lease."""
        sessions = [self.new_session(user, 0) for user in (b"alice", b"bob")]
        for session in sessions:
            self.deliver(self._sent(session, 0))
            self.acknowledge(session)
        return multiple(*sessions)

    @rule(target=opened, user=users, ttl_ms=st.sampled_from([0, 1, 30, 1000]))
    def open_session(self, user: bytes, ttl_ms: int) -> ModelSession:
        return self.new_session(user, ttl_ms)

    def new_session(self, user: bytes, ttl_ms: int) -> ModelSession:
        answer = answers.decode(self.send(commands.open_session(ttl_ms), user))
        granted = answers.decode_open_session(answer.body)
        assert granted.ttl_ms == {0: 200, 1: 10, 30: 30, 1000: 300}[ttl_ms]
        session = ModelSession(granted.session, user, granted.ttl_ms, self.model.clock_ms)
        self.sessions.append(session)
        return session

    @rule(session=opened)
    def close_session(self, session: ModelSession) -> None:
        answer = self.send(commands.close_session(SessionId(session.session_id)), session.user)
        assert answer == self.bare(Outcome.OK if session.alive else Outcome.SESSION_EXPIRED)
        session.alive = False

    @rule(session=opened)
    def keep_alive(self, session: ModelSession) -> None:
        mark = session.client_first_unanswered
        answer = self.send(commands.keep_alive(SessionId(session.session_id), mark), session.user)
        assert answer == self.bare(Outcome.OK if session.alive else Outcome.SESSION_EXPIRED)
        session.last_active_ms = self.model.clock_ms
        session.first_unanswered = max(session.first_unanswered, mark)

    @rule(elapsed_ms=st.integers(0, 40))
    def advance_clock(self, elapsed_ms: int) -> None:
        assert self.send(commands.advance_clock(elapsed_ms), b"") == self.bare(Outcome.OK)
        self.model.advance_clock(elapsed_ms)
        for session in self.sessions:
            session.alive = session.alive and session.last_active_ms + session.ttl_ms + 20 > self.model.clock_ms

    @rule(session=opened)
    def acknowledge(self, session: ModelSession) -> None:
        """The client moves its mark over what it has an answer for."""
        while session.client_first_unanswered in session.given:
            session.client_first_unanswered += 1

    # Writes.

    def _sent(self, session: ModelSession, wanted: Any) -> Sent:
        session.next_sequence += 1
        return Sent(session, session.next_sequence - 1, session.client_first_unanswered, wanted)

    @rule(target=sent, session=opened, operation=operations, fence=fences)
    def write(self, session: ModelSession, operation: WriteOperation, fence: Fence | None) -> Sent:
        """Send nothing yet: `deliver` does, any number of times and in any order."""
        return self._sent(session, self.aimed(session.user, operation, fence))

    @rule(user=users, written=st.lists(st.tuples(operations, fences), min_size=1, max_size=9))
    def write_and_deliver(self, user: bytes, written: list[tuple[WriteOperation, Fence | None]]) -> None:
        """What mostly happens: one write after the other."""
        own = [session for session in self.sessions if session.alive and session.user == user]
        session = own[-1] if own else self.new_session(user, 0)
        for operation, fence in written:
            self.deliver(self._sent(session, self.aimed(user, operation, fence)))
            self.acknowledge(session)

    @rule(user=users, written=st.lists(plain_puts | plain_deletes, min_size=3, max_size=12))
    def write_plainly(self, user: bytes, written: list[WriteOperation]) -> None:
        """So that there is something to read, to delete, and to let go of."""
        self.write_and_deliver(user, [(operation, None) for operation in written])

    @rule(target=sent, session=opened, ttl_ms=st.sampled_from([0, 1, 30, 1000]))
    def grant(self, session: ModelSession, ttl_ms: int) -> Sent:
        sent = self._sent(session, ttl_ms)
        self.deliver(sent)
        return sent

    @precondition(lambda self: self.lease_ids)
    @rule(target=sent, session=opened, number=st.integers(0, 9))
    def revoke(self, session: ModelSession, number: int) -> Sent:
        """More often one that is the user's own and not over."""
        own = [lease for lease, (user, _) in self.model.leases.items() if user == session.user]
        leases = own if own and number else self.lease_ids
        return self._sent(session, (leases[number % len(leases)],))

    @precondition(lambda self: self.lease_ids)
    @rule(numbers=st.sets(st.integers(0, 9), min_size=1, max_size=3))
    def expire_leases(self, numbers: set[int]) -> None:
        """Some of them may be over already."""
        leases = {self.lease_ids[number % len(self.lease_ids)] for number in numbers}
        answer = self.send(commands.expire_leases(sorted(leases)), b"")
        self.model.end_leases(leases, self.origin(b"", by_lease=True))
        assert answer == self.bare(Outcome.OK)

    @rule(sent=sent)
    def deliver(self, sent: Sent) -> None:
        session = sent.session
        answer = self.send(sent.encode(), session.user)
        if not session.alive:
            assert answer == self.bare(Outcome.SESSION_EXPIRED)
            return
        session.last_active_ms = self.model.clock_ms
        session.first_unanswered = max(session.first_unanswered, sent.first_unanswered)
        if sent.sequence < session.first_unanswered:
            assert answer == self.bare(Outcome.SEQUENCE_ANSWERED)
        elif sent.sequence in session.given:
            assert answer == session.given[sent.sequence]
        elif sent.sequence >= session.first_unanswered + IN_FLIGHT_MAX:
            assert answer == self.bare(Outcome.TOO_MANY_IN_FLIGHT)
        else:
            session.given[sent.sequence] = answer
            self.check_effect(sent, answer)

    @rule(sent=sent)
    def deliver_under_another_name(self, sent: Sent) -> None:
        assert self.send(sent.encode(), b"mallory") == self.bare(Outcome.SESSION_EXPIRED)

    @rule(data=st.binary(max_size=24))
    def deliver_garbage(self, data: bytes) -> None:
        """Shorter than any command."""
        assert self.send(data, b"alice") == self.bare(Outcome.INVALID)

    def check_effect(self, sent: Sent, answer: bytes) -> None:
        """The model does the same."""
        user, decoded = sent.session.user, answers.decode(answer)
        assert decoded.term == TERM
        match sent.wanted:
            case Write():
                outcome, result = self.model.write(sent.wanted, self.origin(user))
                shown = shown_result(sent.wanted.operation, decoded)
                assert (decoded.outcome, shown) == (outcome, result)
            case (lease,):
                if self.model.leases.get(lease, (None,))[0] != user:
                    assert answer == self.bare(Outcome.LEASE_NOT_FOUND)
                    return
                count = self.model.end_leases({lease}, self.origin(user, by_lease=True))
                assert (decoded.outcome, answers.decode_lease_revoke(decoded.body)) == (Outcome.OK, count)
            case int():
                lease_id = LeaseId(self.machine.last_applied)
                granted_ms = self.model.grant(lease_id, user, sent.wanted)
                if granted_ms is None:
                    assert answer == self.bare(Outcome.LEASE_LIMIT)
                    return
                self.lease_ids.append(lease_id)
                assert answers.decode_lease_grant(decoded.body) == (lease_id, granted_ms)
        assert decoded.revision == self.model.revision

    # Reads.

    @rule(wanted=ranges, ago=st.integers(-1, 20))
    def read_range(self, wanted: Range, ago: int) -> None:
        """At any revision, also in the future and long ago."""
        revision = max(self.model.revision - ago, 0)
        answer = answers.decode(self.machine.answer(RangeQuery(wanted, Revision(revision)), TERM))
        outcome, result = self.model.range(wanted, revision)
        assert (answer.outcome, answer.revision) == (outcome, self.model.revision)
        if outcome is Outcome.OK:
            assert decode_range(answer.body, keys_only=wanted.keys_only) == result
        if outcome is Outcome.COMPACTED:
            assert answers.decode_compacted(answer.body) == result
        newest = answers.decode(self.machine.answer(RangeQuery(wanted), TERM))
        assert decode_range(newest.body, keys_only=wanted.keys_only) == self.model.range(wanted, self.model.revision)[1]

    @rule(key=keys, limit=st.integers(0, 3), before=st.integers(0, 20))
    def read_history(self, key: bytes, limit: int, before: int) -> None:
        query = HistoryQuery(key, limit, Revision(before), values=True)
        page = decode_history(answers.decode(self.machine.answer(query, TERM)).body)
        changes, more = self.model.history(key, limit, before)
        assert (page.compacted_revision, page.more) == (self.model.compacted_revision, more)
        assert page.changes == tuple(shown_change(change, values=True, previous=True) for change in changes)

    @rule(key=keys)
    def read_key(self, key: bytes) -> None:
        answer = answers.decode(self.machine.answer_get(key, TERM))
        row = self.model.now.get(key)
        assert answer[:3] == (Outcome.OK if row else Outcome.NOT_FOUND, TERM, self.model.revision)
        assert row is None or answers.decode_get(answer.body) == row

    @rule(session=opened, operation=operations, fence=fences)
    def ask_whether_it_grows(self, session: ModelSession, operation: WriteOperation, fence: Fence | None) -> None:
        """As it would, were every lease the writer's own; a plain put and any other are asked in the same way."""
        wanted = self.aimed(session.user, operation, fence)
        if any(isinstance(each, Put) and each.lease for each in flat(operation)):
            return
        before, model = self.model.now, Model(LIMITS, [dict(self.model.now)])
        model.states = [self.model.now] * (self.model.revision + 1)
        model.write(wanted, Origin(by_lease=False, wall_clock_ms=0, user=b"", address=b""))
        command = commands.write(SessionId(session.session_id), 1 << 40, 1, wanted)
        after = model.now
        size = sum(len(key) + len(row.value) for key, row in after.items())
        size_before = sum(len(key) + len(row.value) for key, row in before.items())
        assert self.machine.grows(b"--" + command, 2) == (len(after) > len(before) or size > size_before)

    # Snapshots.

    @rule(budget_bytes=st.sampled_from([1, 50, 400, 1 << 20]), cut=st.integers(1, 300))
    def become_what_the_snapshot_says(self, budget_bytes: int, cut: int) -> None:
        """Load the machine from its own snapshot, in other pieces, and go on with what was loaded."""
        if self.reader is not None:
            self.reader.close()
            self.reader = None
        loaded = load(read_all(self.machine.begin_snapshot(), budget_bytes), cut)
        assert loaded.digest() == self.machine.digest() == self.twin.digest()
        assert read_all(loaded.begin_snapshot(), 333) == read_all(self.twin.begin_snapshot(), 1 << 20)
        self.machine = loaded

    @precondition(lambda self: self.reader is None)
    @rule()
    def begin_snapshot(self) -> None:
        self.digest = self.machine.digest()
        self.reader = self.machine.begin_snapshot()
        self.pieces = []

    @precondition(lambda self: self.reader is not None)
    @rule(budget_bytes=st.integers(1, 200))
    def go_on_with_the_snapshot(self, budget_bytes: int) -> None:
        """It shows the machine as it was when it was begun."""
        assert self.reader is not None
        piece = self.reader.read(budget_bytes)
        if piece is None:
            assert load(b"".join(self.pieces), 100).digest() == self.digest
            self.reader = None
        else:
            self.pieces.append(piece)

    # What must always be so.

    @invariant()
    def equal(self) -> None:
        machine, model = self.machine, self.model
        assert list(machine._store) == sorted(model.now.items())
        assert machine.key_count == len(model.now)
        assert machine.bytes_total == sum(len(key) + len(row.value) for key, row in model.now.items())
        assert (machine.revision, machine.clock_ms) == (model.revision, model.clock_ms)
        assert machine.session_count == sum(session.alive for session in self.sessions)
        assert [(lease.lease_id, (lease.user, lease.ttl_ms)) for lease in machine.leases] == list(model.leases.items())
        assert [sorted(lease.keys) for lease in machine.leases] == [model.keys_of(lease) for lease in model.leases]
        assert machine.leases.key_total == sum(row.lease != 0 for row in model.now.values())
        assert machine.history.compacted_revision == model.compacted_revision
        assert machine.history.held() == [(*change[:4], *change.origin, change.clock_ms) for change in model.changes]
        assert machine.history.bytes_total == sum(change.size for change in model.changes)

    def teardown(self) -> None:
        assert self.machine.state_hash == self.twin.state_hash
        assert self.machine.digest() == self.twin.digest()


def flat(operation: Any) -> list[Any]:
    """The operation and all that are in it."""
    if not isinstance(operation, Transaction):
        return [operation]
    return [operation, *(part for each in (*operation.then, *operation.otherwise) for part in flat(each))]


def read_all(reader: SnapshotReader, budget_bytes: int) -> bytes:
    pieces = []
    while (piece := reader.read(budget_bytes)) is not None:
        pieces.append(piece)
    return b"".join(pieces)


def load(snapshot: bytes, cut: int) -> StateMachine:
    loader = SnapshotLoader(LIMITS)
    for at in range(0, len(snapshot), cut):
        loader.feed(snapshot[at : at + cut])
    return loader.finish()


TestAgainstPlainDicts = AgainstPlainDicts.TestCase
TestAgainstPlainDicts.settings = settings(max_examples=400, stateful_step_count=50, deadline=None)
