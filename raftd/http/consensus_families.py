"""The metrics of consensus: who leads, how far the log is, what became of proposals, reads and snapshots."""

from collections.abc import Iterable
from typing import Final

from raftd.consensus.types import Role
from raftd.http.family import Sample, counter, counter_by, gauge, labelled_gauge
from raftd.http.view import NodeStatus


def _roles(status: NodeStatus) -> Iterable[Sample]:
    return [((role.value,), status.role is role) for role in Role]


def _has_leader(status: NodeStatus) -> bool:
    # A learner hardly ever campaigns, and so names its last leader for ever.
    return status.role is Role.LEADER or (status.leader_id is not None and status.election_timer_seconds > 0)


CONSENSUS_FAMILIES: Final = (
    gauge(
        "raftd_has_leader", "Whether this node leads, or has heard a leader within its election timeout.", _has_leader
    ),
    gauge("raftd_is_leader", "Whether this node leads.", lambda s: s.role is Role.LEADER),
    gauge("raftd_is_learner", "Whether this node is a member that does not vote.", lambda s: s.is_learner),
    labelled_gauge("raftd_role", "1 for the role that this node has.", ("role",), _roles),
    gauge("raftd_voters", "Voters by the membership in force on this node.", lambda s: s.voters),
    gauge("raftd_learners", "Learners by the membership in force on this node.", lambda s: s.learners),
    gauge(
        "raftd_quorum_margin",
        "How many more voters may fail before nothing can be committed; absent where this node does not lead.",
        lambda s: s.quorum_margin,
    ),
    gauge(
        "raftd_leader_contact_age_seconds",
        "How long ago this node heard a leader, or took part in an election; 0 where it leads.",
        lambda s: s.leader_contact_seconds,
    ),
    gauge("raftd_term", "Current term.", lambda s: s.current_term),
    gauge("raftd_commit_index", "Last entry known to be committed.", lambda s: s.commit_index),
    gauge("raftd_applied_index", "Last entry applied to the state machine.", lambda s: s.last_applied),
    gauge("raftd_last_index", "Last entry of the log.", lambda s: s.last_log_index),
    gauge("raftd_stored_index", "Last entry that is on this node's disk.", lambda s: s.stored_index),
    gauge("raftd_state_hash", "Hash of the state as of raftd_state_hash_index.", lambda s: s.compared_hash),
    gauge(
        "raftd_state_hash_index",
        "The entry as of which the state was last compared with that of other nodes; 0: not yet.",
        lambda s: s.compared_index,
    ),
    gauge(
        "raftd_state_diverged",
        "Whether this node's state was found to differ from another node's as of the same entry.",
        lambda s: any(peer.diverged for peer in s.peers),
    ),
    counter_by(
        "outcome",
        "raftd_state_comparisons_total",
        "Comparisons of this node's state with another's as of the same entry.",
        equal=lambda c: c.comparisons_equal,
        different=lambda c: c.comparisons_different,
    ),
    counter("raftd_leader_changes_total", "Changes of the leader that this node saw.", lambda c: c.leader_changes),
    counter(
        "raftd_elections_started_total",
        "Elections that this node started, pre-votes not counted.",
        lambda c: c.elections_started,
    ),
    counter(
        "raftd_log_losses_total",
        "Peers that this node, leading, found to have come back without what they had stored.",
        lambda c: c.log_losses,
    ),
    counter_by(
        "outcome",
        "raftd_proposals_total",
        "Proposals of this node's clients that ended: committed and applied; failed, never in the log; or unknown, "
        "under way when leadership was lost.",
        committed=lambda c: c.proposals_committed,
        failed=lambda c: c.proposals_failed,
        unknown=lambda c: c.proposals_unknown,
    ),
    gauge("raftd_proposals_pending", "Proposals neither committed nor failed yet.", lambda s: s.pending_proposals),
    gauge("raftd_proposals_pending_bytes", "Size of the pending proposals.", lambda s: s.pending_bytes),
    gauge(
        "raftd_proposals_pending_bytes_max",
        "With as many bytes pending, further writes are refused.",
        lambda s: s.pending_bytes_max,
    ),
    counter_by(
        "outcome",
        "raftd_reads_total",
        "Linearizable reads that ended, by how.",
        confirmed=lambda c: c.reads_confirmed,
        refused=lambda c: c.reads_refused,
    ),
    gauge("raftd_reads_pending", "Reads that wait for confirmation.", lambda s: s.pending_reads),
    counter_by(
        "outcome",
        "raftd_snapshots_total",
        "Snapshots that this node made, installed from a leader, or failed at.",
        made=lambda c: c.snapshots_made,
        installed=lambda c: c.snapshots_installed,
        failed=lambda c: c.snapshots_failed,
    ),
    gauge(
        "raftd_snapshot_index",
        "The entry as of which the newest snapshot on the disk is; 0: none.",
        lambda s: s.snapshot.index,
    ),
    gauge(
        "raftd_snapshot_bytes",
        "Size of the state in the newest snapshot made here since the start; 0: none.",
        lambda s: s.snapshot.size_bytes,
    ),
    gauge(
        "raftd_snapshot_last_duration_seconds",
        "How long the latest snapshot took to be made; 0: none yet.",
        lambda s: s.snapshot.last_seconds,
    ),
    gauge(
        "raftd_snapshot_last_success_timestamp_seconds",
        "When a snapshot was last made or installed; absent before the first since the start.",
        lambda s: s.snapshot.succeeded_seconds,
    ),
    gauge(
        "raftd_snapshot_transfers", "Peers to which this node is sending a snapshot.", lambda s: s.snapshot.transfers
    ),
    counter_by(
        "direction",
        "raftd_snapshot_transfer_bytes_total",
        "Bytes of snapshots sent to peers and received from leaders.",
        sent=lambda c: c.snapshot_sent_bytes,
        received=lambda c: c.snapshot_received_bytes,
    ),
)
