"""The status and the counters; what `raftctl log` shows is tested in `test_view_log.py`."""

import json
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

from raftd.consensus.membership import AddVoter
from raftd.consensus.messages import AppendEntriesReply, Heartbeat, HeartbeatReply
from raftd.consensus.types import NO_INDEX, NO_TERM, LogIndex, NodeId, Role, Term
from raftd.http.histogram import Histogram
from raftd.http.pulse import Pulse
from raftd.http.view import (
    BackupStatus,
    Bounds,
    Configuration,
    NodeStatus,
    PeerStatus,
    ReplicationState,
    SnapshotStatus,
)
from raftd.kv.commands import SessionId
from raftd.kv.operations import Put
from raftd.kv.types import LeaseId
from raftd.net.client_listener import ClientListener
from raftd.net.peer_links import PeerLinks
from raftd.net.peer_listener import PeerListener
from raftd.node.backups import Backups
from raftd.node.snapshots import SnapshotMaker
from raftd.node.transfers import SnapshotInstaller, SnapshotSender
from raftd.node.view import StaticFacts, View
from raftd.storage.writer import SyncRecord
from raftd.wire.address import Address
from raftd.wire.client import RequestKind
from raftd.wire.members import MemberAddresses
from tests.node.parts import ADDRESSES, RULES, TICK_SECONDS, Server


@dataclass
class Link:
    is_up: bool = True
    queued_bytes: int = 77
    queued_bytes_max: int = 1000
    sent_bytes_total: int = 88
    connect_failures_total: int = 3
    disconnects_total: int = 2


LINK: dict[str, Any] = {"queued_bytes_max": 1000, "sent_bytes": 88, "connect_failures": 3, "disconnects": 2}
"""What a peer's status has of `Link`."""


@dataclass
class Links:
    """What the view looks at of the links: node 2 is connected, node 3 has no link."""

    dropped_total: int = 5
    links: dict[NodeId, Link] = field(default_factory=lambda: {NodeId(2): Link()})

    def link(self, peer: NodeId) -> Link | None:
        return self.links.get(peer)


@dataclass
class Clients:
    connections: int = 4
    connections_max: int = 40
    accepted_total: int = 6
    refused_total: int = 2


class Peers:
    def received_bytes(self, peer: NodeId) -> int:
        return 100 + peer


@dataclass
class Maker:
    made_total: int = 4
    failed_total: int = 1
    last_bytes: int = 555
    last_seconds: float = 0.5
    succeeded_seconds: float = 1.7e9


@dataclass
class Sender:
    sent_bytes_total: int = 11
    failed_total: int = 2


@dataclass
class TakenBackups:
    backup_count: int = 3
    success_ms: int = 1_700_000_000_000
    failure_ms: int = 1_600_000_000_000
    sent_bytes_total: int = 13


@dataclass
class Installer:
    installed_total: int = 6
    received_bytes_total: int = 12
    failed_total: int = 3


def view_of(server: Server, *, attached: bool = True, members: dict[NodeId, MemberAddresses] | None = None) -> View:
    view = View(
        facts=StaticFacts("demo", "1.2.3", TICK_SECONDS, ADDRESSES, members or {}),
        driver=server.driver,
        machine=server.machine,
        requests=server.requests,
        watches=server.watches,
        keeper=server.keeper,
        links=cast("PeerLinks", Links()),
        storing_seconds=lambda: 0.25,
        syncs=server.syncs,
        disk_space=SimpleNamespace(free_bytes=300, size_bytes=1000),
        disk=server.disk,
        now=server.scheduler.time,
        log_lines_dropped=lambda: 9,
    )
    if attached:
        view.attach(
            gateway=server.gateway,
            clients=cast("ClientListener", Clients()),
            peers=cast("PeerListener", Peers()),
            maker=cast("SnapshotMaker", Maker()),
            sender=cast("SnapshotSender", Sender()),
            installer=cast("SnapshotInstaller", Installer()),
            backups=cast("Backups", TakenBackups()),
            pulse=Pulse(view.status, writes=Histogram((1.0,)), syncs=Histogram((1.0,)), now=server.scheduler.time),
            diagnostics=lambda: {"metrics": "some"},
        )
    return view


