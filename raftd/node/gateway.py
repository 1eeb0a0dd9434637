"""Where clients' requests come in: parsed, authorised, admitted or refused. Behind it everything is trusted.

This is the one place that decides who may do what: each kind of request is checked here, against the permissions that
its connection has from its user's grants, before anything is done for it. PING goes without, for it says nothing of the
cluster, and UNWATCH, for it takes back what was asked on the same connection.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final, Protocol, TypeAlias, assert_never

from raftd.consensus.types import LogIndex, NodeId
from raftd.errors import DecodeError, InvariantViolation
from raftd.kv.access import AccessRules, Operation, Permissions
from raftd.kv.commands import CommandTooLarge, InvalidCommand, Stamp, check_key, validate_client_command
from raftd.kv.machine import StateMachine
from raftd.kv.operations import Get
from raftd.kv.queries import HistoryQuery, LeaseQuery, LeasesQuery, Query, RangeQuery, parse_query
from raftd.net.channel import Channel
from raftd.node.administration import Administration, Leadership
from raftd.node.admission import STOPPING, Admission, AdmissionLimits, Disk
from raftd.node.backlog import LARGE_BYTES, Backlog
from raftd.node.backups import BackupQuestion, Backups
from raftd.node.connection import ClientConnection
from raftd.node.lease_keeper import LeaseKeeper
from raftd.node.question_queue import Question
from raftd.node.questions import LeaderQuestion, LogQuestion, PageQuestion, TraceQuestion, WatchQuestion
from raftd.node.replay import Replay
from raftd.node.requests import UNREAD, Requests
from raftd.node.tracing import Traces
from raftd.node.watches import Watches
from raftd.wire.administration import decode_change, decode_transfer
from raftd.wire.backup import decode_backup, decode_backup_piece, decode_backup_report
from raftd.wire.client import (
    BODY_OFFSET,
    Consistency,
    QueryOpcode,
    Refusal,
    RefusalCode,
    RequestKind,
    check_no_body,
    decode_log,
    decode_read,
    decode_trace,
    encode_answer,
    encode_document,
    encode_pong,
    encode_refusal,
    parse_request,
)
from raftd.wire.frames import LENGTH_BYTES
from raftd.wire.limits import RESPONSE_BYTES_MAX
from raftd.wire.watch import decode_keep_alive, decode_unwatch, decode_watch, encode_unwatched

# An enum's member is looked up in a dict and through a descriptor; a global costs a tenth of that.
_WRITE: Final = RequestKind.WRITE
_READ: Final = RequestKind.READ
_GET: Final = QueryOpcode.GET
_STALE: Final = Consistency.STALE
_READS_KEY: Final = Operation.READ


class Documents(Protocol):
    """Who writes the documents that administrators ask for."""

    def status_document(self) -> object:
        """This node's status, as JSON would have it."""

    def log_document(self, last: int) -> Iterator[str]:
        """The newest `last` entries: a JSON object that fits a frame, in pieces, each made when it is asked for."""

    def diagnostics_document(self) -> object:
        """Settings, metrics and recent events, as JSON would have them."""


Reload: TypeAlias = Callable[[Callable[[dict[str, object] | Refusal], None]], None]
"""Begins to read the node's files anew, and later hands over what came of it; that may be in another turn."""


