"""Where clients' requests come in: parsed, authorised, admitted or refused. Behind it everything is trusted."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias, assert_never

from raftd.consensus.types import NO_INDEX, LogIndex, NodeId, Role, Term
from raftd.errors import DecodeError
from raftd.kv.access import AccessRules, Operation, Permissions
from raftd.kv.commands import CommandTooLarge, InvalidCommand, Opcode, Stamp, check_key, validate_client_command
from raftd.kv.machine import StateMachine
from raftd.net.channel import Channel
from raftd.node.addresses import client_address
from raftd.node.administration import Administered, Administration
from raftd.node.connection import ClientConnection
from raftd.node.requests import UNREAD, Requests
from raftd.wire.administration import decode_change, decode_transfer
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
    encode_answer,
    encode_document,
    encode_pong,
    encode_refusal,
    parse_request,
)


class Leadership(Administered, Protocol):
    """What the gateway must know of consensus."""

    @property
    def role(self) -> Role:
        """This node's role."""

    @property
    def current_term(self) -> Term:
        """This node's term."""

    @property
    def leader_id(self) -> NodeId | None:
        """Who leads, if known."""

    @property
    def commit_index(self) -> LogIndex:
        """Entries up to here are known to be committed."""


class Disk(Protocol):
    """What the gateway must know of this node's disk."""

    @property
    def queued_bytes(self) -> int:
        """Bytes of entries that wait to be stored here."""

    @property
    def disk_low(self) -> bool:
        """Whether the disk was found full: what is left is for making room."""


class Documents(Protocol):
    """Who writes the documents that administrators ask for."""

    def status_document(self) -> object:
        """This node's status, as JSON would have it."""

    def log_document(self, last: int) -> object:
        """The newest `last` entries, as JSON would have them."""


Reload: TypeAlias = Callable[[Callable[[dict[str, object] | Refusal], None]], None]
"""Begins to read the node's files anew, and later hands over what came of it; that may be in another turn."""


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """What clients may have under way on this node."""

    requests_in_flight_max: int = 1024
    """On one connection; a further request is refused as OVERLOADED."""
    pending_bytes_max: int = 64 << 20
    """Of commands that are not committed yet, of all clients together; the same of what waits for this node's disk."""


