"""What must happen in some run, for the runs to mean anything.

A simulator whose faults never meet finds nothing and says so to nobody. So each situation that is worth having has a
name here and is counted where it occurs; a long campaign in which one never occurred has failed.
"""

from collections import Counter
from typing import Final

EVENTS: Final[dict[str, str]] = {
    "states_compared": "a node compared its state with another's as of the same entry",
    "several_candidates": "an election had two candidates of one term",
    "split_vote": "a term ended without a leader",
    "leader_deposed": "a leader stepped down for a newer term",
    "leader_without_quorum_steps_down": "check-quorum ended a leadership",
    "leader_crashes": "a leader crashed",
    "all_down": "no process ran",
    "majority_down": "a majority was down at once",
    "commit_with_minority_down": "an entry was committed while a node was down",
    "commit_in_partition": "an entry was committed while links were cut",
    "old_term_committed_indirectly": "an entry was committed by a leader of a later term",
    "suffix_replaced": "a follower gave up entries for its leader's",
    "long_suffix_replaced": "a follower gave up five entries or more at once",
    "uncommitted_lost": "an entry that was in a leader's log never got committed",
    "refused_append": "a follower refused AppendEntries",
    "log_behind_catches_up": "a node came from thirty entries behind to the last committed one",
    "vote_refused_for_old_log": "a vote was refused to a candidate",
    "group_commit": "one write stored several submissions",
    "stored_after_role_changed": "a disk finished for a node whose term had changed meanwhile",
    "torn_write": "a power cut left a part of a write",
    "unsynced_write_survives": "a power cut left a write whole that was never synced",
    "unsynced_write_lost": "a power cut took a write that was never synced",
    "segment_rotated": "a log began a new segment",
    "restart_with_torn_tail": "a log was recovered with a torn tail cut",
    "damaged_log_refused": "a node refused to start with a damaged log",
    "disk_error_ends_process": "a failed write or sync ended a process",
    "disk_full_ends_process": "a full disk ended a process",
    "reserve_used": "a full disk took the reserve instead of the process",
    "disk_hung": "a disk hung for longer than an election timeout",
    "process_paused_long": "a process stood still for longer than an election timeout",
    "paused_leader_replaced": "a leader came back from a pause into a newer term",
    "vote_before_crash_kept": "a node remembered its vote over a restart",
    "same_bytes_applied_once": "a repeated command was answered from the session",
    "outcome_unknown": "a client was told that its write may or may not happen",
    "answer_after_leader_change": "a write was answered by another leader than the one it was first sent to",
    "compare_failed": "a conditional write found another revision",
    "read_refused": "a read could not be confirmed",
    "read_waits_for_noop": "a read came to a leader that had committed nothing in its term",
    "session_expired": "a session expired",
    "session_full": "a session had too many writes under way",
    "clock_advanced": "a leader advanced the cluster's clock",
    "message_duplicated": "a frame arrived twice",
    "message_overtaken": "a frame arrived before one that was sent earlier",
    "stale_term_message": "a message of an older term arrived",
    "link_reset": "a link was reset with frames under way",
    "healed_quorum_commits": "a healed quorum committed in time",
    "crash_while_sending": "a process ended in the middle of sending",
    "crash_while_storing": "a process ended in the middle of a write",
    "applied_in_several_turns": "entries that were committed together were not all applied in one turn",
    "crash_while_applying": "a process ended between two applied entries",
    "crash_before_answer": "a process ended with an answer on its lips",
    "commit_in_joint_membership": "an entry was committed in a joint membership",
    "leader_removes_itself": "a leader committed its own removal",
    "learner_promoted": "a learner became a voter",
    "membership_rolled_back": "a membership that was not committed was replaced",
    "snapshot_installed": "a follower installed a snapshot",
    "snapshot_over_divergent_log": "a snapshot replaced a log that had diverged",
    "restart_from_snapshot": "a node started from a snapshot",
    "leadership_transferred": "TimeoutNow elected its receiver",
    "lease_read_refused": "a lease had run out",
    "follower_read": "a follower answered a linearizable read",
    "membership_change_refused": "a leader refused to change the membership",
    "lease_read": "a leader answered a read by its lease alone",
    "stalled_disk_hands_over": "a leader with a hung disk gave up its leadership",
    "segment_removed": "a part of the log on disk was compacted away",
    "removed_node_stops": "a node learned of its removal and stopped",
    "wiped_node_proven": "a node whose disk was lost has caught up",
    "disk_wiped": "a node lost its whole disk",
    "new_disk_doubted": "a leader counted nothing that a node on a new disk said",
    "new_disk_meets_old_leader": "that leader had been replaced already, with the help of what the node forgot",
    "left_behind": "a voter that had not heard of its removal met one that went on without it, on a new disk",
    "alone_with_half_a_log": "a node on a new disk was cut off when its log said that it votes alone",
    "left_behind_with_half_a_log": "a node on a new disk that knew half met a voter that had not heard of its removal",
    "half_told": "a node on a new disk was cut off when its log said that it is one of two voters",
    "half_told_meets_new_disk": "one that was removed while its log was half there met another new disk",
    "graceful_stop": "a leader handed over before it stopped",
    "snapshot_transfer_resumed": "a snapshot went on after a reset link",
    "clock_difference_told": "a heartbeat told how far two clocks are apart",
    "older_version_spoken": "a node and one of an older release agreed on what both speak",
    "node_upgraded": "a node came back that speaks a newer version",
    "node_downgraded": "a node came back that speaks only an older version",
    "grown_to_five": "a cluster that began smaller had five voters",
    "shrunk_to_one": "a cluster that once had three voters or more had one left",
    "transaction_else": "a transaction took its second list, since a compare was false",
    "transaction_refused": "a write with an operation that could not be done was refused as a whole",
    "write_fenced": "a write came with a fencing token that was no longer the lock's",
    "put_on_lost_lease": "a key was to be put on a lease that was over",
    "page_after_leader_change": "a page of an earlier revision was read after another leader had come",
    "page_compacted": "the state that a page was to show was no longer held",
    "lease_kept_alive": "a keep-alive was confirmed",
    "lease_lost": "a holder gave up a lease since no keep-alive was confirmed in time",
    "lease_expired": "a leader let a lease expire",
    "lease_expired_after_leader_change": "a lease expired that was granted under an earlier leader",
    "watch_resumed": "a watch went on at the same node",
    "watch_resumed_on_another_node": "a watch went on at another node",
    "watch_resumed_after_leader_change": "a watch went on when another leader had come",
    "watch_resumed_within_a_revision": "a watch went on where a part of a revision had been told",
    "revision_told_in_parts": "a revision was told in more than one frame",
    "watch_stalled": "a watch was told nothing, since its client had read too little",
    "watch_compacted": "a watch ended, since what came next was no longer held",
    "watch_of_the_future": "a watch was to begin at a revision that was to come",
    "watch_ended_by_stopping_node": "a node that stopped ended its watches",
}


class Sometimes:
    """Counts of one run."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(self, name: str) -> None:
        """`name` happened."""
        if name not in EVENTS:
            raise KeyError(f"{name} is not among the events that are counted")
        self.counts[name] += 1


def never_happened(counts: Counter[str]) -> list[str]:
    """Give the events that a campaign has missed."""
    return [name for name in EVENTS if not counts[name]]


def table(runs_with: Counter[str], counts: Counter[str], runs: int) -> str:
    """Show how often each event happened, rarest last."""
    width = max(map(len, EVENTS))
    rows = sorted(EVENTS, key=lambda name: (-runs_with[name], name))
    lines = [f"{'sometimes':{width}}  {'seeds':>7}  {'%':>6}  {'times':>9}"]
    lines += [
        f"{name:{width}}  {runs_with[name]:7}  {100 * runs_with[name] / max(runs, 1):6.2f}  {counts[name]:9}"
        for name in rows
    ]
    return "\n".join(lines)