class Gateway:
    """Serves the clients of one node."""

    def __init__(
        self,
        *,
        leadership: Leadership,
        machine: StateMachine,
        requests: Requests,
        watches: Watches,
        keeper: LeaseKeeper,
        disk: Disk,
        documents: Documents,
        rules: AccessRules,
        client_addresses: Mapping[NodeId, str],
        wake: Callable[[], None],
        limits: AdmissionLimits,
        traces: Traces | None = None,
        wall_clock_ns: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
        reload: Reload | None = None,
    ) -> None:
        """`wake` makes the driver take its next turn; without `traces` no write is traced. `clock` is monotonic.

        `client_addresses` are the settings': they tell where a leader is of which the membership does not say it.
        """
        self.admission = Admission(
            leadership=leadership,
            machine=machine,
            requests=requests,
            disk=disk,
            client_addresses=client_addresses,
            limits=limits,
            clock=clock,
        )
        self._leadership = leadership
        self._administration = Administration(leadership)
        self._machine = machine
        self._requests = requests
        self._watches = watches
        self._keeper = keeper
        self._documents = documents
        self._rules = rules
        self._wake = wake
        self._traces = traces
        self._wall_clock_ns = wall_clock_ns
        self._reload = reload
        self.backlog = Backlog(clock)
        self._connections: set[ClientConnection] = set()
        self._replay = Replay(leadership, machine)
        self._backups: Backups | None = None

    def attach(self, backups: Backups) -> None:
        """Name the part that hands out backups; it is built after this one. Without it there are none."""
        self._backups = backups

    @property
    def is_replayed(self) -> bool:
        """Whether everything is applied again that this node had applied before it started; see `raftd.node.replay`."""
        return self._replay.is_done

    @property
    def is_draining(self) -> bool:
        """Whether the node is going down: nothing new is accepted."""
        return self.admission.is_draining

    def drain(self) -> None:
        """The node is going down: accept nothing new, and end what would never end by itself."""
        self.admission.is_draining = True
        self._watches.stop()
        if self._backups is not None:
            self._backups.stop()
        self._wake()

    def note_turn(self) -> None:
        """Note, in each turn, how full the store is, and whether all is applied again that was so before the start."""
        self.admission.begin_turn()
        self._replay.look()

    def may_administer(self, user: str) -> bool:
        """Whether the rules say so."""
        return self._rules.administers(user)

    def client_connected(self, channel: Channel, user: str) -> ClientConnection:
        """A client is there, known by its certificate as `user`."""
        stamp, unread = Stamp(user, channel.remote_address), self._requests.unread
        connection = ClientConnection(self, channel, self._rules.of(user), stamp, user.encode(), unread=unread)
        self._connections.add(connection)
        return connection

    def use(self, *, rules: AccessRules, client_addresses: Mapping[NodeId, str]) -> None:
        """Go by these from the next request on, on the connections that stand too."""
        self.admission.client_addresses = client_addresses
        if rules == self._rules:  # A reload that was refused says so too, and there may be many grants and users.
            return
        self._rules = rules
        known: dict[bytes, Permissions] = {}
        for connection in self._connections:
            user = connection.user
            if user not in known:
                known[user] = rules.of(user.decode())
            connection.permissions = known[user]
        self.review_watches()

    def closed(self, connection: ClientConnection) -> None:
        """A client is gone. Its writes under way go on, for they are in the log; nobody hears the answers."""
        self._connections.discard(connection)
        connection.answers.clear()
        connection.unserved = None
        if self._backups is not None:
            self._backups.closed(connection)
        if self._watches.close(connection):
            self._wake()

    def receive(self, connection: ClientConnection, payloads: Iterator[bytes]) -> bool:
        """Take requests, as many as this turn has time for; returns whether all. The others are for the backlog.

        Raises:
            RemoteProtocolError: a frame is no request; the connection must end.
        """
        # First, since a frame that ends the connection must not hold up what came in front of it.
        self._wake()
        backlog = self.backlog
        if backlog.must_wait:
            return False
        began, unlooked = backlog.clock(), backlog.unlooked_max
        for payload in payloads:
            kind, request_id = parse_request(payload)
            if connection.leaving:
                # Not counted as a failure: the client repeats it on another connection, where it is.
                self._requests.owe(connection, encode_refusal(request_id, _LEAVING))
            else:
                try:
                    # These two are nearly all requests.
                    if kind is _WRITE:
                        refusal = self._write(connection, request_id, payload)
                    elif kind is _READ:
                        refusal = self._read(connection, request_id, payload)
                    else:
                        refusal = self._dispatch(connection, kind, request_id, payload)
                except CommandTooLarge as error:
                    refusal = Refusal(RefusalCode.TOO_LARGE, str(error))
                except (InvalidCommand, DecodeError) as error:
                    refusal = Refusal(RefusalCode.BAD_REQUEST, str(error))
                if refusal is not None:
                    self._requests.turn_away(connection, kind, request_id, refusal)
            unlooked -= len(payload)
            if unlooked <= 0:
                began, unlooked = backlog.spend(began), backlog.unlooked_max
            if backlog.must_wait:
                return False
        backlog.spend(began)
        return True

    def serve_backlog(self) -> None:
        """At the beginning of each turn: go on with the requests that earlier ones had no time for."""
        self.backlog.turn(self.receive)
        if self.backlog.must_wait:
            self._wake()

    def review_watches(self) -> None:
        """Grants have changed: end the watches that they no longer allow."""
        self._watches.review(
            lambda connection, request: connection.permissions.allows_range(Operation.READ, request.low, request.high)
        )
        self._wake()

    def _dispatch(  # noqa: C901, PLR0911, PLR0912 - one for each kind
        self, connection: ClientConnection, kind: RequestKind, request_id: int, payload: bytes
    ) -> Refusal | None:
        """Carry out a request or queue it; returns why not."""
        match kind:
            case RequestKind.STATUS:
                check_no_body(payload)
                return self._document(connection, request_id, self._documents.status_document)
            case RequestKind.LOG:
                return self._log(connection, request_id, decode_log(payload))
            case RequestKind.DIAGNOSTICS:
                check_no_body(payload)
                return self._document(connection, request_id, self._documents.diagnostics_document)
            case RequestKind.PING:
                check_no_body(payload)
                self._requests.owe(connection, encode_pong(request_id))
                return None
            case RequestKind.MEMBERSHIP_CHANGE:
                change = decode_change(payload)
                return self._administer(connection, request_id, lambda: self._administration.change(change))
            case RequestKind.TRANSFER_LEADERSHIP:
                target = decode_transfer(payload)
                return self._administer(connection, request_id, lambda: self._administration.transfer(target))
            case RequestKind.WATCH:
                return self._watch(connection, request_id, payload)
            case RequestKind.UNWATCH:
                self._watches.cancel(connection, decode_unwatch(payload))
                self._requests.owe(connection, encode_unwatched(request_id))
                return None
            case RequestKind.LEASE_KEEP_ALIVE:
                return self._keep_alive(connection, request_id, payload)
            case RequestKind.RELOAD:
                check_no_body(payload)
                return self._begin_reload(connection, request_id)
            case RequestKind.BACKUP | RequestKind.BACKUP_PIECE | RequestKind.BACKUP_REPORT:
                return self._back_up(connection, kind, request_id, payload)
            case RequestKind.TRACED_WRITE:
                return self._traced_write(connection, request_id, payload)
            case RequestKind.TRACE:
                return self._trace(connection, request_id, decode_trace(payload))
            case RequestKind.WRITE:
                return self._write(connection, request_id, payload)
            case RequestKind.READ:
                return self._read(connection, request_id, payload)
            case _:
                assert_never(kind)

    def _begin_reload(self, connection: ClientConnection, request_id: int) -> Refusal | None:
        if not connection.permissions.administers:
            return _DENIED
        if (refusal := self.admission.admit(connection)) is not None:
            return refusal
        if self._reload is None:
            return Refusal(RefusalCode.NOT_POSSIBLE, "this node has no files to read")

        def done(outcome: dict[str, object] | Refusal) -> None:
            connection.in_flight -= 1
            if isinstance(outcome, Refusal):
                frame = encode_refusal(request_id, outcome)
            else:
                frame = encode_document(request_id, json.dumps(outcome, separators=(",", ":")))
            self._requests.owe(connection, frame)
            self._wake()

        connection.in_flight += 1
        self._reload(done)
        return None

    def _write(self, connection: ClientConnection, request_id: int, payload: bytes) -> Refusal | None:
        needs = validate_client_command(payload, BODY_OFFSET)
        if not connection.permissions.allows_all(needs):
            return _DENIED
        refusal = self.admission.admit_write(connection, payload)
        if refusal is None:
            # The stamp is for people; a clock that jumps does no harm.
            stamp = connection.stamp.at(self._wall_clock_ns() // 1_000_000)
            command = stamp + payload[BODY_OFFSET:]
            self._requests.queue_write(connection, request_id, command, is_session=not needs)
        return refusal

    def _traced_write(self, connection: ClientConnection, request_id: int, payload: bytes) -> Refusal | None:
        refusal = self._write(connection, request_id, payload)
        if refusal is None and self._traces is not None:
            self._traces.begin(connection, self._requests.queued_write_count - 1)
        return refusal

    def _trace(self, connection: ClientConnection, request_id: int, index: int) -> Refusal | None:
        """Tell a connection of its own write, or an administrator how long any entry took to be stored."""
        if index and not connection.permissions.administers:
            return _DENIED
        refusal = self.admission.admit(connection)
        if refusal is None:
            question = TraceQuestion(self._traces, self._requests, connection, request_id, LogIndex(index))
            self._requests.queue_question(connection, request_id, question)
        return refusal

    def _log(self, connection: ClientConnection, request_id: int, last: int) -> Refusal | None:
        if not connection.permissions.administers:
            return _DENIED
        refusal = self.admission.admit_slot(connection)
        if refusal is None:
            question = LogQuestion(self._documents.log_document(last), self._requests, connection, request_id)
            self._requests.queue_question(connection, request_id, question)
        return refusal

    def _read(self, connection: ClientConnection, request_id: int, payload: bytes) -> Refusal | None:
        consistency, opcode, key = decode_read(payload)
        if opcode is not _GET:
            return self._ask(connection, request_id, consistency, parse_query(opcode, key))
        check_key(key)
        if not connection.permissions.allows(_READS_KEY, key):
            return _DENIED
        if consistency is _STALE:
            if connection.is_behind:
                return UNREAD
            if not self.is_replayed:
                return _NOT_REPLAYED
            answer = self._machine.answer_get(key, self._leadership.current_term)
            if len(answer) >= LARGE_BYTES:
                self.backlog.answered(len(answer))
            self._requests.owe(connection, encode_answer(request_id, answer))
            return None
        # As `Admission.admit_read`, without the call: gets are many.
        refusal = self.admission.admit(connection)
        if refusal is None and self._leadership.leader_id is None:
            refusal = self.admission.elsewhere()
        if refusal is None:
            self._requests.queue_read(connection, request_id, key)
        return refusal

    def _ask(
        self, connection: ClientConnection, request_id: int, consistency: Consistency, query: Query
    ) -> Refusal | None:
        """Queue what reads more than a key."""
        permissions = connection.permissions
        match query:
            case RangeQuery():
                is_allowed = permissions.allows_range(Operation.READ, query.range.low, query.range.high)
            case HistoryQuery():
                is_allowed = permissions.allows(Operation.READ, query.key)
            case LeaseQuery() | LeasesQuery():
                return self._ask_of_leases(connection, request_id, query)
            case Get():
                raise InvariantViolation("a get came where all else is read")
            case _:
                assert_never(query)
        if not is_allowed:
            return _DENIED
        refusal = self._admit_question(connection, consistency)
        if refusal is None:
            self._queue_question(connection, request_id, consistency, PageQuestion(self._machine, query))
        return refusal

    def _ask_of_leases(
        self, connection: ClientConnection, request_id: int, query: LeaseQuery | LeasesQuery
    ) -> Refusal | None:
        """Only the leader knows what is left of a lease; administrators see those of all users."""
        permissions = connection.permissions
        if not (permissions.writes_any or permissions.administers):
            return _DENIED
        refusal = self.admission.admit_to_leader(connection)
        if refusal is None:
            user = None if permissions.administers else connection.user
            question = LeaderQuestion(partial(self._keeper.answer, query, user), self.admission.elsewhere)
            self._requests.queue_quorum_read(connection, request_id, question)
        return refusal

    def _keep_alive(self, connection: ClientConnection, request_id: int, payload: bytes) -> Refusal | None:
        lease_ids = decode_keep_alive(payload)
        if not connection.permissions.writes_any:
            return _DENIED
        refusal = self.admission.admit_to_leader(connection)
        if refusal is None:
            answer = partial(self._keeper.keep_alive, lease_ids, connection.user)
            question = LeaderQuestion(answer, self.admission.elsewhere, is_urgent=True)
            self._requests.queue_quorum_read(connection, request_id, question)
        return refusal

    def _watch(self, connection: ClientConnection, request_id: int, payload: bytes) -> Refusal | None:
        request = decode_watch(payload)
        if not connection.permissions.allows_range(Operation.READ, request.low, request.high):
            return _DENIED
        refusal = self.admission.admit_read(connection)
        if refusal is None:
            watch = self._watches.admit(connection, request_id, request)
            if watch is not None:
                self._requests.queue_read(connection, request_id, WatchQuestion(self._watches, watch))
        return refusal

    def _back_up(
        self, connection: ClientConnection, kind: RequestKind, request_id: int, payload: bytes
    ) -> Refusal | None:
        """Let whoever may do everything take all of it."""
        if not connection.permissions.is_unbounded:
            return _DENIED
        backups = self._backups
        if backups is None:
            return Refusal(RefusalCode.NOT_POSSIBLE, "this node makes no backups")
        if kind is RequestKind.BACKUP:
            return self._begin_backup(backups, connection, request_id, decode_backup(payload))
        if self.is_draining:
            return STOPPING
        if kind is RequestKind.BACKUP_PIECE:
            return backups.read(connection, request_id, *decode_backup_piece(payload))
        return backups.report(connection, request_id, *decode_backup_report(payload))

    def _begin_backup(
        self, backups: Backups, connection: ClientConnection, request_id: int, consistency: Consistency
    ) -> Refusal | None:
        refusal = self._admit_question(connection, consistency) or backups.admit()
        if refusal is None:
            question = BackupQuestion(backups, connection, request_id)
            self._queue_question(connection, request_id, consistency, question)
        return refusal

    def _admit_question(self, connection: ClientConnection, consistency: Consistency) -> Refusal | None:
        if consistency is not _STALE:
            return self.admission.admit_read(connection)
        return self.admission.admit(connection) if self.is_replayed else _NOT_REPLAYED

    def _queue_question(
        self, connection: ClientConnection, request_id: int, consistency: Consistency, question: Question
    ) -> None:
        """Have it answered in this turn, or when the leader has confirmed from which index on."""
        queue = self._requests.queue_question if consistency is _STALE else self._requests.queue_read
        queue(connection, request_id, question)

    def _administer(
        self, connection: ClientConnection, request_id: int, attempt: Callable[[], dict[str, object] | Refusal]
    ) -> Refusal | None:
        """Let an administrator change the cluster, if this node leads it."""
        if not connection.permissions.administers:
            return _DENIED
        # Before anything is done: OVERLOADED says that nothing was.
        refusal = self.admission.admit_to_leader(connection) or (UNREAD if connection.is_behind else None)
        if refusal is not None:
            return refusal
        done = attempt()
        if isinstance(done, Refusal):
            return done
        return self._document(connection, request_id, lambda: done)

    def _document(self, connection: ClientConnection, request_id: int, write: Callable[[], object]) -> Refusal | None:
        if not connection.permissions.administers:
            return _DENIED
        if connection.is_behind:
            return UNREAD
        frame = encode_document(request_id, json.dumps(write(), separators=(",", ":")))
        if len(frame) > LENGTH_BYTES + RESPONSE_BYTES_MAX:
            # The client would take it for garbage, and end the connection with all else that is under way on it.
            return Refusal(RefusalCode.NOT_POSSIBLE, f"the document is too long for an answer: {len(frame)} bytes")
        self._requests.owe(connection, frame)
        return None


_DENIED = Refusal(RefusalCode.DENIED, "the settings grant this user no such right")
_LEAVING = Refusal(RefusalCode.STOPPING, "this connection ends, since its certificate is not accepted any more")
# However old a stale answer may be, "there is no such key" of a node that has not looked is none.
_NOT_REPLAYED = Refusal(RefusalCode.UNAVAILABLE, "this node has started and not yet applied what it had applied before")
