"""Bugs of sessions, disks, snapshots and the driver."""

from typing import Final

from tests.sim.mutants.mutant import Mutant

MUTANTS: Final = (
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
        "node/batches.py",
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
        "            remains = self._machine.become(loaded)\n",
        "            remains = loaded.let_go()\n",
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
        "            for path in self._paths()[:-keep]:\n"
        "                if path == durable:\n"
        "                    continue\n",
        "            for path in self._paths()[keep:]:\n",
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
)
