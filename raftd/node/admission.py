"""What a node takes on: who has to ask elsewhere, and what is refused so that the node, its store and its disk go on.

Bounds are looked at before a request is taken, so each may be overshot by one. Whatever is refused here was not done,
and a client may ask again.

**Where there is no room**, a write is judged by what it would do to the state as applied, and others are under way
before it. Two transactions that delete the same key to put another one are each found to add nothing, and together add
a value; and so do a deletion, and what would have failed as long as the key was there. So what `hinges` on others is
taken only while nothing else is under way, on a disk that is low, and in a store that is crowded: one that has gone
further beyond its bounds than what was under way when it reached them can well have brought it. Up to there many are
taken at once, for hardly any are like these.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from raftd.consensus.types import LogIndex, NodeId, Role
from raftd.kv.commands import Opcode
from raftd.kv.machine import StateMachine
from raftd.node.addresses import client_address
from raftd.node.administration import Leadership
from raftd.node.connection import ClientConnection
from raftd.node.requests import Requests
from raftd.wire.client import BODY_OFFSET, Refusal, RefusalCode

# An enum's member is looked up in a dict and through a descriptor; a global costs a tenth of that.
_LEADER: Final = Role.LEADER

REHEARSAL_SECONDS_MAX: Final = 0.003
"""Spent in one turn on finding out what transactions would do to a store or a disk that is full, and the last one."""

_CROWDED_SHARE: Final = 16
"""Of `keys_max`: a store that has more keys by this share is crowded."""


class Disk(Protocol):
    """What must be known of this node's disk."""

    @property
    def queued_bytes(self) -> int:
        """Bytes of entries that wait to be stored here."""

    @property
    def disk_low(self) -> bool:
        """Whether the disk was found full: what is left is for making room."""


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """What clients may have under way on this node, and the store may grow to."""

    requests_in_flight_max: int = 1024
    """On one connection; a further request is refused as OVERLOADED."""
    pending_bytes_max: int = 64 << 20
    """Of commands that are not committed yet, of all clients together; the same of what waits for this node's disk."""
    keys_max: int = 2_000_000
    """With so many keys in the store the leader refuses what would make more, or longer ones. A soft bound: what is
    under way when it is reached is still done, and see `raftd.node.admission`."""
    bytes_max: int = 1 << 30
    """The same of the bytes of all keys and values."""


