"""What the driver must do next, as data.

The driver takes a `Ready` from `Raft.ready()` and does, in this order or at the same time where the fields say so:

1. sends `messages`: they promise nothing that a crash could break, so they need not wait for the disk;
2. hands `hard_state` and `entries` to the log writer, which stores Readies first in, first out; when this one is on
   disk, sends `messages_after_stored` and calls `Raft.stored(ready.stored_term, ready.stored_index)`;
3. applies `committed` in order and calls `Raft.applied(index)`. This may happen before step 2 has ended: a quorum has
   them, and the state machine lives in memory;
4. answers the reads of `confirmed_reads` once it has applied up to their read index.

A Ready with nothing to store but with `messages_after_stored` still waits for the Readies before it: its messages may
speak of what those store.
"""

from dataclasses import dataclass

from raftd.consensus.messages import Message
from raftd.consensus.types import NO_INDEX, NO_TERM, Entry, HardState, LogIndex, NodeId, ReadId, Term


@dataclass(frozen=True, slots=True)
class Ready:
    """One step's worth of work for the driver; empty fields mean nothing to do."""

    hard_state: HardState | None = None
    """To be stored with or before `entries`; None where it has not changed."""
    entries: tuple[Entry, ...] = ()
    """To be stored: consecutive. What the log holds from entries[0]'s index on is replaced (`truncate`)."""
    stored_term: Term = NO_TERM
    """To be handed back to `Raft.stored`: current_term when this Ready was made."""
    stored_index: LogIndex = NO_INDEX
    """To be handed back to `Raft.stored`: the log's last index when this Ready was made."""
    messages: tuple[tuple[NodeId, Message], ...] = ()
    """(destination, message): may leave at once."""
    messages_after_stored: tuple[tuple[NodeId, Message], ...] = ()
    """(destination, message): may leave when this and all earlier Readies are stored."""
    committed: tuple[Entry, ...] = ()
    """To be applied, in order, each exactly once."""
    confirmed_reads: tuple[tuple[ReadId, LogIndex], ...] = ()
    """(read, read index): these reads are linearizable in any state applied up to the index."""
    refused_reads: tuple[ReadId, ...] = ()
    """These reads can no longer be confirmed here (the term or the leader changed): their askers must ask again."""

    @property
    def must_store(self) -> bool:
        """Whether the log writer has anything to put on disk for this Ready."""
        return self.hard_state is not None or bool(self.entries)