def leader() -> Server:
    server = Server(size=3)
    server.become_leader()
    server.hear(2, AppendEntriesReply(server.raft.current_term, True, server.raft.last_index, NO_INDEX, NO_TERM))
    server.scheduler.run()
    return server


def status_of(server: Server) -> NodeStatus:
    return view_of(server).status()


def test_a_leader_s_status() -> None:
    """Every field is of the node as it is at this moment."""
    server = leader()
    view = view_of(server)
    server.client().put(b"key")
    server.client().get(b"key")
    server.scheduler.run()
    server.scheduler.now += 2.5
    status = view.status()
    assert (status.node_id, status.cluster, status.version) == (1, "demo", "1.2.3")
    assert (status.role, status.current_term, status.leader_id, status.voted_for) == (Role.LEADER, 1, 1, 1)
    assert (status.commit_index, status.last_applied, status.last_log_index, status.stored_index) == (1, 1, 2, 1)
    assert (status.pending_proposals, status.pending_reads) == (1, 1)
    assert (status.connections, status.uptime_seconds, status.storing_seconds) == (4, 2.5, 0.25)
    assert (status.disk_free_bytes, status.disk_size_bytes) == (300, 1000)
    assert (status.disk_low, status.log_queued_bytes) == (server.disk.disk_low, server.disk.queued_bytes)
    assert (status.voters, status.learners, status.is_learner, status.quorum_margin) == (3, 0, False, 1)
    assert (status.leader_contact_seconds, status.pending_bytes) == (0.0, server.requests.bytes_held)
    assert status.pending_bytes_max == server.gateway.admission.limits.pending_bytes_max
    assert (status.election_timer_seconds, status.draining, status.replayed) == (0.0, False, True)
    connected, unknown = status.peers
    append_bytes = server.raft.progress[NodeId(2)].in_flight_bytes
    assert connected == PeerStatus(
        NodeId(2),
        True,
        ReplicationState.REPLICATE,
        server.raft.commit_index,
        1,
        append_bytes,
        77,
        contact_seconds=0.0,
        received_bytes=102,
        **LINK,
    )
    assert append_bytes > 0
    assert (unknown.node_id, unknown.connected, unknown.state, unknown.lag_entries) == (
        3, False, ReplicationState.PROBE, 2,
    )  # fmt: skip


def test_backups_show() -> None:
    """How many there are, when they went well and when not, and how much was sent; without them, nothing."""
    server = leader()
    view = view_of(server)
    assert view.status().backup == BackupStatus(3, 1_700_000_000_000, 1_600_000_000_000)
    assert view.counters().backup_bytes_sent == 13
    assert view_of(server, attached=False).status().backup == BackupStatus()


def test_what_is_kept_for_clients_shows() -> None:
    """Leases and their keys, watches, and the history that they read."""
    server = Server(size=1)
    server.become_leader()
    client = server.client()
    client.open_session()
    client.session = SessionId(2)
    client.grant_lease(60_000)
    client.write(Put(b"key", b"value", lease=LeaseId(3)))
    server.store()
    client.watch(b"", b"")
    slow = server.client()
    slow.watch(b"", b"")
    server.scheduler.run()
    slow.channel.unsent_bytes = 1 << 30
    client.put(b"other", b"third")
    server.scheduler.run()
    server.store()
    view = view_of(server)
    status, counters = view.status(), view.counters()
    assert (status.keys, status.keys_max) == (3, server.gateway.admission.limits.keys_max)
    assert (status.data_bytes, status.data_bytes_max) == (28, server.gateway.admission.limits.bytes_max)
    assert (status.leases, status.lease_keys) == (1, 1)
    assert (status.history_changes, status.history_bytes, status.compacted_revision) == (3, 13, 0)
    assert (status.watches, status.watches_behind, status.watches_stalled) == (2, 1, 1)
    assert (counters.watch_changes, counters.watches_compacted, counters.watches_refused) == (3, 0, 0)
    assert counters.leases_expired == 0


