"""Snapshots on their way: read for followers that need one, received from a leader.

Consensus decides who gets which chunk and when; here are the files. A chunk is read beside the event loop and sent in a
message of its own, one under way for each peer, and not faster than a bound: heartbeats and entries of other peers go
past it on every occasion. Each peer's file stays open while it is being sent, so a transfer that takes longer than the
next snapshots do comes to its end all the same, whatever is pruned meanwhile.

A snapshot that has come in full is checked to the last byte, and made durable; then loaded, in slices, into a state
machine beside the one in use; only then consensus says whether it takes the other's place. What is wrong before it is
durable is thrown away and asked for anew. After that there is no way back: it is the newest snapshot on this disk, and
if it cannot be loaded the process ends, and says at each start why (`raftd.daemon.opening`). So the state's head, which
says its format, is looked at as soon as it has come: a leader of a newer release may write one that this node cannot
read, and this node goes on without it until it is upgraded too, or another one leads.
"""

import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from raftd import events
from raftd.consensus import Raft
from raftd.consensus.membership import SnapshotMetadata
from raftd.consensus.membership_codec import decode_membership
from raftd.consensus.messages import InstallSnapshot
from raftd.consensus.ready import SnapshotChunk
from raftd.consensus.types import NO_INDEX, LogIndex, NodeId, Role, Term
from raftd.errors import CorruptionError, DecodeError, RemoteProtocolError, StorageError
from raftd.kv.machine import StateMachine
from raftd.kv.snapshot import decode_head
from raftd.kv.snapshot_loader import SnapshotLoader
from raftd.node.background import Background
from raftd.node.snapshots import Scheduler, SnapshotMaker
from raftd.storage.reserve import is_no_space
from raftd.storage.snapshot_format import SnapshotMetadata as StoredMetadata
from raftd.storage.snapshot_writing import SnapshotReceiver
from raftd.storage.snapshots import SnapshotSource, SnapshotStore

logger = logging.getLogger(__name__)

UNREADABLE_SECONDS: Final = 10.0
"""For so long no chunk is asked for after a snapshot that this version cannot read."""


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
        self._wanted: dict[NodeId, SnapshotChunk] = {}
        """Who waits for which chunk; one is read for each at a time."""
        self._sources: dict[NodeId, SnapshotSource] = {}
        """The background's: what each peer is being sent."""
        self._next_at = 0.0
        self._last_failure = ""
        self.sent_bytes_total = 0
        self.failed_total = 0
        """Chunks that could not be read."""

    def send(self, chunk: SnapshotChunk) -> None:
        """Read and send a chunk, when the rate allows."""
        # Consensus asks again when an answer is long in coming, be it that the chunk has not even been read.
        is_under_way = chunk.peer in self._wanted
        self._wanted[chunk.peer] = chunk
        if is_under_way:
            return
        now = self._scheduler.time()
        at = max(now, self._next_at)
        self._next_at = at + self._limits.chunk_bytes / self._limits.bytes_per_second_max
        if at > now:
            self._scheduler.call_at(at, lambda: self._read(chunk.peer))
        else:
            self._read(chunk.peer)

    def stop(self) -> None:
        """This node leads no more: let go of what it was sending."""
        self.keep(frozenset())

    def keep(self, peers: Collection[NodeId]) -> None:
        """Only these are sent anything from now on: let go of what others were."""
        for peer in self._wanted.keys() - peers:
            del self._wanted[peer]
        self._background.run(lambda: self._close_all_but(peers), _ignore, _raise)

    def _read(self, peer: NodeId) -> None:
        chunk = self._wanted.get(peer)
        if chunk is None:  # the rate held it up until nobody wanted it: what is opened now, nobody would close
            return

        def work() -> tuple[bytes, bool]:
            source = self._open(chunk)
            data = source.read(chunk.offset, self._limits.chunk_bytes)
            is_last = chunk.offset + len(data) >= source.size
            if is_last:
                self._close(peer)
            return data, is_last

        self._background.run(
            work, lambda result: self._read_done(chunk, *result), lambda error: self._unavailable(chunk, error)
        )

    def _open(self, chunk: SnapshotChunk) -> SnapshotSource:
        """The snapshot's file, open; in the background."""
        source = self._sources.get(chunk.peer)
        # To whom it is sent, it is bytes: whose membership they hold makes no difference.
        metadata = StoredMetadata(chunk.last_included_index, chunk.last_included_term, b"")
        if source is None or source.metadata != metadata:
            self._close(chunk.peer)
            source = self._sources[chunk.peer] = self._store.open(metadata)
        return source

    def _close(self, peer: NodeId) -> None:
        source = self._sources.pop(peer, None)
        if source is not None:
            source.close()

    def _close_all_but(self, peers: Collection[NodeId]) -> None:
        for peer in self._sources.keys() - peers:
            self._close(peer)

    def _read_done(self, chunk: SnapshotChunk, data: bytes, is_last: bool) -> None:
        if self._is_outdated(chunk):
            return
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
                done=is_last,
            ),
        )
        self._wake()

    def _unavailable(self, chunk: SnapshotChunk, error: Exception) -> None:
        if not isinstance(error, StorageError):
            raise error
        self.failed_total += 1
        if self._last_failure != str(error):  # It will be tried again and again, and says the same each time.
            self._last_failure = str(error)
            events.SNAPSHOT_FAILED.log(logger, reason=error)
        if not self._is_outdated(chunk):
            self._raft.snapshot_unavailable(chunk.peer)
            self._wake()

    def _is_outdated(self, chunk: SnapshotChunk) -> bool:
        """Whether nobody wants this chunk any more; if another one is wanted in its place, that is read."""
        wanted = self._wanted.pop(chunk.peer, None)
        raft = self._raft
        if wanted is None or raft.role is not Role.LEADER or raft.current_term != wanted.term:
            return True
        if wanted != chunk:
            self.send(wanted)
            return True
        return False


