"""One node in detail: consensus, disk, loop, links."""

from typing import Final

from raftd_build.dashboards.dashboard import NODES, Dashboard, Row
from raftd_build.dashboards.panel import GREEN, RED, Panel, Query, Shape, Threshold, Unit
from raftd_build.dashboards.queries import by_node, quantile, rate, rate_by_node

_PEER: Final = "{{instance}} to {{peer}}"

_CONSENSUS: Final = Row(
    "Consensus",
    (
        Panel(
            "Role",
            "The role that each node has.",
            [Query(f"raftd_role{{{NODES}}} == 1", "{{instance}} {{role}}")],
            Unit.NONE,
            Shape.STATES,
            mappings=((1, "is", GREEN),),
            alert="RaftdLeaderChanges",
        ),
        Panel(
            "Knows a leader, leads, learns, stops",
            "Whether the node knows a leader, is one, is a learner that catches up, or was told to stop.",
            [
                by_node("raftd_has_leader", "{{instance}} knows a leader"),
                by_node("raftd_is_leader", "{{instance}} leads"),
                by_node("raftd_is_learner", "{{instance}} learns"),
                by_node("raftd_draining", "{{instance}} is stopping"),
            ],
            Unit.NONE,
            alert="RaftdLearnerStays",
        ),
        Panel(
            "Log positions",
            "The last entry of the log, the last on the disk, the last committed and the last applied. Apart for long"
            " means: slow disk (stored), no quorum (committed), slow state machine (applied).",
            [
                by_node("raftd_last_index", "{{instance}} last"),
                by_node("raftd_stored_index", "{{instance}} stored"),
                by_node("raftd_commit_index", "{{instance}} committed"),
                by_node("raftd_applied_index", "{{instance}} applied"),
            ],
            Unit.COUNT,
            alert="RaftdApplyLags",
        ),
        Panel(
            "Proposals",
            "Proposals that ended, by how.",
            [Query(f"sum by (instance, outcome) ({rate('raftd_proposals_total')})", "{{instance}} {{outcome}}")],
            Unit.PER_SECOND,
            alert="RaftdWriteErrorsFast",
        ),
        Panel(
            "Reads",
            "Linearizable reads that ended, by how.",
            [Query(f"sum by (instance, outcome) ({rate('raftd_reads_total')})", "{{instance}} {{outcome}}")],
            Unit.PER_SECOND,
        ),
        Panel(
            "Waiting",
            "Proposals that await their commit, and reads that await the confirmation of the leader.",
            [
                by_node("raftd_proposals_pending", "{{instance}} proposals"),
                by_node("raftd_reads_pending", "{{instance}} reads"),
            ],
            Unit.COUNT,
            alert="RaftdWritesSlow",
        ),
        Panel(
            "Bytes of waiting writes",
            "Size of the proposals that await their commit, and the bound from which on further ones are refused.",
            [
                by_node("raftd_proposals_pending_bytes"),
                by_node("raftd_proposals_pending_bytes_max", "{{instance}} bound"),
            ],
            Unit.BYTES,
            alert="RaftdWritesSlow",
        ),
        Panel(
            "Since a leader was heard",
            "How long ago the node heard its leader, or voted. Beyond an election timeout it starts an election.",
            [by_node("raftd_leader_contact_age_seconds")],
            Unit.SECONDS,
            alert="RaftdNoLeader",
        ),
        Panel(
            "Comparisons of state",
            "Nodes compare their states as of the same entries; `different` is never right.",
            [rate_by_node("raftd_state_comparisons_total", "{{instance}} {{outcome}}")],
            Unit.PER_SECOND,
            alert="RaftdStateDiverged",
        ),
        Panel(
            "Logs lost",
            "Peers that came back without what they had stored, as the leader found: disks that are new or set back.",
            [Query(f"increase(raftd_log_losses_total{{{NODES}}}[15m])", "{{instance}} found")],
            Unit.NONE,
            alert="RaftdLogLost",
        ),
        Panel(
            "State",
            "The hash of each node's state as of the entry that was compared last: equal at equal entries.",
            [by_node("raftd_state_hash", "{{instance}} hash"), by_node("raftd_state_hash_index", "{{instance}} entry")],
            Unit.NONE,
            Shape.NUMBER,
            alert="RaftdStateDiverged",
        ),
    ),
)