def test_a_follower_knows_nothing_of_its_peers_logs() -> None:
    """Their state is unknown there, and not zero lag of something."""
    server = Server(size=3)
    server.scheduler.advance(3 * TICK_SECONDS)
    status = status_of(server)
    assert status.role is Role.FOLLOWER
    assert status.election_timer_seconds == (server.raft.election_timeout_ticks - 3) * TICK_SECONDS
    assert status.peers[0] == PeerStatus(NodeId(2), True, queued_bytes=77, received_bytes=102, **LINK)
    assert (status.quorum_margin, status.leader_contact_seconds) == (None, 3 * TICK_SECONDS)


def test_an_overdue_election_timer_is_zero() -> None:
    """A remaining time is never below nothing."""
    server = Server(size=3)
    for _ in range(100):
        server.scheduler.advance(TICK_SECONDS)
    assert status_of(server).election_timer_seconds >= 0.0


def test_a_late_loop_shows_before_its_tick_is_over() -> None:
    """The latest tick's lateness, or how overdue the next one is by now."""
    server = Server(size=3)
    server.scheduler.advance(1.0)
    assert status_of(server).loop_lag_seconds < 1e-6
    server.scheduler.now += 5.0
    assert 5.0 - 2 * TICK_SECONDS <= status_of(server).loop_lag_seconds <= 5.0
    server.scheduler.run()
    assert status_of(server).loop_lag_seconds >= 5.0 - 2 * TICK_SECONDS


def test_a_node_is_replayed_once_it_has_applied_what_its_first_leader_knew() -> None:
    """Before it hears of a leader it cannot know what there is to apply."""
    server = Server(size=3)
    assert not status_of(server).replayed
    server.become_leader()
    assert not status_of(server).replayed
    server.hear(2, AppendEntriesReply(Term(1), True, server.raft.last_index, NO_INDEX, NO_TERM))
    server.scheduler.run()
    assert status_of(server).replayed


def test_before_it_is_attached_a_view_has_no_clients() -> None:
    """The parts are built one after another, and a status may be asked for in between."""
    view = view_of(Server(size=3), attached=False)
    assert (view.status().connections, view.status().draining, view.status().replayed) == (0, False, False)
    assert (view.counters().connections_accepted, view.counters().connections_refused) == (0, 0)
    assert (view.counters().snapshots_made, view.status().snapshot, view.status().bounds.connections) == (
        0, SnapshotStatus(), 0,
    )  # fmt: skip


def test_bounds_are_told_with_what_they_bound() -> None:
    """Of the state machine, the watches and the connections."""
    server = leader()
    limits = server.machine.limits
    assert status_of(server).bounds == Bounds(
        limits.sessions_max,
        limits.leases_max,
        server.watches.watches_max,
        40,
        limits.history_changes_max,
        limits.history_bytes_max,
    )


def test_snapshots_are_told() -> None:
    """The newest one, how long it took, and to how many peers one is on its way."""
    assert status_of(leader()).snapshot == SnapshotStatus(NO_INDEX, 555, 0.5, 1.7e9, 0)


def test_what_a_node_goes_by_can_change() -> None:
    """A reload brings other settings, which are told from then on."""
    view = view_of(leader())
    configuration = Configuration("abc", reloads_done=2, reloads_refused=1)
    view.use(replace(view.facts, version="9"), configuration)
    assert (view.status().version, view.status().configuration) == ("9", configuration)
    assert (view.counters().reloads_done, view.counters().reloads_refused) == (2, 1)


