"""Snapshots on their way: read for followers that need one, received from a leader.

Consensus decides who gets which chunk and when; here are the files. A chunk is read beside the event loop and sent in a
message of its own, one under way for each peer, and not faster than a bound: heartbeats and entries of other peers go
past it on every occasion.

A snapshot that has come in full is durable first, then loaded, in slices, into a state machine beside the one in use;
only then consensus says whether it takes the other's place.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from raftd import events
from raftd.consensus import Raft
from raftd.consensus.membership import SnapshotMetadata
from raftd.consensus.membership_codec import decode_membership
from raftd.consensus.messages import InstallSnapshot
from raftd.consensus.ready import SnapshotChunk
from raftd.consensus.types import LogIndex, NodeId, Term
from raftd.errors import DecodeError, LocalProtocolError, RemoteProtocolError, StorageError
from raftd.kv.machine import StateMachine
from raftd.kv.snapshot_loader import SnapshotLoader
from raftd.node.background import Background
from raftd.node.snapshots import Scheduler, SnapshotMaker
from raftd.storage.snapshot_format import SnapshotMetadata as StoredMetadata
from raftd.storage.snapshots import SnapshotSource, SnapshotStore

logger = logging.getLogger(__name__)


class MessageSender(Protocol):
    """The way to the peers."""

    def __call__(self, peer: NodeId, message: InstallSnapshot, /) -> None:
        """Send a message; a drop is reported to consensus by who drops it."""
        ...


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """How fast a snapshot is sent."""

    chunk_bytes: int = 256 << 10
    """Of the file in one message."""
    bytes_per_second_max: int = 64 << 20
    """To all peers together."""


class SnapshotSender:
    """Answers consensus' wish for chunks of this node's snapshots."""

    def __init__(
        self,
        *,
        raft: Raft,
        store: SnapshotStore,
        background: Background,
        scheduler: Scheduler,
        send: MessageSender,
        wake: Callable[[], None],
        limits: TransferLimits,
    ) -> None:
        self._raft = raft
        self._store = store
        self._background = background
        self._scheduler = scheduler
        self._send = send
        self._wake = wake
        self._limits = limits
        self._source: SnapshotSource | None = None
        self._next_at = 0.0
        self.sent_bytes_total = 0

    def send(self, chunk: SnapshotChunk) -> None:
        """Read and send a chunk, when the rate allows."""
        now = self._scheduler.time()
        at = max(now, self._next_at)
        self._next_at = at + self._limits.chunk_bytes / self._limits.bytes_per_second_max
        if at > now:
            self._scheduler.call_at(at, lambda: self._read(chunk))
        else:
            self._read(chunk)

    def _read(self, chunk: SnapshotChunk) -> None:
        def work() -> tuple[bytes, bool]:
            source = self._open(chunk)
            data = source.read(chunk.offset, self._limits.chunk_bytes)
            return data, chunk.offset + len(data) >= source.size

        self._background.run(work, lambda result: self._read_done(chunk, *result), lambda _: self._unavailable(chunk))

    def _open(self, chunk: SnapshotChunk) -> SnapshotSource:
        """The snapshot's file, open; in the background."""
        source = self._source
        if source is not None and _is_of(source.metadata, chunk):
            return source
        latest = self._store.latest()
        if latest is None or not _is_of(latest, chunk):
            raise StorageError(f"the snapshot at {chunk.last_included_index} is gone")
        if source is not None:
            source.close()
        self._source = self._store.open(latest)
        return self._source

    def _read_done(self, chunk: SnapshotChunk, data: bytes, done: bool) -> None:
        self.sent_bytes_total += len(data)
        raft = self._raft
        self._send(
            chunk.peer,
            InstallSnapshot(
                term=chunk.term,
                leader_id=raft.node_id,
                last_included_index=chunk.last_included_index,
                last_included_term=chunk.last_included_term,
                offset=chunk.offset,
                data=data,
                done=done,
            ),
        )
        self._wake()

    def _unavailable(self, chunk: SnapshotChunk) -> None:
        self._raft.snapshot_unavailable(chunk.peer)
        self._wake()