_DISK: Final = Row(
    "Disk",
    (
        Panel(
            "fdatasync",
            "Half of the log's syncs, and all but a hundredth. Each write waits for that of a majority.",
            [
                quantile(0.5, "raftd_log_sync_duration_seconds"),
                quantile(0.99, "raftd_log_sync_duration_seconds"),
            ],
            Unit.SECONDS,
            thresholds=(Threshold(0.1, RED),),
            alert="RaftdDiskSlow",
        ),
        Panel(
            "Writing, without the sync",
            "All but a hundredth of the writes to the log.",
            [quantile(0.99, "raftd_log_write_duration_seconds")],
            Unit.SECONDS,
            alert="RaftdDiskSlow",
        ),
        Panel(
            "Oldest unfinished write",
            "How long the oldest write has waited for the disk. Beyond an election timeout a leader hands over.",
            [by_node("raftd_storing_age_seconds")],
            Unit.SECONDS,
            thresholds=(Threshold(2, RED),),
            alert="RaftdDiskStalled",
        ),
        Panel(
            "Batches and entries",
            "Batches written, one fdatasync each, and the entries in them: far apart means that group commit works.",
            [
                rate_by_node("raftd_log_batches_total", "{{instance}} batches"),
                rate_by_node("raftd_log_entries_total", "{{instance}} entries"),
            ],
            Unit.PER_SECOND,
        ),
        Panel(
            "Bytes written to the log",
            "What the log itself writes; the file system adds to it.",
            [rate_by_node("raftd_log_written_bytes_total")],
            Unit.BYTES_PER_SECOND,
        ),
        Panel(
            "Waiting for the log",
            "Entries that wait to be written.",
            [by_node("raftd_log_queued_bytes")],
            Unit.BYTES,
            alert="RaftdDiskStalled",
        ),
        Panel(
            "Room on the disk",
            "What may still be written where the data directory is, of all that may be; the reserve counts as written.",
            [Query(f"raftd_disk_free_bytes{{{NODES}}} / (raftd_disk_size_bytes{{{NODES}}} > 0)", "{{instance}}")],
            Unit.RATIO,
            alert="RaftdDiskSpaceLow",
        ),
        Panel(
            "Full",
            "Whether the disk was found full, so that the reserve is in use.",
            [by_node("raftd_disk_low")],
            Unit.NONE,
            Shape.STATES,
            mappings=((0, "has room", GREEN), (1, "full", RED)),
            alert="RaftdDiskLow",
        ),
    ),
)

