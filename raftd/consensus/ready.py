"""What the driver must do next, as data.

The driver takes a `Ready` from `Raft.ready()` and does, in this order or at the same time where the fields say so:

1. sends `messages`: they promise nothing that a crash could break, so they need not wait for the disk;
2. hands `hard_state`, `log_base` and `entries` to the log writer, which stores Readies first in, first out; when this
   one is on disk, sends `messages_after_stored` and calls `Raft.stored(ready.stored_term, ready.stored_index)`;
3. applies `committed` in order and calls `Raft.applied(index)`. This may happen before step 2 has ended: a quorum has
   them, and the state machine lives in memory;
4. answers the reads of `confirmed_reads` once it has applied up to their read index;
5. in its own time, sends the chunks that `snapshot_chunks` asks for and takes in those of `snapshot_data`. Neither
   waits for the log writer: a snapshot is a file of its own, and the term in which it came is on disk already.

A Ready with nothing to store but with `messages_after_stored` still waits for the Readies before it: its messages may
speak of what those store.
"""

from dataclasses import dataclass
from typing import NamedTuple

from raftd.consensus.messages import InstallSnapshot, Message
from raftd.consensus.types import NO_INDEX, NO_TERM, Entry, HardState, LogIndex, NodeId, ReadId, Term


class SnapshotChunk(NamedTuple):
    """A chunk of a snapshot that is to be sent: one in flight for each peer.

    The driver reads the file of (last_included_index, last_included_term) at `offset` and sends an `InstallSnapshot` of
    `term` with what it finds; or, if that file is gone, says so (`Raft.snapshot_unavailable`).
    """

    peer: NodeId
    term: Term
    """The term in which this was decided, and in which the message must be sent: by the time that the file is read,
    this node may lead no more."""
    last_included_index: LogIndex
    last_included_term: Term
    offset: int
    """In bytes; 0 begins a transfer anew."""


@dataclass(frozen=True, slots=True)
class Ready:
    """One step's worth of work for the driver; empty fields mean nothing to do."""

    hard_state: HardState | None = None
    """To be stored with or before `entries`; None where it has not changed."""
    log_base: tuple[LogIndex, Term] | None = None
    """(index, term): the whole log on disk is void, and goes on behind `index` with `entries`. None: it is not.

    The snapshot that stands for what is lost by that is on disk already. A crash before the log is reset leaves that
    snapshot and the old log, which `Raft` understands when it starts again.
    """
    entries: tuple[Entry, ...] = ()
    """To be stored: consecutive. What the log holds from entries[0]'s index on is replaced (`truncate`)."""
    stored_term: Term = NO_TERM
    """To be handed back to `Raft.stored`: current_term when this Ready was made; NO_TERM if nothing is to be stored."""
    stored_index: LogIndex = NO_INDEX
    """To be handed back to `Raft.stored`: the log's last index when this Ready was made; NO_INDEX likewise."""
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

    snapshot_chunks: tuple[SnapshotChunk, ...] = ()
    """To be read and sent to peers that lack what the log does not hold any more."""
    snapshot_data: tuple[tuple[NodeId, InstallSnapshot], ...] = ()
    """(leader, chunk): to be appended to the partial snapshot file, or to begin a new one where the offset is 0.

    One at a time: the next one comes after `Raft.snapshot_received`. When the chunk is `done`, the file is verified,
    made durable and loaded, and then `Raft.snapshot_installed` decides.
    """

    @property
    def must_store(self) -> bool:
        """Whether the log writer has anything to put on disk for this Ready."""
        return self.hard_state is not None or bool(self.entries) or self.log_base is not None