class Admission:
    """Says of each request whether there is room for it on this node; None is yes."""

    def __init__(
        self,
        *,
        leadership: Leadership,
        machine: StateMachine,
        requests: Requests,
        disk: Disk,
        client_addresses: Mapping[NodeId, str],
        limits: AdmissionLimits,
        clock: Callable[[], float],
    ) -> None:
        """`client_addresses` tell where a leader is of which the membership does not say it; `clock` is monotonic."""
        self._leadership = leadership
        self._machine = machine
        self._requests = requests
        self._disk = disk
        self.client_addresses = client_addresses
        self.limits = limits
        self._clock = clock
        self.is_draining = False
        """Whether the node is going down: nothing new is accepted."""
        self._is_full = False
        """As of the latest turn."""
        self._is_crowded = False
        """The same: whether it is beyond its bounds by more than may be under way, or than a sixteenth of the keys."""
        self._has_hinging = False
        """Whether a write that hinges on others may be under way, taken when nothing else was."""
        self._hinging_end: LogIndex | None = None
        """The log ended here once that write was in it."""
        self._rehearsed_seconds = 0.0
        """In this turn."""

    def begin_turn(self) -> None:
        """Note how full the store is; rehearsals have time again."""
        machine, limits = self._machine, self.limits
        self._is_full = machine.key_count >= limits.keys_max or machine.bytes_total >= limits.bytes_max
        self._is_crowded = self._is_full and (
            machine.key_count > limits.keys_max + limits.keys_max // _CROWDED_SHARE
            or machine.bytes_total > limits.bytes_max + limits.pending_bytes_max
        )
        self._rehearsed_seconds = 0.0
        if self._has_hinging:
            # What was admitted before this is proposed, or refused.
            end = self._hinging_end = self._hinging_end or self._leadership.last_index
            self._has_hinging = machine.last_applied < end

    def elsewhere(self) -> Refusal:
        """Refuse what only the leader can do."""
        leader_id = self._leadership.leader_id
        if leader_id is None or self._leadership.role is Role.LEADER:
            return Refusal(RefusalCode.NO_LEADER, "no leader is known at the moment")
        address = client_address(self._leadership.membership, leader_id, self.client_addresses)
        return Refusal(RefusalCode.NOT_LEADER, f"node {leader_id} leads", leader_id, address)

    def admit(self, connection: ClientConnection) -> Refusal | None:
        """Admit what any node can do by itself."""
        return STOPPING if self.is_draining else self.admit_slot(connection)

    def admit_slot(self, connection: ClientConnection) -> Refusal | None:
        """Admit what a node tells of itself up to its end, if the connection may have one more under way."""
        if connection.in_flight >= self.limits.requests_in_flight_max:
            return Refusal(
                RefusalCode.OVERLOADED, f"{connection.in_flight} requests are under way on this connection already"
            )
        return None

    def admit_read(self, connection: ClientConnection) -> Refusal | None:
        """Admit a read: a follower asks the leader from which index on it may answer, so there must be one."""
        refusal = self.admit(connection)
        return self.elsewhere() if refusal is None and self._leadership.leader_id is None else refusal

    def admit_to_leader(self, connection: ClientConnection) -> Refusal | None:
        """Admit what only the leader does."""
        refusal = self.admit(connection)
        return self.elsewhere() if refusal is None and self._leadership.role is not _LEADER else refusal

    def admit_write(self, connection: ClientConnection, payload: bytes) -> Refusal | None:
        """Admit a client's command, which begins at `BODY_OFFSET` of the payload and is valid."""
        refusal = self.admit_to_leader(connection) or self._admit_to_log(payload)
        if refusal is None and self._is_full:
            refusal = self._admit_to_full(payload, self._full)
            if refusal is None and self._is_crowded:
                refusal = self._admit_alone(payload)
        return refusal

    def _full(self) -> Refusal:
        machine, limits = self._machine, self.limits
        return Refusal(
            RefusalCode.FULL,
            f"there are {machine.key_count} keys of {limits.keys_max} and {machine.bytes_total} bytes of "
            f"{limits.bytes_max} that the settings allow: delete some first",
        )

    def _admit_to_full(
        self, payload: bytes, refusal: Callable[[], Refusal], *, or_stays: bool = False
    ) -> Refusal | None:
        """Where there is no room, let through what makes none necessary; with `or_stays`, what leaves more.

        Of a transaction only a rehearsal tells, which may take as long as the transaction: so there is a bound of all
        rehearsals in one turn, whoever asks.
        """
        if payload[BODY_OFFSET] != Opcode.TRANSACTION:
            return refusal() if self._machine.grows(payload, BODY_OFFSET, or_stays=or_stays) else None
        if self._rehearsed_seconds >= REHEARSAL_SECONDS_MAX:
            return _REHEARSING
        began = self._clock()
        grows = self._machine.grows(payload, BODY_OFFSET, or_stays=or_stays)
        self._rehearsed_seconds += self._clock() - began
        return refusal() if grows else None

    def _admit_alone(self, payload: bytes, *, or_stays: bool = False) -> Refusal | None:
        """Let through what `_admit_to_full` does, unless that was judged by a state that it may not find."""
        hinges = self._machine.hinges(payload, BODY_OFFSET, or_stays=or_stays)
        if self._requests.bytes_held == 0:
            self._has_hinging, self._hinging_end = hinges, None
            return None
        # A single write may write as much as is there now, and what hinges on others delete that to put something else.
        overwrites = payload[BODY_OFFSET] in {Opcode.PUT, Opcode.INCREMENT}
        return _ONE_AT_A_TIME if hinges or (self._has_hinging and overwrites) else None

    def _admit_to_log(self, payload: bytes) -> Refusal | None:
        disk = self._disk
        if self._requests.bytes_held >= self.limits.pending_bytes_max:
            return Refusal(
                RefusalCode.OVERLOADED, f"{self._requests.bytes_held} bytes of writes wait to be committed already"
            )
        if disk.disk_low:
            is_put = payload[BODY_OFFSET] == Opcode.PUT
            refusal = _DISK_LOW if is_put else self._admit_to_full(payload, lambda: _DISK_LOW, or_stays=True)
            refusal = refusal or self._admit_alone(payload, or_stays=True)
            if refusal is not None:
                return refusal
        # A quorum of faster disks commits without this one, and then `bytes_held` does not show what it still owes.
        if disk.queued_bytes >= self.limits.pending_bytes_max:
            return Refusal(RefusalCode.OVERLOADED, f"{disk.queued_bytes} bytes wait for this node's disk already")
        return None


STOPPING: Final = Refusal(RefusalCode.STOPPING, "this node is going down")
_DISK_LOW: Final = Refusal(
    RefusalCode.OVERLOADED, "the leader's disk is full: keys can be deleted, and written again when it has space"
)
_REHEARSING: Final = Refusal(
    RefusalCode.OVERLOADED, "there is no room, and more transactions came at once than could be looked at"
)
_ONE_AT_A_TIME: Final = Refusal(
    RefusalCode.OVERLOADED, "there is no room, and what this write would add is known once those under way are done"
)
