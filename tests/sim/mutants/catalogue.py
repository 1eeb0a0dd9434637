"""Bugs put back in: each a small change of the code as it is shipped, which the simulator must notice.

A mutant names the text that it replaces; when that text is not there exactly once, the mutant no longer applies, and
that is an error: a mutant that changes nothing proves nothing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class Mutant:
    """One bug."""

    name: str
    what: str
    path: str
    """Below the package."""
    old: str
    new: str

    def apply(self, package: Path) -> None:
        """Change the source of a copy of the package.

        Raises:
            LookupError: the text to replace is not there exactly once.
        """
        path = package / self.path
        source = path.read_text()
        count = source.count(self.old)
        if count != 1:
            raise LookupError(f"mutant {self.name} does not apply: {self.path} holds its text {count} times, not once")
        path.write_text(source.replace(self.old, self.new))


MUTANTS: Final = (
    # Elections (Figure 2, RequestVote; §5.2, §5.4.1).
    Mutant(
        "vote_not_persisted",
        "the vote is not stored, only the term",
        "consensus/node.py",
        "return HardState(self.current_term, self.voted_for)",
        "return HardState(self.current_term, None)",
    ),
    Mutant(
        "vote_said_before_stored",
        "a granted vote leaves before it is on disk",
        "consensus/election.py",
        "node.send_after_stored(sender, RequestVoteReply(node.current_term, True))",
        "node.send(sender, RequestVoteReply(node.current_term, True))",
    ),
    Mutant(
        "campaign_before_stored",
        "a candidate asks for votes before its own is on disk",
        "consensus/election.py",
        "node.send_after_stored(voter, request)",
        "node.send(voter, request)",
    ),
    Mutant(
        "two_votes_in_a_term",
        "whoever asks gets a vote, given already or not",
        "consensus/election.py",
        "return self._node.voted_for in (None, candidate)",
        "return True",
    ),
    Mutant(
        "vote_kept_in_new_term",
        "a new term does not free the vote",
        "consensus/election.py",
        "            node.voted_for = None\n",
        "",
    ),
    Mutant(
        "old_votes_counted",
        "a vote of an older term counts in this one",
        "consensus/dispatch.py",
        "        if message.term < node.current_term:\n",
        "        if message.term < node.current_term and not isinstance(message, RequestVoteReply):\n",
    ),
    Mutant(
        "votes_not_cleared",
        "votes of the last election count in the next",
        "consensus/election.py",
        "        self._votes.clear()\n",
        "",
    ),
    Mutant(
        "election_restriction_off",
        "a vote for any log, however old",
        "consensus/log.py",
        "return (last_log_term, last_log_index) >= (self.last_term, self.last_index)",
        "return True",
    ),
    Mutant(
        "longer_log_wins",
        "logs are compared by length, not by last term",
        "consensus/log.py",
        "return (last_log_term, last_log_index) >= (self.last_term, self.last_index)",
        "return last_log_index >= self.last_index",
    ),
    Mutant(
        "majority_of_half",
        "two of four are a majority in an election",
        "consensus/quorum.py",
        "return len(voters & nodes) > len(voters) // 2",
        "return len(voters & nodes) >= max(1, len(voters) // 2)",
    ),
    Mutant(
        "check_quorum_off",
        "a leader that hears nobody goes on leading",
        "consensus/raft.py",
        "if not self._replication.hears_quorum():",
        "if False:",
    ),
    # Replication (Figure 2, AppendEntries; §5.3, §5.4.2).
    Mutant(
        "half_commits",
        "an entry on two of four nodes is committed",
        "consensus/quorum.py",
        "reverse=True)[len(voters) // 2]",
        "reverse=True)[(len(voters) - 1) // 2]",
    ),
    Mutant(
        "old_term_committed_by_counting",
        "an entry of an older term is committed by counting copies (Figure 8)",
        "consensus/replication.py",
        "if index > node.commit_index and node.log.term_at(index) == node.current_term:",
        "if index > node.commit_index:",
    ),
    Mutant(
        "leader_counts_itself_before_stored",
        "the leader's own copy counts before it is on disk",
        "consensus/replication.py",
        "reached[node.node_id] = node.storing.stored_index",
        "reached[node.node_id] = node.log.last_index",
    ),
    Mutant(
        "accepted_before_stored",
        "a follower accepts entries before they are on disk",
        "consensus/follower.py",
        "node.send_after_stored(leader_id, AppendEntriesReply(",
        "node.send(leader_id, AppendEntriesReply(",
    ),
    Mutant(
        "always_truncates",
        "a delayed AppendEntries cuts off what came after it",
        "consensus/follower.py",
        "            return entries[overlap:]\n",
        "            return entries\n",
    ),
    Mutant(
        "previous_entry_not_checked",
        "entries are appended behind whatever is there",
        "consensus/follower.py",
        "if node.log.term_at(prev_index) != prev_term:",
        "if node.log.term_at(prev_index) is None:",
    ),
    Mutant(
        "commits_what_leader_did_not_send",
        "a follower commits up to its own last entry, not the leader's (step 5)",
        "consensus/follower.py",
        "node.commit_to(min(message.leader_commit, match_index))",
        "node.commit_to(min(message.leader_commit, node.log.last_index))",
    ),
    Mutant(
        "accepts_its_whole_log",
        "a follower claims to match up to its own last entry",
        "consensus/follower.py",
        "AppendEntriesReply(node.current_term, True, match_index, NO_INDEX, NO_TERM)",
        "AppendEntriesReply(node.current_term, True, node.log.last_index, NO_INDEX, NO_TERM)",
    ),
    Mutant(
        "match_goes_back",
        "a late answer moves match_index back",
        "consensus/progress.py",
        "is_news = match_index > self.match_index",
        "is_news = match_index != self.match_index",
    ),
    Mutant(
        "heartbeat_commits_too_far",
        "a heartbeat's commit index is not cut to what the peer has acknowledged",
        "consensus/replication.py",
        "commit = min(node.commit_index, progress.confirmed_index)",
        "commit = node.commit_index",
    ),
    Mutant(
        "lost_appends_not_noticed",
        "a leader never asks after what it has no answer to",
        "consensus/progress.py",
        "        if self._doubtful_intervals < 2:\n",
        "        if self._doubtful_intervals < 1 << 60:\n",
    ),
    Mutant(
        "stored_forgets_truncation",
        "an acknowledgement counts entries that were replaced meanwhile (A-B-A)",
        "consensus/storing.py",
        "            batch.agreed_index = min(batch.agreed_index, kept)\n",
        "            pass\n",
    ),
    Mutant(
        "conflicting_entries_kept",
        "entries that conflict with the leader's are kept",
        "consensus/follower.py",
        "        if overlap > 0 and log.term_at(entries[overlap - 1][0]) == entries[overlap - 1][1]:\n",
        "        if overlap > 0:\n",
    ),
    # Reads (thesis §6.4).
    Mutant(
        "read_without_quorum",
        "a leader answers reads without asking whether it still leads",
        "consensus/reads.py",
        "confirmed_round = self._replication.confirmed_round()",
        "confirmed_round = self._replication.round",
    ),
    Mutant(
        "read_before_own_commit",
        "a new leader reads by a commit index that may be old",
        "consensus/reads.py",
        "return bool(self._waiting) and self._node.has_committed_in_term",
        "return bool(self._waiting)",
    ),
    Mutant(
        "reads_outlive_their_leader",
        "reads that wait are not refused when the role changes",
        "consensus/election.py",
        "        self._reads.refuse_all()\n",
        "",
    ),
    Mutant(
        "old_round_confirms_reads",
        "the answer to an old term's heartbeat names its round",
        "consensus/dispatch.py",
        "node.send(sender, HeartbeatReply(node.current_term, 0))",
        "node.send(sender, HeartbeatReply(node.current_term, message.round))",
    ),
    Mutant(
        "read_before_applied",
        "a confirmed read is answered before its index is applied",
        "node/requests.py",
        "if self._machine.last_applied >= read_index:",
        "if True:",
    ),
    # Sessions (thesis §6.3).
    Mutant(
        "dedup_off",
        "a repeated command is applied again",
        "kv/machine.py",
        "if remembered is not None:",
        "if False:",
    ),
    Mutant(
        "forgotten_sequence_applied",
        "a duplicate of what the client has an answer to is applied again",
        "kv/sessions.py",
        "if sequence < session.first_unanswered:",
        "if False:",
    ),
    Mutant(
        "answers_forgotten_early",
        "the first unanswered sequence's answer is forgotten with those before it",
        "kv/sessions.py",
        "range(session.first_unanswered, first_unanswered)",
        "range(session.first_unanswered, first_unanswered + 1)",
    ),
    Mutant(
        "session_expires_early",
        "a session is not given the interval in which the clock stands still",
        "kv/sessions.py",
        "return session.last_active_ms + session.ttl_ms + self._limits.advance_ms_max",
        "return session.last_active_ms + session.ttl_ms",
    ),
    Mutant(
        "clock_counts_others_time",
        "a new leader counts time since before it led",
        "node/session_clock.py",
        "            self._counted_until = now\n        elapsed",
        "        elapsed",
    ),
    Mutant(
        "compare_ignored",
        "a conditional write does not look at the revision",
        "kv/machine.py",
        "if modify_revision != expected_revision:",
        "if False:",
    ),
    Mutant(
        "answer_to_the_wrong_request",
        "writes of a lost leadership stay pending and take others' answers",
        "node/requests.py",
        "        pending, self._pending = self._pending, deque()\n",
        "        pending = deque()  # type: ignore[var-annotated]  # a mutant\n",
    ),
    # The disk.
    Mutant(
        "no_sync",
        "a batch is acknowledged without an fdatasync",
        "storage/writer.py",
        "        self._log.sync()\n",
        "",
    ),
    Mutant(
        "directory_not_synced",
        "a segment's name is not made durable",
        "storage/segment.py",
        "        self._filesystem.sync_directory(self.path)\n",
        "        pass\n",
    ),
    Mutant(
        "identity_not_synced",
        "the identity's name is not made durable",
        "storage/data_directory.py",
        "_identity_path, self._identity_path)\n            self.filesystem.sync_directory(self.path)\n",
        "_identity_path, self._identity_path)\n",
    ),
    Mutant(
        "torn_payload_accepted",
        "a batch's payload checksum is not compared",
        "storage/recovery.py",
        "            crc32(payload, salt) != header.payload_crc\n            or ",
        "            ",
    ),
    Mutant(
        "sync_tried_again",
        "after a failed fdatasync another one is believed",
        "storage/log.py",
        "                self._file.sync()\n",
        "                try:\n                    self._file.sync()\n                except OSError:\n"
        "                    self._file.sync()\n",
    ),
    Mutant(
        "disk_error_ignored",
        "a failed write or sync is passed over",
        "storage/log.py",
        '            raise StorageError(f"{self._path}: {self._doing}: {reason}") from error\n',
        "            self.closed = False\n            return True\n",
    ),
    Mutant(
        "last_batch_not_rewritten",
        "recovery trusts what it could read, though it was never synced",
        "storage/recovery.py",
        "    if last_batch < position:\n",
        "    if False:\n",
    ),
    Mutant(
        "replaced_entries_recovered",
        "recovery keeps what a later batch replaced",
        "storage/recovery.py",
        "            del self.entries[max(0, first_index - self.first_index) :]\n",
        "            entries = entries[len(self.entries) - first_index + self.first_index :]\n",
    ),
    Mutant(
        "damage_taken_for_a_tear",
        "whatever is wrong at the end is cut off as torn",
        "storage/recovery.py",
        '    raise damaged(path, position, f"the payload of batch {header.sequence} is not what was written")\n',
        "    return end\n",
    ),
    Mutant(
        "replaced_group_joined",
        "a group joins entries that replace some of its own",
        "storage/writer.py",
        "                or (next_index is not None and submission.first_index not in {None, next_index})\n",
        "",
    ),
    # The driver.
    Mutant(
        "promises_before_stored",
        "messages that wait for the disk leave with the others",
        "node/driver.py",
        "        self._send(ready.messages)\n",
        "        self._send(ready.messages + ready.messages_after_stored)\n",
    ),
    Mutant(
        "stale_batch_sent",
        "an encoded batch is found by its indexes alone",
        "node/driver.py",
        "        key = (entries[0][0], entries[-1][0], entries[-1][1])\n",
        "        key = (entries[0][0], entries[-1][0], Term(0))\n        self._batches.setdefault(key, "
        "next((batch for (one, two, _), batch in self._batches.items() if (one, two) == key[:2]), "
        "encode_entries(entries)))\n",
    ),
    # Snapshots (§7) and what they let go of.
    Mutant(
        "compact_beyond_snapshot",
        "the log is compacted up to what is applied, whatever the snapshot holds",
        "node/snapshots.py",
        "index = min(metadata.last_included_index, raft.last_applied)",
        "index = raft.last_applied",
    ),
    Mutant(
        "stale_membership_after_install",
        "an installed snapshot does not bring its membership",
        "consensus/node.py",
        "self.memberships.reset(index, snapshot.membership, self.commit_index)",
        "self.memberships.reset(index, self.memberships.current, self.commit_index)",
    ),
    Mutant(
        "log_kept_over_divergent_snapshot",
        "a log that reaches the snapshot's end is kept, whatever its term there",
        "consensus/node.py",
        "if self.log.term_at(index) == term:",
        "if self.log.last_index >= index:",
    ),
    Mutant(
        "log_base_not_stored",
        "the log on disk is not told that a snapshot took its place",
        "consensus/storing.py",
        "        self._log_base = base_index, base_term\n",
        "",
    ),
    Mutant(
        "loaded_state_not_used",
        "an installed snapshot does not take the state machine's place",
        "node/transfers.py",
        "            self._machine.become(loaded)\n",
        "",
    ),
    Mutant(
        "snapshot_without_answers",
        "a snapshot is loaded without the answers that sessions remember",
        "kv/snapshot_loader.py",
        "            self._sessions.remember(session, sequence, data[start:end])\n",
        "",
    ),
    Mutant(
        "newest_snapshot_pruned",
        "the oldest snapshots are kept",
        "storage/snapshots.py",
        "for path in self._paths()[:-keep]:",
        "for path in self._paths()[keep:]:",
    ),
    Mutant(
        "snapshot_name_not_synced",
        "a snapshot's name is not made durable",
        "storage/snapshot_writing.py",
        "            self._filesystem.sync_directory(self._path.parent)\n",
        "            pass\n",
    ),
    Mutant(
        "snapshot_not_synced",
        "a snapshot gets its name before its contents are durable",
        "storage/snapshot_writing.py",
        "            file.sync()\n            self._filesystem.rename",
        "            self._filesystem.rename",
    ),
    # Membership (§6, thesis §4), transfers (thesis §3.10) and leases (thesis §6.4.1).
    Mutant(
        "joint_commit_by_one_majority",
        "a joint membership commits by the new voters alone",
        "consensus/quorum.py",
        "    if membership.outgoing:\n        value",
        "    if not membership.voters:\n        value",
    ),
    Mutant(
        "joint_election_by_one_majority",
        "a joint membership elects by the new voters alone",
        "consensus/quorum.py",
        "not membership.outgoing or _is_majority(membership.outgoing, nodes)",
        "True",
    ),
    Mutant(
        "learner_counted",
        "who has the log counts for a commit, voter or not",
        "consensus/quorum.py",
        "for voter in voters], reverse",
        "for voter in {*voters, *reached}], reverse",
    ),
    Mutant(
        "second_change_admitted",
        "a change begins before the last one is committed",
        "consensus/reconfiguration.py",
        "        if node.memberships.index > node.commit_index:\n            return RefusalReason.CHANGE_RUNS\n",
        "",
    ),
    Mutant(
        "membership_not_rolled_back",
        "a membership stays in force when its entry is replaced",
        "consensus/node.py",
        "        self.memberships.truncate(first_removed)\n",
        "",
    ),
    Mutant(
        "simple_change_of_many",
        "voters change without a joint membership",
        "consensus/change_rules.py",
        "    if target.voters == membership.voters:\n        return target\n    leaving",
        "    if target.voters:\n        return target\n    leaving",
    ),
    Mutant(
        "unproven_nodes_vote",
        "nodes with a new disk vote as all others do",
        "consensus/proof.py",
        "return node.unproven == request.unproven or request.unanimous",
        "return True",
    ),
    Mutant(
        "lease_not_shortened_by_drift",
        "a lease is as long as an election timeout, whatever clocks do",
        "consensus/lease.py",
        "int((limits.election_timeout_ticks - 2) / (1 + limits.clock_drift))",
        "limits.election_timeout_ticks - 2",
    ),
    Mutant(
        "lease_outlives_a_pause",
        "a process that stood still reads by the lease that it had before",
        "node/driver.py",
        "self.raft.request_read(self._overdue_ticks())",
        "self.raft.request_read()",
    ),
    Mutant(
        "lease_not_guarded",
        "nodes vote although a leader may rely on its lease",
        "consensus/election.py",
        "            node.limits.lease_reads\n            and node.current_term > 0",
        "            node.limits.no_lead\n            and node.current_term > 0",
    ),
    Mutant(
        "lease_survives_a_transfer",
        "a leader that has told another one to campaign reads by its lease",
        "consensus/lease.py",
        "if node.transfer_target is not None or self._transfer.told_term == node.current_term:",
        "if node.limits.no_lead:",
    ),
    Mutant(
        "transfer_without_catching_up",
        "whoever is handed over to is told before it has the log",
        "consensus/transfer.py",
        "progress is not None and progress.match_index == node.log.last_index",
        "progress is not None",
    ),
)