_PROCESS: Final = Row(
    "Process",
    (
        Panel(
            "Loop lag",
            "How late the event loop's latest tick was. Heartbeats are as late.",
            [by_node("raftd_loop_lag_seconds")],
            Unit.SECONDS,
            thresholds=(Threshold(0.2, RED),),
            alert="RaftdLoopLate",
        ),
        Panel(
            "Tick delay",
            "All but a thousandth of the loop's ticks came within this time of when they were due.",
            [quantile(0.999, "raftd_tick_delay_duration_seconds")],
            Unit.SECONDS,
            thresholds=(Threshold(0.2, RED),),
            alert="RaftdLoopLate",
        ),
        Panel(
            "Garbage collection",
            "All but a hundredth of the pauses of Python's garbage collector were shorter, by generation.",
            [quantile(0.99, "raftd_gc_pause_duration_seconds", "instance, generation")],
            Unit.SECONDS,
            alert="RaftdLoopLate",
        ),
        Panel(
            "Applying",
            "All but a hundredth of the batches of committed entries were applied within this time.",
            [quantile(0.99, "raftd_apply_duration_seconds")],
            Unit.SECONDS,
            alert="RaftdApplyLags",
        ),
        Panel(
            "Applying one command",
            "All but a hundredth of the commands were applied within this time, by what they do.",
            [quantile(0.99, "raftd_apply_command_duration_seconds", "instance, kind")],
            Unit.SECONDS,
            alert="RaftdApplyLags",
        ),
        Panel(
            "Memory",
            "Resident memory of the process.",
            [by_node("process_resident_memory_bytes")],
            Unit.BYTES,
            alert="RaftdNodeRestarts",
        ),
        Panel(
            "Processor",
            "Cores that the process keeps busy. About one is the most that the event loop can use.",
            [rate_by_node("process_cpu_seconds_total")],
            Unit.NONE,
            alert="RaftdLoopLate",
        ),
        Panel(
            "Scrapes",
            "All but a hundredth of the scrapes took less of the event loop's processor time.",
            [quantile(0.99, "raftd_scrape_duration_seconds")],
            Unit.SECONDS,
            alert="RaftdLoopLate",
        ),
        Panel(
            "Open files",
            "File descriptors in use: one for each connection, and some for log and snapshots.",
            [by_node("process_open_fds")],
            Unit.COUNT,
            alert="RaftdConnectionsNearBound",
        ),
        Panel(
            "Up since",
            "Time since the node started.",
            [by_node("raftd_uptime_seconds")],
            Unit.SECONDS,
            Shape.NUMBER,
            alert="RaftdNodeRestarts",
        ),
    ),
)

_PEERS: Final = Row(
    "Peers",
    (
        Panel(
            "Sent and not answered",
            "Bytes of entries on their way to each peer, while this node leads.",
            [by_node("raftd_peer_in_flight_bytes", _PEER)],
            Unit.BYTES,
            alert="RaftdFollowerLags",
        ),
        Panel(
            "Round trip",
            "Half of the heartbeats of the leader, and all but a hundredth, were answered within this time.",
            [
                quantile(0.5, "raftd_peer_round_trip_duration_seconds", "instance, peer"),
                quantile(0.99, "raftd_peer_round_trip_duration_seconds", "instance, peer"),
            ],
            Unit.SECONDS,
            alert="RaftdLeaderChanges",
        ),
        Panel(
            "Traffic",
            "Bytes of messages sent to each peer and received from it.",
            [
                rate_by_node("raftd_peer_sent_bytes_total", f"{_PEER} sent"),
                rate_by_node("raftd_peer_received_bytes_total", f"{_PEER} received"),
            ],
            Unit.BYTES_PER_SECOND,
        ),
        Panel(
            "Since the peer was heard",
            "How long ago the leader heard each peer. Beyond an election timeout it does not count for its quorum.",
            [by_node("raftd_peer_contact_age_seconds", _PEER)],
            Unit.SECONDS,
            alert="RaftdPeerUnreachable",
        ),
        Panel(
            "Lost and vain connections",
            "Links that were lost, and attempts to reach a peer that failed.",
            [
                rate_by_node("raftd_peer_disconnects_total", f"{_PEER} lost"),
                rate_by_node("raftd_peer_connect_failures_total", f"{_PEER} in vain"),
            ],
            Unit.PER_SECOND,
            alert="RaftdPeerUnreachable",
        ),
        Panel(
            "Peers whose state differs",
            "Whether a peer was found to hold another state than this node as of the same entry.",
            [by_node("raftd_peer_state_diverged", _PEER)],
            Unit.NONE,
            Shape.STATES,
            mappings=((0, "same", GREEN), (1, "differs", RED)),
            alert="RaftdStateDiverged",
        ),
        Panel(
            "Queued",
            "Frames that wait for the peer's socket, and the bound from which on messages are dropped.",
            [
                by_node("raftd_peer_queued_bytes", _PEER),
                by_node("raftd_peer_queued_bytes_max", f"{_PEER} bound"),
            ],
            Unit.BYTES,
            alert="RaftdMessagesDropped",
        ),
        Panel(
            "Dropped",
            "Messages to peers that were not connected, or whose queue was full. Raft repeats them.",
            [rate_by_node("raftd_messages_dropped_total")],
            Unit.PER_SECOND,
            alert="RaftdMessagesDropped",
        ),
        Panel(
            "How peers are fed",
            "Probing, replicating, or sending a snapshot; known to the leader only.",
            [Query(f"raftd_peer_state{{{NODES}}} == 1", "{{instance}} to {{peer}}: {{state}}")],
            Unit.NONE,
            Shape.STATES,
            mappings=((1, "is", GREEN),),
            alert="RaftdFollowerLags",
        ),
        Panel(
            "Stored by peers",
            "The last entry that each peer is known to have stored, as the leader sees it.",
            [by_node("raftd_peer_match_index", _PEER)],
            Unit.COUNT,
            alert="RaftdFollowerLags",
        ),
        Panel(
            "Clocks",
            "How far this node's time of day is ahead of its peer's.",
            [by_node("raftd_clock_difference_seconds", _PEER)],
            Unit.SECONDS,
            thresholds=(Threshold(1, RED),),
            alert="RaftdClockApart",
        ),
    ),
)