class SnapshotInstaller:
    """Takes in what a leader sends, and puts it in the state machine's place."""

    def __init__(
        self,
        *,
        raft: Raft,
        machine: StateMachine,
        store: SnapshotStore,
        maker: SnapshotMaker,
        background: Background,
        wake: Callable[[], None],
    ) -> None:
        self._raft = raft
        self._machine = machine
        self._store = store
        self._maker = maker
        self._background = background
        self._wake = wake
        self.installed_total = 0
        self.received_bytes_total = 0

    def receive(self, message: InstallSnapshot) -> None:
        """Append a chunk to the partial file; with the last one, verify, load and install."""
        index, term = message.last_included_index, message.last_included_term

        def work() -> tuple[int, StoredMetadata | None]:
            receiver = self._store.receive(index, term)
            next_offset = receiver.write(message.offset, message.data)
            if receiver.complete:
                receiver.commit()
                return next_offset, receiver.metadata
            if message.done and next_offset == message.offset + len(message.data):
                receiver.abort()  # The leader has no more, and this is not all of a snapshot.
                return 0, None
            return next_offset, None

        self.received_bytes_total += len(message.data)
        self._background.run(
            work, lambda result: self._received(index, *result), lambda error: self._fail(index, error)
        )

    def _received(self, index: LogIndex, next_offset: int, metadata: StoredMetadata | None) -> None:
        if metadata is None:
            self._raft.snapshot_received(index, next_offset)
            self._wake()
            return
        loader = SnapshotLoader()
        self._background.run(
            lambda: self._store.open(metadata),
            lambda source: self._load(loader, source, source.payload()),
            lambda error: self._fail(index, error),
        )

    def _load(self, loader: SnapshotLoader, source: SnapshotSource, pieces: Iterator[bytes]) -> None:
        """Feed the next piece to the state machine in the making; between two of them the loop does other things."""
        index = LogIndex(source.metadata.last_included_index)

        def fed(piece: bytes | None) -> None:
            try:
                if piece is not None:
                    loader.feed(piece)
                    self._load(loader, source, pieces)
                    return
                loaded = loader.finish()
            except DecodeError as error:
                # Every byte was checked on its way: the leader's state machine wrote what this one does not understand.
                self._fail(index, error)
                return
            self._background.run(source.close, _ignore, _ignore)
            self._install(source.metadata, loaded)

        self._background.run(lambda: next(pieces, None), fed, lambda error: self._fail(index, error))

    def _install(self, stored: StoredMetadata, loaded: StateMachine) -> None:
        metadata = consensus_metadata(stored)
        if self._raft.snapshot_installed(metadata):
            self._maker.abandon()
            self._machine.become(loaded)
            self.installed_total += 1
            events.SNAPSHOT_INSTALLED.log(logger, index=metadata.last_included_index)
        self._maker.available(metadata)
        self._wake()

    def _fail(self, index: LogIndex, error: Exception) -> None:
        if not isinstance(error, StorageError | RemoteProtocolError | LocalProtocolError | DecodeError):
            raise error
        events.SNAPSHOT_FAILED.log(logger, reason=error)
        self._raft.snapshot_received(index, 0)
        self._wake()


def consensus_metadata(stored: StoredMetadata) -> SnapshotMetadata:
    """A snapshot's metadata as consensus has it.

    Raises:
        DecodeError: the membership cannot be read.
    """
    return SnapshotMetadata(
        LogIndex(stored.last_included_index), Term(stored.last_included_term), decode_membership(stored.membership)
    )


def _is_of(metadata: StoredMetadata, chunk: SnapshotChunk) -> bool:
    return (metadata.last_included_index, metadata.last_included_term) == (
        chunk.last_included_index,
        chunk.last_included_term,
    )


def _ignore(_: object) -> None:
    """What came of it makes no difference."""
