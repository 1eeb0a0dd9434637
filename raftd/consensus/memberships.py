"""The membership in force, as snapshot and log say it: the latest one in the log, committed or not (thesis §4.1).

Nothing is derived from what was applied. So a truncation takes a membership back with its entry, an installed snapshot
brings its own, and a restart finds the same as before; there is no second record that could disagree.
"""

from bisect import bisect_right
from collections.abc import Iterable

from raftd.consensus.membership import Membership
from raftd.consensus.membership_codec import decode_membership
from raftd.consensus.types import Entry, EntryKind, LogIndex, NodeId
from raftd.errors import DecodeError, InvariantViolation


class Memberships:
    """The memberships of one node's log, the base's included, by index."""

    __slots__ = ("_history", "_node_id", "_was_member", "current", "index")

    def __init__(self, node_id: NodeId, base_index: LogIndex, membership: Membership) -> None:
        self._node_id = node_id
        self._was_member = False
        """A committed membership that is not in `_history` any more had this node."""
        self._history: list[tuple[LogIndex, Membership]] = [(base_index, membership)]
        self.current = membership
        """The membership in force."""
        self.index = base_index
        """Where it stands in the log, or the base's index if it is older; 0: nobody but the bootstrap has said it."""

    def append(self, entries: Iterable[Entry]) -> None:
        """The log got these entries, which were checked.

        Raises:
            InvariantViolation: one of them cannot be read.
        """
        for index, _, kind, data in entries:
            if kind is EntryKind.MEMBERSHIP:
                try:
                    membership = decode_membership(data)
                except DecodeError as error:
                    raise InvariantViolation(f"entry {index} of the log: {error}") from error
                self._history.append((index, membership))
                self._look_at_last()

    def truncate(self, first_removed: LogIndex) -> None:
        """The log gave up its entries from `first_removed` on, which is behind the base."""
        while self._history[-1][0] >= first_removed:
            self._history.pop()
        self._look_at_last()

    def compact(self, index: LogIndex) -> None:
        """The log, which is committed up to there, dropped its entries up to `index`."""
        kept = self._position(index)
        self._note_membership(kept)
        del self._history[:kept]

    def reset(self, index: LogIndex, membership: Membership, commit_index: LogIndex) -> None:
        """A snapshot with `membership` at `index` took the log's place, which was committed up to `commit_index`."""
        self._note_membership(self._position(commit_index) + 1)
        self._history = [(index, membership)]
        self._look_at_last()

    def at(self, index: LogIndex) -> Membership:
        """The membership in force when the log ended at `index`, which is not before the base."""
        return self._history[self._position(index)][1]

    def may_campaign(self, commit_index: LogIndex) -> bool:
        """Whether this node votes, or did before a membership that is not known to be committed.

        A server that is not part of its own latest configuration should still start new elections, as it might still be
        needed until that is committed (thesis §4.2.2): it may be the only one left that has the entry.
        """
        if self._node_id in self.current.all_voters:
            return True
        return self.index > commit_index and self._node_id in self._history[-2][1].all_voters

    def has_removed_me(self, commit_index: LogIndex) -> bool:
        """Whether this node was a member, and is none of the membership that is committed.

        A node that catches up reads memberships from before it was added, too: they have not removed it.
        """
        position = self._position(commit_index)
        if self._node_id in self._history[position][1].members:
            return False
        return self._was_member or any(
            self._node_id in membership.members for _, membership in self._history[:position]
        )

    def _position(self, index: LogIndex) -> int:
        """Where in the history the last membership up to `index` is; the base's if all are later."""
        return max(bisect_right(self._history, index, key=lambda item: item[0]) - 1, 0)

    def _note_membership(self, forgotten: int) -> None:
        if any(self._node_id in membership.members for _, membership in self._history[:forgotten]):
            self._was_member = True

    def _look_at_last(self) -> None:
        self.index, self.current = self._history[-1]
