"""What a node tells of itself: to scrapes and health checks, and to administrators."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from raftd.consensus import Raft
from raftd.consensus.types import NO_INDEX, EntryKind, LogIndex, NodeId, Role
from raftd.http.pulse import Pulse
from raftd.http.server import status_document
from raftd.http.view import (
    BackupStatus,
    Bounds,
    Configuration,
    NodeCounters,
    NodeStatus,
    PeerStatus,
    ReplicationState,
    SnapshotStatus,
)
from raftd.kv.commands import Command, InvalidCommand, Opcode, Write, decode
from raftd.kv.machine import StateMachine
from raftd.kv.operations import DeleteRange, Range, Transaction
from raftd.kv.ranges import prefix_end
from raftd.net.client_listener import ClientListener
from raftd.net.peer_links import PeerLinks
from raftd.net.peer_listener import PeerListener
from raftd.node.addresses import client_address, http_address, settings_differ
from raftd.node.admission import AdmissionLimits
from raftd.node.backups import Backups
from raftd.node.driver import Driver
from raftd.node.gateway import Gateway
from raftd.node.lease_keeper import LeaseKeeper
from raftd.node.requests import Requests
from raftd.node.snapshots import SnapshotMaker
from raftd.node.tracing import SyncLog
from raftd.node.transfers import SnapshotInstaller, SnapshotSender
from raftd.node.watches import Watches
from raftd.wire.limits import LOG_ENTRIES_MAX
from raftd.wire.members import MemberAddresses
from raftd.wire.watch import WatchEndReason

KEY_CHARACTERS_SHOWN: Final = 64
"""A longer key is cut in a LOG answer; a test keeps the longest such answer below `CLIENT_FRAME_BYTES_MAX`."""

_KEY_BYTES_DECODED: Final = 4 * KEY_CHARACTERS_SHOWN + 4
"""Of a key of which so many characters are shown at most: a character has four bytes at most, and the last one may be
cut in two, which is not seen where more than those before it are there. A whole key of 4 KiB takes a millisecond."""


class LogDocument:
    """The newest log entries for administrators: keys, but never values."""

    def __init__(self, raft: Raft) -> None:
        self._raft = raft

    def newest(self, last: int) -> Iterator[str]:
        """The newest `last` entries, at most `LOG_ENTRIES_MAX`, newest first: a JSON object, in pieces of text.

        There is a piece for each entry, made when it is asked for, since an entry of many operations takes half a
        millisecond. All are of the log as it is when the first piece is. Long keys are cut, so that the whole fits a
        frame whatever the entries are.
        """
        raft = self._raft
        commit_index, last_applied = raft.commit_index, raft.last_applied
        high = LogIndex(raft.last_index + 1)
        low = LogIndex(max(raft.base_index + 1, high - min(last, LOG_ENTRIES_MAX)))
        head: dict[str, object] = {"node_id": raft.node_id, "commit_index": commit_index, "last_applied": last_applied}
        lead = f'{_json(head)[:-1]},"entries":['
        for index, term, kind, data in reversed(raft.entries(low, high)):
            entry = {
                "index": index,
                "term": term,
                "kind": kind.name.lower(),
                "committed": index <= commit_index,
                "applied": index <= last_applied,
                **_command_fields(index, kind, data),
            }
            yield lead + _json(entry)
            lead = ","
        yield "]}" if lead == "," else f"{lead}]}}"


@dataclass(frozen=True, slots=True)
class StaticFacts:
    """What does not change by itself while a node runs: settings, of which a reload brings new ones, and the build."""

    cluster: str
    version: str
    tick_seconds: float
    client_addresses: Mapping[NodeId, str]
    """By the settings."""
    members: Mapping[NodeId, MemberAddresses] = field(default_factory=dict)
    """All nodes that the settings name; none: what the settings say is not known here."""
    cluster_id: str = ""
    """As a UUID is written."""


class Disk(Protocol):
    """What is told of the log writer."""

    @property
    def queued_bytes(self) -> int:
        """Bytes of entries that wait to be stored here."""
        ...

    @property
    def disk_low(self) -> bool:
        """Whether the disk was found full."""
        ...


class DiskSpace(Protocol):
    """What is told of the file system that the data directory is on."""

    @property
    def free_bytes(self) -> int:
        """What may still be written."""
        ...

    @property
    def size_bytes(self) -> int:
        """That, and all that is written; 0: not known yet."""
        ...


class View:
    """Gathers one node's status from its parts; asked at any time from the node's own event loop."""

    def __init__(
        self,
        *,
        facts: StaticFacts,
        driver: Driver,
        machine: StateMachine,
        requests: Requests,
        watches: Watches,
        keeper: LeaseKeeper,
        links: PeerLinks,
        storing_seconds: Callable[[], float],
        syncs: SyncLog,
        disk: Disk,
        disk_space: DiskSpace,
        now: Callable[[], float],
        log_lines_dropped: Callable[[], int],
    ) -> None:
        """`storing_seconds` is the age of the oldest unfinished log write, `now` the loop's clock."""
        self._facts = facts
        self._driver = driver
        self._machine = machine
        self._requests = requests
        self._watches = watches
        self._keeper = keeper
        self._links = links
        self._storing_seconds = storing_seconds
        self._syncs = syncs
        self._disk = disk
        self._disk_space = disk_space
        self._now = now
        self._log_lines_dropped = log_lines_dropped
        self._started_at = now()
        self._log = LogDocument(driver.raft)
        self._configuration = Configuration()
        self._gateway: Gateway | None = None
        self._clients: ClientListener | None = None
        self._peers: PeerListener | None = None
        self._maker: SnapshotMaker | None = None
        self._sender: SnapshotSender | None = None
        self._installer: SnapshotInstaller | None = None
        self._backups: Backups | None = None
        self._pulse: Pulse | None = None
        self._diagnostics: Callable[[], dict[str, object]] = dict

    def attach(
        self,
        *,
        gateway: Gateway,
        clients: ClientListener,
        peers: PeerListener,
        maker: SnapshotMaker,
        sender: SnapshotSender,
        installer: SnapshotInstaller,
        backups: Backups,
        pulse: Pulse,
        diagnostics: Callable[[], dict[str, object]],
    ) -> None:
        """Name the parts that are built after this one, since some of them use it."""
        self._gateway = gateway
        self._clients = clients
        self._peers = peers
        self._maker, self._sender, self._installer = maker, sender, installer
        self._backups = backups
        self._pulse = pulse
        self._diagnostics = diagnostics

    def use(self, facts: StaticFacts, configuration: Configuration) -> None:
        """Tell of these from now on."""
        self._facts, self._configuration = facts, configuration

    @property
    def facts(self) -> StaticFacts:
        """What is told."""
        return self._facts

    def status(self) -> NodeStatus:
        """Return what the node is now."""
        raft, machine, watches = self._driver.raft, self._machine, self._watches
        compared_index, compared_hash = self._driver.comparison.latest or (NO_INDEX, 0)
        limits = AdmissionLimits() if self._gateway is None else self._gateway.admission.limits
        timer = 0.0
        if raft.role is not Role.LEADER:
            timer = max(0, raft.election_timeout_ticks - raft.election_elapsed_ticks) * self._facts.tick_seconds
        return NodeStatus(
            node_id=raft.node_id,
            cluster=self._facts.cluster,
            version=self._facts.version,
            role=raft.role,
            current_term=raft.current_term,
            leader_id=raft.leader_id,
            voted_for=raft.voted_for,
            commit_index=raft.commit_index,
            last_applied=machine.last_applied,
            last_log_index=raft.last_index,
            stored_index=raft.stored_index,
            revision=machine.revision,
            keys=machine.key_count,
            data_bytes=machine.bytes_total,
            keys_max=limits.keys_max,
            data_bytes_max=limits.bytes_max,
            sessions=machine.session_count,
            leases=len(machine.leases),
            lease_keys=machine.leases.key_total,
            history_changes=len(machine.history),
            history_bytes=machine.history.bytes_total,
            compacted_revision=machine.history.compacted_revision,
            watches=watches.count,
            watches_behind=watches.behind_count,
            watches_stalled=watches.stalled_count,
            connections=0 if self._clients is None else self._clients.connections,
            pending_proposals=self._requests.write_count,
            pending_reads=self._requests.read_count,
            uptime_seconds=self._now() - self._started_at,
            election_timer_seconds=timer,
            loop_lag_seconds=max(
                self._driver.loop_lag_seconds, self._now() - self._driver.last_tick_at - self._facts.tick_seconds, 0.0
            ),
            storing_seconds=self._storing_seconds(),
            disk_low=self._disk.disk_low,
            replayed=self._gateway is not None and self._gateway.is_replayed,
            draining=self._gateway is not None and self._gateway.is_draining,
            peers=tuple(self._peer(peer) for peer in sorted(raft.membership.members - {raft.node_id})),
            settings_differ=tuple(settings_differ(raft.membership, self._facts.members)) if self._facts.members else (),
            is_voter=raft.node_id in raft.membership.all_voters,
            is_learner=raft.node_id in raft.membership.learners,
            http_address=http_address(raft.membership, raft.node_id, self._facts.members),
            voters=len(raft.membership.voters),
            learners=len(raft.membership.learners),
            quorum_margin=raft.quorum_margin,
            leader_contact_seconds=raft.election_elapsed_ticks * self._facts.tick_seconds,
            compared_hash=compared_hash,
            compared_index=compared_index,
            pending_bytes=self._requests.bytes_held,
            pending_bytes_max=limits.pending_bytes_max,
            log_queued_bytes=self._disk.queued_bytes,
            disk_free_bytes=self._disk_space.free_bytes,
            disk_size_bytes=self._disk_space.size_bytes,
            bounds=self._bounds(),
            snapshot=self._snapshot(),
            proven=raft.is_proven,
            backup=self._backup(),
            configuration=self._configuration,
        )

    def counters(self) -> NodeCounters:
        """Return what the node has counted so far."""
        requests, driver = self._requests, self._driver
        return NodeCounters(
            leader_changes=driver.leader_changes_total,
            elections_started=driver.elections_total,
            log_losses=driver.losses.total,
            proposals_committed=requests.committed_total,
            proposals_failed=requests.failed_total,
            proposals_unknown=requests.unknown_total,
            reads_confirmed=requests.reads_confirmed_total,
            reads_refused=requests.reads_refused_total,
            watch_changes=self._watches.told_total,
            watches_compacted=self._watches.ended_total[WatchEndReason.COMPACTED],
            watches_refused=self._watches.ended_total[WatchEndReason.TOO_MANY],
            leases_expired=self._keeper.expired_total,
            sessions_expired=self._machine.sessions_expired_total,
            comparisons_equal=driver.comparison.equal_total,
            comparisons_different=driver.comparison.different_total,
            **self._snapshot_counts(),
            reloads_done=self._configuration.reloads_done,
            reloads_refused=self._configuration.reloads_refused,
            log_batches=self._syncs.batches_total,
            log_entries=self._syncs.entries_total,
            log_bytes=self._syncs.bytes_total,
            connections_accepted=0 if self._clients is None else self._clients.accepted_total,
            connections_refused=0 if self._clients is None else self._clients.refused_total,
            messages_dropped=self._links.dropped_total,
            backup_bytes_sent=0 if self._backups is None else self._backups.sent_bytes_total,
            log_lines_dropped=self._log_lines_dropped(),
        )

    async def read_index(self, max_age_seconds: float) -> LogIndex | None:
        """As `NodeView` has it."""
        return await self._driver.probe.read_index(max_age_seconds)

    def status_document(self) -> dict[str, object]:
        """The status as administrators get it over the client protocol: `/status`, the membership, and the state."""
        raft, membership = self._driver.raft, self._driver.raft.membership
        return {
            **status_document(self.status()),
            "pulse": {} if self._pulse is None else self._pulse.document(),
            "cluster_id": self._facts.cluster_id,
            "state_hash": f"{self._machine.state_hash:08x}",
            "members": [
                {"node_id": node_id, "client_address": address} for node_id, address in self.client_addresses().items()
            ],
            "membership": {
                "index": raft.membership_index,
                "committed": raft.membership_index <= raft.commit_index,
                "voters": sorted(membership.voters),
                "outgoing": sorted(membership.outgoing),
                "learners": sorted(membership.learners),
                "joining": dict(sorted(membership.joining.items())),
                "addresses": dict(sorted(membership.addresses.items())),
            },
        }

    def client_addresses(self) -> dict[NodeId, str]:
        """Where clients reach each member, in the order of their ids; empty where nobody says."""
        membership, settings = self._driver.raft.membership, self._facts.client_addresses
        return {node_id: client_address(membership, node_id, settings) for node_id in sorted(membership.members)}

    def diagnostics_document(self) -> dict[str, object]:
        """What a check or a report needs besides the status, as `Diagnostics.document`."""
        return self._diagnostics()

    def log_document(self, last: int) -> Iterator[str]:
        """The newest log entries, as `LogDocument.newest`."""
        return self._log.newest(last)

    def _peer(self, peer: NodeId) -> PeerStatus:
        link = self._links.link(peer)
        driver, raft = self._driver, self._driver.raft
        status = PeerStatus(
            peer,
            connected=link is not None and link.is_up,
            received_bytes=0 if self._peers is None else self._peers.received_bytes(peer),
            round_trip_seconds=driver.round_trips.latest_seconds(peer),
            clock_difference_seconds=driver.clocks.difference_seconds(peer),
            diverged=driver.comparison.has_diverged(peer),
            is_learner=peer in raft.membership.learners,
            http_address=http_address(raft.membership, peer, self._facts.members),
        )
        if link is not None:
            status = replace(
                status,
                queued_bytes=link.queued_bytes,
                queued_bytes_max=link.queued_bytes_max,
                sent_bytes=link.sent_bytes_total,
                connect_failures=link.connect_failures_total,
                disconnects=link.disconnects_total,
            )
        progress = raft.progress.get(peer)
        if progress is not None:
            status = replace(
                status,
                state=ReplicationState(progress.state.value),
                match_index=progress.match_index,
                lag_entries=raft.last_index - progress.match_index,
                in_flight_bytes=progress.in_flight_bytes,
                contact_seconds=progress.silent_ticks * self._facts.tick_seconds,
            )
        return status

    def _snapshot_counts(self) -> dict[str, int]:
        maker, sender, installer = self._maker, self._sender, self._installer
        if maker is None or sender is None or installer is None:
            return {}
        return {
            "snapshots_made": maker.made_total,
            "snapshots_installed": installer.installed_total,
            "snapshots_failed": maker.failed_total + sender.failed_total + installer.failed_total,
            "snapshot_sent_bytes": sender.sent_bytes_total,
            "snapshot_received_bytes": installer.received_bytes_total,
        }

    def _bounds(self) -> Bounds:
        limits = self._machine.limits
        return Bounds(
            sessions=limits.sessions_max,
            leases=limits.leases_max,
            watches=self._watches.watches_max,
            connections=0 if self._clients is None else self._clients.connections_max,
            history_changes=limits.history_changes_max,
            history_bytes=limits.history_bytes_max,
        )

    def _backup(self) -> BackupStatus:
        backups = self._backups
        if backups is None:
            return BackupStatus()
        return BackupStatus(backups.backup_count, backups.success_ms, backups.failure_ms)

    def _snapshot(self) -> SnapshotStatus:
        raft, maker = self._driver.raft, self._maker
        index = NO_INDEX if raft.snapshot is None else raft.snapshot.last_included_index
        transfers = sum(each.state.value == ReplicationState.SNAPSHOT.value for each in raft.progress.values())
        if maker is None:
            return SnapshotStatus(index, transfers=transfers)
        return SnapshotStatus(index, maker.last_bytes, maker.last_seconds, maker.succeeded_seconds, transfers)


