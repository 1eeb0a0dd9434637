"""Bugs of watches, leases and transactions."""

from typing import Final

from tests.sim.mutants.mutant import Mutant

MUTANTS: Final = (
    # Watches: the log's own order, without a gap and without a repetition.
    Mutant(
        "watch_skips_a_revision",
        "a watch that begins in the past leaves out the first revision",
        "node/watches.py",
        "self._leave_feed(watch, (after, 0), is_partial=False)",
        "self._leave_feed(watch, (after + 1, 0), is_partial=False)",
    ),
    Mutant(
        "watch_repeats_a_revision",
        "a watch that goes on is told the last revision again",
        "node/watches.py",
        "self._leave_feed(watch, (after, 0), is_partial=False)",
        "self._leave_feed(watch, (max(after - 1, self._machine.history.compacted_revision), 0), is_partial=False)",
    ),
    Mutant(
        "watch_splits_a_transaction",
        "a frame that ends in the middle of a revision does not say so",
        "node/watch_feed.py",
        "is_partial = end[1] > 0 and last_revision == end[0] + 1",
        "is_partial = False",
    ),
    Mutant(
        "watch_repeats_a_part",
        "a client that goes on within a revision takes what it has had already",
        "client/watch_position.py",
        "self._skip = self._partial_count if self._partial_revision == revision + 1 else 0",
        "self._skip = 0",
    ),
    Mutant(
        "watch_loses_what_is_too_much",
        "changes that a feed has no room for are dropped, and not read from the history",
        "node/watches.py",
        "                    feed.pending = None\n        self._matched",
        "                    pending.clear()\n        self._matched",
    ),
    Mutant(
        "watch_marks_too_much",
        "a progress mark says what the node has applied, told or not",
        "node/watches.py",
        "revision = (self._start_of(feed) if watch.position is None else watch.position)[0]",
        "revision = self._machine.revision",
    ),
    Mutant(
        "watch_does_not_see_compaction",
        "a watch goes on over changes that are no longer held",
        "node/watches.py",
        "        if position[0] < history.compacted_revision:\n            self._end(watch, WatchEndReason.COMPACTED)\n"
        "            return\n",
        "",
    ),
    Mutant(
        "watch_compacted_too_soon",
        "a watch that begins right behind what was let go of is refused",
        "node/watches.py",
        "elif after < compacted:",
        "elif after <= compacted:",
    ),
    Mutant(
        "watch_not_confirmed",
        "a watch begins at whatever the node has applied, without asking for a read index",
        "node/gateway.py",
        "self._requests.queue_read(connection, request_id, WatchQuestion(self._watches, watch))",
        "self._requests.queue_question(connection, request_id, WatchQuestion(self._watches, watch))",
    ),
    Mutant(
        "watches_share_too_much",
        "watches that want previous values share a feed with those that do not",
        "node/watch_feed.py",
        "_CONTENT: Final = WatchFlag.PREVIOUS | WatchFlag.NO_PUTS",
        "_CONTENT: Final = WatchFlag.NO_PUTS",
    ),
    Mutant(
        "stalled_watch_loses_a_round",
        "a watch whose client reads too slowly goes on behind the round that it was not told",
        "node/watches.py",
        "                self._leave_feed(watch, feed.base, is_partial=feed.is_partial)\n"
        "                self._stall(watch)\n",
        "                self._leave_feed(watch, piece.end, is_partial=piece.is_partial)\n"
        "                self._stall(watch)\n",
    ),
    Mutant(
        "watches_starve_their_feed",
        "a feed tells nobody in a turn that those who wait for it have used up",
        "node/watches.py",
        "            watch = todo[feed.told]\n",
        "            if self._work >= work_max:\n                return\n            watch = todo[feed.told]\n",
    ),
    # Leases: ended by the log alone, and not before their time.
    Mutant(
        "lease_by_an_old_leadership",
        "a node that leads again counts leases from when it led before",
        "node/lease_clock.py",
        "            self._deadlines.clear()\n            self._heap.clear()\n            self._expiring.clear()\n"
        "            self._newest = LeaseId(0)\n",
        "            self._expiring.clear()\n",
    ),
    Mutant(
        "lease_ends_in_a_pause",
        "a leader that stood still counts that time against all leases",
        "node/lease_keeper.py",
        "            self._clock.pause(late_seconds)\n",
        "            pass\n",
    ),
    Mutant(
        "lease_kept_alive_without_quorum",
        "a leader that may be deposed confirms keep-alives",
        "node/gateway.py",
        "            answer = partial(self._keeper.keep_alive, lease_ids, connection.user)\n"
        "            question = LeaderQuestion(answer, self.admission.elsewhere, is_urgent=True)\n"
        "            self._requests.queue_quorum_read(connection, request_id, question)\n",
        "            answer = partial(self._keeper.keep_alive, lease_ids, connection.user)\n"
        "            question = LeaderQuestion(answer, self.admission.elsewhere, is_urgent=True)\n"
        "            self._requests.queue_question(connection, request_id, question)\n",
    ),
    Mutant(
        "lease_kept_alive_when_over",
        "a lease whose expiry is proposed is kept alive",
        "node/lease_clock.py",
        "if lease is None or lease.user != user or lease_id in self._expiring:",
        "if lease is None or lease.user != user:",
    ),
    Mutant(
        "lease_takes_keys_that_left_it",
        "a key that was written without the lease still ends with it",
        "kv/machine.py",
        "            self.leases.detach(previous[3], key)\n",
        "            pass\n",
    ),
    Mutant(
        "lease_forgets_keys_over_a_snapshot",
        "a lease that comes with a snapshot has no keys",
        "kv/snapshot_loader.py",
        "                self._attach(lease, key)\n",
        "                pass\n",
    ),
    # Transactions: all or nothing, in one step.
    Mutant(
        "transaction_half_done",
        "what a refused write has done up to there is kept",
        "kv/machine.py",
        "            revision = self._store.revision\n            if refused",
        "            self._commit(draft.changes(), (False, wall_clock_ms, session.user, session.address))\n"
        "            revision = self._store.revision\n            if refused",
    ),
    Mutant(
        "transaction_by_any_compare",
        "one compare that is true is enough",
        "kv/execution.py",
        "succeeded = all(map(self._holds, transaction.compares))",
        "succeeded = not transaction.compares or any(map(self._holds, transaction.compares))",
    ),
    Mutant(
        "transaction_in_several_revisions",
        "each key of a transaction is a revision of its own",
        "kv/machine.py",
        "        for key, previous, record in changes:\n            store.revision = revision\n",
        "        for key, previous, record in changes:\n            store.revision = revision = store.revision + 1\n",
    ),
    Mutant(
        "transaction_blind_to_itself",
        "a transaction reads what was there before it",
        "kv/draft.py",
        "        if key in self._after:\n            return self._after[key]\n",
        "",
    ),
    Mutant(
        "fence_not_checked",
        "a write comes through whatever became of the lock",
        "kv/execution.py",
        "if create_revision != fence.revision:",
        "if False:",
    ),
    Mutant(
        "page_of_another_revision",
        "a page of an earlier revision shows what keys have now",
        "kv/reads.py",
        "            if record is None or record[1] > revision:\n",
        "            if record is None:\n",
    ),
)