_SNAPSHOTS: Final = Row(
    "Snapshots",
    (
        Panel(
            "Snapshots",
            "Snapshots that were made, installed from a leader, or failed at.",
            [Query(f"sum by (instance, outcome) ({rate('raftd_snapshots_total')})", "{{instance}} {{outcome}}")],
            Unit.PER_SECOND,
            alert="RaftdSnapshotsFail",
        ),
        Panel(
            "Entries since the newest",
            "What a restart has to replay.",
            [Query(f"raftd_applied_index{{{NODES}}} - raftd_snapshot_index{{{NODES}}}", "{{instance}}")],
            Unit.COUNT,
            alert="RaftdSnapshotsFail",
        ),
        Panel(
            "Size",
            "Size of the state in the newest snapshot that the node has made since its start.",
            [by_node("raftd_snapshot_bytes")],
            Unit.BYTES,
        ),
        Panel(
            "Duration",
            "How long the latest snapshot took. The node serves meanwhile.",
            [by_node("raftd_snapshot_last_duration_seconds")],
            Unit.SECONDS,
            alert="RaftdSnapshotsFail",
        ),
        Panel(
            "Under way to peers",
            "Peers to which the node is sending a snapshot, since its log does not hold what they lack.",
            [by_node("raftd_snapshot_transfers")],
            Unit.COUNT,
            alert="RaftdFollowerLags",
        ),
        Panel(
            "Bytes to and from peers",
            "Bytes of snapshots sent and received.",
            [rate_by_node("raftd_snapshot_transfer_bytes_total", "{{instance}} {{direction}}")],
            Unit.BYTES_PER_SECOND,
            alert="RaftdFollowerLags",
        ),
        Panel(
            "Newest snapshot",
            "When the node made or installed a snapshot last; nothing before the first since its start.",
            [Query(f"raftd_snapshot_last_success_timestamp_seconds{{{NODES}}} * 1000", "{{instance}}")],
            Unit.MOMENT,
            Shape.NUMBER,
            no_value="none since the start",
            alert="RaftdSnapshotsFail",
        ),
    ),
)

NODE: Final = Dashboard(
    "raftd-node",
    "raftd / node",
    "One node in detail: its part in consensus, its disk, its event loop, its links to the others.",
    (_CONSENSUS, _DISK, _PROCESS, _PEERS, _SNAPSHOTS),
)