class Gateway:
    """Serves the clients of one node."""

    def __init__(
        self,
        *,
        leadership: Leadership,
        machine: StateMachine,
        requests: Requests,
        disk: Disk,
        documents: Documents,
        rules: AccessRules,
        client_addresses: Mapping[NodeId, str],
        wake: Callable[[], None],
        limits: GatewayLimits,
        wall_clock_ns: Callable[[], int] = time.time_ns,
        reload: Reload | None = None,
    ) -> None:
        """`wake` makes the driver take its next turn.

        `client_addresses` are the settings': they tell where a leader is of which the membership does not say it.
        """
        self._leadership = leadership
        self._administration = Administration(leadership)
        self._machine = machine
        self._requests = requests
        self._disk = disk
        self._documents = documents
        self._rules = rules
        self._client_addresses = client_addresses
        self._wake = wake
        self._limits = limits
        self._wall_clock_ns = wall_clock_ns
        self._reload = reload
        self._users: dict[ClientConnection, str] = {}
        self.is_draining = False
        """Whether the node is going down: nothing new is accepted."""
        self._replay_target = NO_INDEX

    @property
    def is_replayed(self) -> bool:
        """Whether everything is applied again that this node knew to be committed when it first heard of a leader.

        A restart forgets the commit index (Figure 2: volatile), so there is nothing to catch up with before that.
        """
        return NO_INDEX < self._replay_target <= self._machine.last_applied

    def note_leader(self) -> None:
        """Note how much is to be applied again, once a leader is known; for each turn, since it may soon be lost."""
        leadership = self._leadership
        if self._replay_target == NO_INDEX and leadership.leader_id is not None:
            self._replay_target = leadership.commit_index

    def client_connected(self, channel: Channel, user: str) -> ClientConnection:
        """A client is there, known by its certificate as `user`."""
        connection = ClientConnection(self, channel, self._rules.of(user), Stamp(user, channel.remote_address))
        self._users[connection] = user
        return connection

    def use(self, *, rules: AccessRules, client_addresses: Mapping[NodeId, str]) -> None:
        """Go by these from the next request on, on the connections that stand too."""
        self._rules, self._client_addresses = rules, client_addresses
        known: dict[str, Permissions] = {}
        for connection, user in self._users.items():
            if user not in known:
                known[user] = rules.of(user)
            connection.permissions = known[user]

    def closed(self, connection: ClientConnection) -> None:
        """A client is gone. Its writes under way go on, for they are in the log; nobody hears the answers."""
        self._users.pop(connection, None)
        connection.answers.clear()

    def receive(self, connection: ClientConnection, payloads: list[bytes]) -> None:
        """Take requests.

        Raises:
            RemoteProtocolError: a frame is no request; the connection must end.
        """
        # First, since a frame that ends the connection must not hold up what came in front of it.
        self._wake()
        for payload in payloads:
            kind, request_id = parse_request(payload)
            if connection.leaving:
                self._requests.owe(connection, encode_refusal(request_id, _LEAVING))
                continue
            try:
                refusal = self._dispatch(connection, kind, request_id, payload)
            except CommandTooLarge as error:
                refusal = Refusal(RefusalCode.TOO_LARGE, str(error))
            except (InvalidCommand, DecodeError) as error:
                refusal = Refusal(RefusalCode.BAD_REQUEST, str(error))
            if refusal is not None:
                self._requests.owe(connection, encode_refusal(request_id, refusal))

    def elsewhere(self) -> Refusal:
        """Refuse what only the leader can do."""
        leader_id = self._leadership.leader_id
        if leader_id is None or self._leadership.role is Role.LEADER:
            return Refusal(RefusalCode.NO_LEADER, "no leader is known at the moment")
        address = client_address(self._leadership.membership, leader_id, self._client_addresses)
        return Refusal(RefusalCode.NOT_LEADER, f"node {leader_id} leads", leader_id, address)

    def _dispatch(  # noqa: PLR0911 - one for each kind
        self, connection: ClientConnection, kind: RequestKind, request_id: int, payload: bytes
    ) -> Refusal | None:
        """Carry out a request or queue it; returns why not."""
        match kind:
            case RequestKind.WRITE:
                return self._write(connection, request_id, payload)
            case RequestKind.READ:
                return self._read(connection, request_id, payload)
            case RequestKind.STATUS:
                check_no_body(payload)
                return self._document(connection, request_id, self._documents.status_document)
            case RequestKind.LOG:
                last = decode_log(payload)
                return self._document(connection, request_id, lambda: self._documents.log_document(last))
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
            case RequestKind.RELOAD:
                check_no_body(payload)
                return self._begin_reload(connection, request_id)
            case _:
                assert_never(kind)

    def _begin_reload(self, connection: ClientConnection, request_id: int) -> Refusal | None:
        if not connection.permissions.administers:
            return _DENIED
        if (refusal := self._admit(connection)) is not None:
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
        refusal = self._admit_to_leader(connection) or self._admit_to_disk(payload[BODY_OFFSET])
        if refusal is None:
            # The stamp is for people; a clock that jumps does no harm.
            stamp = connection.stamp.at(self._wall_clock_ns() // 1_000_000)
            command = stamp + payload[BODY_OFFSET:]
            self._requests.queue_write(connection, request_id, command, is_session=not needs)
        return refusal

    def _read(self, connection: ClientConnection, request_id: int, payload: bytes) -> Refusal | None:
        consistency, opcode, key = decode_read(payload)
        if opcode is not QueryOpcode.GET:
            raise DecodeError(f"this node answers no {opcode.name} yet")
        check_key(key)
        if not connection.permissions.allows(Operation.READ, key):
            return _DENIED
        if consistency is Consistency.STALE:
            if connection.is_behind:
                return UNREAD
            if not self.is_replayed:
                return _NOT_REPLAYED
            answer = self._machine.answer_get(key, self._leadership.current_term)
            self._requests.owe(connection, encode_answer(request_id, answer))
            return None
        # A follower asks the leader from which index on it may answer.
        refusal = self._admit(connection)
        if refusal is None and self._leadership.leader_id is None:
            refusal = self.elsewhere()
        if refusal is None:
            self._requests.queue_read(connection, request_id, key)
        return refusal

    def _admit_to_leader(self, connection: ClientConnection) -> Refusal | None:
        refusal = self._admit(connection)
        return self.elsewhere() if refusal is None and self._leadership.role is not Role.LEADER else refusal

    def _admit(self, connection: ClientConnection) -> Refusal | None:
        if self.is_draining:
            return _STOPPING
        if connection.in_flight >= self._limits.requests_in_flight_max:
            return Refusal(
                RefusalCode.OVERLOADED, f"{connection.in_flight} requests are under way on this connection already"
            )
        if self._requests.bytes_held >= self._limits.pending_bytes_max:
            return Refusal(
                RefusalCode.OVERLOADED, f"{self._requests.bytes_held} bytes of writes wait to be committed already"
            )
        return None

    def _admit_to_disk(self, opcode: int) -> Refusal | None:
        disk = self._disk
        if disk.disk_low and opcode == Opcode.PUT:
            return _DISK_LOW
        # A quorum of faster disks commits without this one, and then `bytes_held` does not show what it still owes.
        if disk.queued_bytes >= self._limits.pending_bytes_max:
            return Refusal(RefusalCode.OVERLOADED, f"{disk.queued_bytes} bytes wait for this node's disk already")
        return None

    def _administer(
        self, connection: ClientConnection, request_id: int, attempt: Callable[[], dict[str, object] | Refusal]
    ) -> Refusal | None:
        """Let an administrator change the cluster, if this node leads it."""
        if not connection.permissions.administers:
            return _DENIED
        refusal = self._admit_to_leader(connection)
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
        text = json.dumps(write(), separators=(",", ":"))
        self._requests.owe(connection, encode_document(request_id, text))
        return None


_DENIED = Refusal(RefusalCode.DENIED, "the settings grant this user no such right")
_STOPPING = Refusal(RefusalCode.STOPPING, "this node is going down")
_LEAVING = Refusal(RefusalCode.STOPPING, "this connection ends, since its certificate is not accepted any more")
_DISK_LOW = Refusal(
    RefusalCode.OVERLOADED, "the leader's disk is full: keys can be deleted, and written again when it has space"
)
# However old a stale answer may be, "there is no such key" of a node that has not looked is none.
_NOT_REPLAYED = Refusal(RefusalCode.UNAVAILABLE, "this node has started and not yet applied what it had applied before")