def _command_fields(index: LogIndex, kind: EntryKind, data: bytes) -> dict[str, object]:
    if kind is not EntryKind.COMMAND:
        return {}
    try:
        command = decode(data)
    except InvalidCommand as error:
        return {"invalid": str(error)}
    return {
        "command": command.opcode.name.lower(),
        "session": command.session,
        "sequence": command.sequence,
        **(_shown_key(command.key) if command.key else _subject(index, command)),
        "key_bytes": len(command.key),
        "value_bytes": len(command.value),
        "user": command.user,
        "address": command.address,
        "wall_clock_ms": command.wall_clock_ms,
    }


def _subject(index: LogIndex, command: Command) -> dict[str, object]:
    """What a command is about that is not about a single key: which keys, or which leases, in a few words."""
    match command.opcode, command.argument:
        case Opcode.DELETE_RANGE, Write(operation=DeleteRange(low=low, high=high)):
            return {"keys": _cut(_shown_range(low, high))}
        case Opcode.TRANSACTION, Write(operation=Transaction() as transaction):
            return {"keys": _cut(_shown_operations(transaction))}
        case Opcode.LEASE_GRANT, _:
            return {"leases": f"lease {index}"}
        case Opcode.LEASE_REVOKE, int(lease):
            return {"leases": f"lease {lease}"}
        case Opcode.EXPIRE_LEASES, tuple(leases):
            return {"leases": _cut(f"lease {', '.join(map(str, leases[:KEY_CHARACTERS_SHOWN]))}")}
        case _:
            return {}


