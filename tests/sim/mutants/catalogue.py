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
)