class _UnreadableStateError(DecodeError):
    """The state has a format that this version does not know."""


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
        scheduler: Scheduler,
        wake: Callable[[], None],
        make_loader: Callable[[], SnapshotLoader] = SnapshotLoader,
    ) -> None:
        """`make_loader` must give the state machine the limits that all nodes of the cluster have."""
        self._raft = raft
        self._machine = machine
        self._store = store
        self._maker = maker
        self._background = background
        self._scheduler = scheduler
        self._wake = wake
        self._make_loader = make_loader
        self._last_unreadable = NO_INDEX
        """Of which it was told that it cannot be read: it comes again and again."""
        self.installed_total = 0
        self.received_bytes_total = 0
        self.failed_total = 0
        """Snapshots of which what came was thrown away."""

    def receive(self, message: InstallSnapshot) -> None:
        """Append a chunk to the partial file; with the last one, verify, load and install."""
        index, term = message.last_included_index, message.last_included_term

        def work() -> tuple[int, StoredMetadata | None]:
            receiver = self._store.receive(index, term)
            next_offset = receiver.write(message.offset, message.data)
            _check_head(receiver)
            if receiver.complete:
                return next_offset, _commit(receiver)
            if message.done and next_offset == message.offset + len(message.data):
                receiver.abort()  # The leader has no more, and this is not all of a snapshot.
                return 0, None
            return next_offset, None

        self.received_bytes_total += len(message.data)
        self._background.run(
            work, lambda result: self._received(index, *result), lambda error: self._refuse(index, error)
        )

    def _received(self, index: LogIndex, next_offset: int, metadata: StoredMetadata | None) -> None:
        if metadata is None:
            self._raft.snapshot_received(index, next_offset)
            self._wake()
            return
        loader = self._make_loader()
        self._background.run(
            lambda: self._store.open(metadata), lambda source: self._load(loader, source, source.payload()), _raise
        )

    def _load(self, loader: SnapshotLoader, source: SnapshotSource, pieces: Iterator[bytes]) -> None:
        """Feed the next piece to the state machine in the making; between two of them the loop does other things."""

        def fed(piece: bytes | None) -> None:
            try:
                if piece is not None:
                    loader.feed(piece)
                    self._load(loader, source, pieces)
                    return
                loaded = finish_loading(loader, source.metadata)
            except DecodeError as error:
                # Every byte was checked on its way: the leader's state machine wrote what this one does not understand.
                index = source.metadata.last_included_index
                raise CorruptionError(f"the leader's snapshot of entry {index} cannot be loaded: {error}") from error
            self._background.run(source.close, _ignore, _raise)
            self._install(source.metadata, loaded)

        self._background.run(lambda: next(pieces, None), fed, _raise)

    def _install(self, stored: StoredMetadata, loaded: StateMachine) -> None:
        metadata = consensus_metadata(stored)
        if self._raft.snapshot_installed(metadata):
            self._maker.abandon()
            remains = self._machine.become(loaded)
            self.installed_total += 1
            events.SNAPSHOT_INSTALLED.log(logger, index=metadata.last_included_index)
        else:
            remains = loaded.let_go()
        self._let_go(remains)
        self._maker.available(metadata)
        self._wake()

    def _let_go(self, remains: Iterator[int]) -> None:
        """Free a piece of a state that nobody goes by any more; the loop does other things before the next one."""
        if next(remains, 0):
            self._scheduler.call_soon(lambda: self._let_go(remains))

    def _refuse(self, index: LogIndex, error: Exception) -> None:
        """What came was thrown away: say so to the leader, who begins anew."""
        if not isinstance(error, StorageError | RemoteProtocolError | DecodeError):
            raise error
        self.failed_total += 1
        if isinstance(error, _UnreadableStateError):
            if index != self._last_unreadable:
                self._last_unreadable = index
                events.SNAPSHOT_UNREADABLE.log(logger, index=index, reason=error)
            # What comes next is the same; consensus looks at no other chunk before this one is answered.
            at = self._scheduler.time() + UNREADABLE_SECONDS
            self._scheduler.call_at(at, lambda: self._ask_anew(index))
        else:
            events.SNAPSHOT_FAILED.log(logger, reason=error)
            if is_no_space(error):
                # An older snapshot must not take the room of the one that this node needs.
                self._background.run(lambda: self._store.prune(1), _ignore, _report)
            self._ask_anew(index)

    def _ask_anew(self, index: LogIndex) -> None:
        self._raft.snapshot_received(index, 0)
        self._wake()


