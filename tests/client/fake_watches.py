"""The watches of a node that behaves: out of the real machine's history, in frames as small as a test likes."""

from collections.abc import Callable

from raftd.kv.changes import Change, encode_change
from raftd.kv.machine import StateMachine
from raftd.kv.ranges import is_in_range
from raftd.wire.watch import (
    WatchEndReason,
    WatchFlag,
    WatchRequest,
    changes_body,
    changes_head,
    encode_progress,
    encode_watch_ended,
    encode_watching,
)

ALL_CHANGES = 1 << 30


class FakeWatch:
    """One watch on one connection."""

    def __init__(self, request_id: int, request: WatchRequest, machine: StateMachine) -> None:
        self.request_id = request_id
        self.request = request
        self.machine = machine
        self.position = request.start_revision - 1 if request.start_revision else machine.revision

    def begin(self) -> tuple[bytes, bool]:
        """The first response, and whether the watch goes on."""
        compacted, newest = self.machine.history.compacted_revision, self.machine.revision
        if self.position < compacted:
            return encode_watch_ended(self.request_id, WatchEndReason.COMPACTED, compacted), False
        if self.position > newest:
            return encode_watch_ended(self.request_id, WatchEndReason.FUTURE_REVISION, newest), False
        return encode_watching(self.request_id, self.position), True

    def frames(self, changes_per_frame: int) -> list[bytes]:
        """What is new, in frames of so many changes."""
        changes = [
            change for change in self.machine.history.changes_after(self.position, ALL_CHANGES) if self.concerns(change)
        ]
        frames = []
        for start in range(0, len(changes), changes_per_frame):
            some, rest = changes[start : start + changes_per_frame], changes[start + changes_per_frame :]
            is_partial = bool(rest) and rest[0].revision == some[-1].revision
            frames.append(self.frame(some, some[-1].revision if rest else self.machine.revision, is_partial=is_partial))
        self.position = self.machine.revision
        return frames

    def mark(self) -> bytes:
        """A progress mark."""
        return encode_progress(self.request_id, self.position)

    def concerns(self, change: Change) -> bool:
        hidden = WatchFlag.NO_DELETES if change.record is None else WatchFlag.NO_PUTS
        return is_in_range(change.key, self.request.low, self.request.high) and hidden not in self.request.flags

    def frame(self, changes: list[Change], revision: int, *, is_partial: bool) -> bytes:
        flags = self.request.flags
        encoded = [
            encode_change(change, values=WatchFlag.KEYS_ONLY not in flags, previous=WatchFlag.PREVIOUS in flags)
            for change in changes
        ]
        body = changes_body(revision, encoded, is_partial=is_partial)
        return changes_head(self.request_id, len(body)) + body


class FakeWatches:
    """All watches on one connection."""

    def __init__(self, machine: StateMachine, write: Callable[[bytes], None], cut: Callable[[], None]) -> None:
        self.machine = machine
        self.write = write
        self.cut = cut
        self.watches: dict[int, FakeWatch] = {}
        self.changes_per_frame = ALL_CHANGES
        self.frames_left: int | None = None
        """After so many frames of changes the connection is cut; None: never."""

    def begin(self, request_id: int, request: WatchRequest) -> bytes:
        watch = FakeWatch(request_id, request, self.machine)
        first, goes_on = watch.begin()
        if goes_on:
            self.watches[request_id] = watch
        return first

    def end(self, request_id: int, reason: WatchEndReason = WatchEndReason.CANCELLED) -> bytes:
        if self.watches.pop(request_id, None) is None:
            return b""
        return encode_watch_ended(request_id, reason, self.machine.revision)

    def tell(self) -> None:
        """Send whatever is new."""
        for watch in list(self.watches.values()):
            for frame in watch.frames(self.changes_per_frame):
                if self.frames_left == 0:
                    self.watches.clear()
                    self.cut()
                    return
                self.write(frame)
                if self.frames_left is not None:
                    self.frames_left -= 1