def test_the_latest_round_trip_is_told() -> None:
    """A leader knows how long its peers' answers took, once one has come."""
    server = leader()
    server.scheduler.now += 0.25
    sent = next(message for peer, message in server.take_sent() if peer == 2 and isinstance(message, Heartbeat))
    before = status_of(server).peers[0].round_trip_seconds
    server.hear(2, HeartbeatReply(sent.term, sent.round))
    after = status_of(server).peers[0].round_trip_seconds
    assert before is None
    assert after == 0.25


def test_draining_shows() -> None:
    """Load balancers look at it."""
    server = Server(size=3)
    server.gateway.admission.is_draining = True
    assert status_of(server).draining


def test_counters() -> None:
    """Each where its part counts it."""
    server = leader()
    client = server.client()
    client.put(b"one", b"two")
    server.scheduler.run()
    server.store()
    server.hear(2, AppendEntriesReply(Term(1), True, server.raft.last_index, NO_INDEX, NO_TERM))
    server.scheduler.run()
    server.syncs.note(SyncRecord(3, 120, 0.001, 0.002, LogIndex(1), 7))
    server.syncs.note(SyncRecord(1, 10, 0.001, 0.002))
    counters = view_of(server).counters()
    assert (counters.proposals_committed, counters.proposals_failed) == (2, 0)
    assert (counters.elections_started, counters.leader_changes) == (1, 1)
    assert (counters.messages_dropped, counters.log_lines_dropped) == (5, 9)
    assert (counters.connections_accepted, counters.connections_refused) == (6, 2)
    assert (counters.snapshots_made, counters.snapshots_installed, counters.snapshots_failed) == (4, 6, 6)
    assert (counters.snapshot_sent_bytes, counters.snapshot_received_bytes) == (11, 12)
    assert counters.proposals_unknown == 0
    # What the disk has done, and not what it was asked for: it may do several of these at once.
    assert (counters.log_batches, counters.log_entries, counters.log_bytes) == (2, 7, 130)


def test_documents_are_json_and_tell_no_values() -> None:
    """What administrators get: status with members and their addresses, and the log with keys only."""
    server = leader()
    client = server.client()
    client.put(b"some-key", value=b"secret")
    client.send((RequestKind.PING, b""))
    server.scheduler.run()
    view = view_of(server)
    status = json.loads(json.dumps(view.status_document()))
    assert status["role"] == "leader"
    assert status["members"][1] == {"node_id": 2, "client_address": "node-2:7400"}
    assert view.diagnostics_document() == {"metrics": "some"}
    assert status["pulse"]["changes_per_second"] == []
    assert status["state_hash"] == f"{server.machine.state_hash:08x}"
    log = "".join(view.log_document(10))
    assert "some-key" in log
    assert "secret" not in log
    assert RULES.of("alice").administers


def test_the_membership_is_told_and_where_the_settings_differ() -> None:
    """The replicated addresses come before the settings', and the file's mistakes are named."""
    server = Server(size=1)
    server.become_leader()
    moved = MemberAddresses(Address("moved", 7400), Address("moved", 7401), Address("moved", 7402))
    server.raft.propose_membership(AddVoter(NodeId(4), str(moved)))
    here = MemberAddresses(Address("n1", 7400), Address("n1", 7401), Address("n1", 7402))
    view = view_of(server, members={NodeId(1): here})
    status = json.loads(json.dumps(view.status_document()))
    assert status["membership"] == {
        "index": 2,
        "committed": False,
        "voters": [1],
        "outgoing": [],
        "learners": [4],
        "joining": {"4": None},
        "addresses": {"4": str(moved)},
    }
    assert status["members"] == [
        {"node_id": 1, "client_address": "node-1:7400"},
        {"node_id": 4, "client_address": "moved:7400"},
    ]
    assert status["settings_differ"] == [{"node_id": 4, "difference": "a member, and not in raftd.yaml"}]
    assert view_of(server).status().settings_differ == ()