def _check_head(receiver: SnapshotReceiver) -> None:
    """See that the state is of a format that this version reads, if as much of it is there.

    Raises:
        _UnreadableStateError: it is not; the file is thrown away.
    """
    try:
        decode_head(receiver.payload_start)
    except DecodeError as error:
        receiver.abort()
        raise _UnreadableStateError(str(error)) from error


def _commit(receiver: SnapshotReceiver) -> StoredMetadata:
    """Make durable what has come in full, if its membership can be read too; the store does not look into that.

    Raises:
        DecodeError: it cannot; the file is thrown away.
        StorageError: the disk failed.
    """
    metadata = receiver.metadata
    try:
        consensus_metadata(metadata)
    except DecodeError:
        receiver.abort()
        raise
    receiver.commit()
    return metadata


def finish_loading(loader: SnapshotLoader, stored: StoredMetadata) -> StateMachine:
    """Give the state machine that was loaded from a snapshot of which this is the metadata.

    Raises:
        DecodeError: the snapshot is not complete, or is the state at another entry.
    """
    machine = loader.finish()
    if machine.last_applied != stored.last_included_index:
        raise DecodeError(f"the state is that at entry {machine.last_applied}")
    return machine


def consensus_metadata(stored: StoredMetadata) -> SnapshotMetadata:
    """A snapshot's metadata as consensus has it.

    Raises:
        DecodeError: the membership cannot be read.
    """
    return SnapshotMetadata(
        LogIndex(stored.last_included_index), Term(stored.last_included_term), decode_membership(stored.membership)
    )


def _ignore(_: object) -> None:
    """What came of it makes no difference."""


def _report(error: Exception) -> None:
    """Tell of an old snapshot that cannot be removed, and go on: it costs space."""
    if not isinstance(error, StorageError):
        raise error
    events.SNAPSHOT_FAILED.log(logger, reason=error)


def _raise(error: Exception) -> None:
    """There is nothing else to go on with: the process ends."""
    raise error