def _shown_operations(transaction: Transaction) -> str:
    """The keys that a transaction reads or writes, whatever its conditions say; each once, and as many as are shown."""
    texts: dict[str, None] = {}
    length = 0
    for text in _keys(transaction):
        if text not in texts:
            texts[text] = None
            length += len(text)
            if length > KEY_CHARACTERS_SHOWN:
                break
    return ", ".join(texts)


def _keys(transaction: Transaction) -> Iterator[str]:
    for operation in (*transaction.then, *transaction.otherwise):
        match operation:
            case Transaction():
                yield from _keys(operation)
            case Range(low=low, high=high) | DeleteRange(low=low, high=high):
                yield _shown_range(low, high)
            case _:
                yield _beginning(operation.key)


def _shown_range(low: bytes, high: bytes) -> str:
    if high == prefix_end(low):
        return f"{_beginning(low)}*"
    return f"{_beginning(low)}..{_beginning(high)}"


def _beginning(key: bytes) -> str:
    """As much of a key as is shown, or the whole, or something between."""
    return key[:_KEY_BYTES_DECODED].decode(errors="backslashreplace")


def _json(document: dict[str, object]) -> str:
    return json.dumps(document, separators=(",", ":"))


def _cut(text: str) -> str:
    return text if len(text) <= KEY_CHARACTERS_SHOWN else text[: KEY_CHARACTERS_SHOWN - 1] + "…"


def _shown_key(key: bytes) -> dict[str, object]:
    """A key as text where it is UTF-8, else in hexadecimal; cut, with an ellipsis, where it is long."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return {"key_hex": key[:KEY_CHARACTERS_SHOWN].hex()}
    return {"key": _cut(text)}
