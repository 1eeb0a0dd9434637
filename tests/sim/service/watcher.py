"""A watcher: told of changes by one node after another, and held to what the log says (`tests.sim.service.reference`).

Where it goes on after an interruption is decided by raftd's client (`raftd.client.watch_position`).
"""

import random
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from raftd.client.namespace import Namespace
from raftd.client.results import Change
from raftd.client.showing import show_change
from raftd.client.watch_position import Batch, WatchPosition
from raftd.consensus import NodeId
from raftd.kv.changes import decode_changes
from raftd.kv.ranges import is_in_range
from raftd.wire.client import RefusalCode, RequestKind, ResponseKind, decode_refusal, encode_request, parse_response
from raftd.wire.frames import LENGTH_BYTES
from raftd.wire.watch import (
    CHANGES_OFFSET,
    WatchEndReason,
    WatchFlag,
    WatchRequest,
    decode_changes_head,
    decode_watch_ended,
    decode_watching,
    encode_unwatch_body,
    encode_watch_body,
)
from tests.kv.model import ModelChange
from tests.kv.shown import shown_change
from tests.sim.service.reference import Reference
from tests.sim.service.stream import Stream
from tests.sim.service.wishes import Wishes

if TYPE_CHECKING:
    from tests.sim.world import World

_SILENCE_SECONDS = 1.5
"""A node that says nothing for so long is left for another one."""
_THINK_SECONDS = 0.5
_PART_BREAKS = 0.2
_NO_NAMESPACE: Final = Namespace()
_FILTERS = (WatchFlag(0), WatchFlag(0), WatchFlag.NO_PUTS, WatchFlag.NO_DELETES)


class Watcher:
    """One watch at a time, which is ended and begun anew now and then."""

    def __init__(
        self,
        world: "World",
        reference: Reference,
        number: int,
        others: list[tuple[bytes, bytes, WatchFlag]],
        draw: random.Random,
    ) -> None:
        """`others` is what some watchers have watched, (low, high, flags)."""
        self._world = world
        self._others = others
        self._reference = reference
        self.name = f"watcher-{number}"
        self._draw = draw
        self._wishes = Wishes(draw, reference.model, bytes)
        self._stream: Stream | None = None
        self._last_id = 0
        self._request_id = 0
        """Of the latest WATCH."""
        self._is_watching = False
        """The node has confirmed the watch."""
        self._heard_at = 0.0
        self._asked_known = 0
        """The newest revision that anybody knew of when the watch was asked for."""
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Want to watch something else."""
        draw, newest, others = self._draw, self._reference.revision, self._others
        if others and draw.random() < 0.75:
            # Watches of the same are told together.
            self._low, self._high, self._flags = draw.choice(others)
        else:
            low, high = self._wishes.watched()
            self._low, self._high, self._flags = low, high, self._choose_flags()
            others.append((low, high, self._flags))
            del others[:-3]
        if draw.random() < 0.6:
            self._flags |= WatchFlag.PROGRESS
        start = draw.choice((None, None, None, 1, max(1, newest - draw.randint(0, 10)), newest + 2))
        self._position = WatchPosition(start, wants_progress=False)
        self._next: int | None = None
        """The first of the log's changes that has not been compared; None: the watch was never confirmed."""
        self._followed: tuple[NodeId, int] = NodeId(0), 0
        """Whom this watch was followed at last, and the newest term that had a leader then."""

    def _choose_flags(self) -> WatchFlag:
        draw = self._draw
        flags = draw.choice(_FILTERS)
        for flag, chance in ((WatchFlag.PREVIOUS, 0.5), (WatchFlag.KEYS_ONLY, 0.2)):
            if draw.random() < chance:
                flags |= flag
        return flags

    def think(self) -> None:
        """Look after the connection, and be a nuisance."""
        world, draw = self._world, self._draw
        chance = draw.random() if world.is_chaotic else 1.0
        if self._stream is None:
            self._connect()
        elif world.timeline.now - self._heard_at > _SILENCE_SECONDS or chance < 0.5 * world.plan.stream_breaks:
            self._leave()
            self._connect()
        elif chance < 0.2:
            self._stream.stand_still(draw.uniform(0.1, 2.0))
            self._heard_at = world.timeline.now + 2.0
        elif chance < 0.25:
            self._send(RequestKind.UNWATCH, encode_unwatch_body(self._request_id))
        else:
            self._send(RequestKind.PING)
        world.timeline.after(_THINK_SECONDS * draw.uniform(0.5, 1.5), self.think)

    def leave_unreachable(self) -> None:
        """Leave a node that need not come back."""
        if self._stream is not None and self._stream.node_id not in self._world.reachable:
            self._leave()

    def is_settled(self) -> bool:
        """Whether all was told."""
        revision = self._position.revision
        if not self._is_watching or revision is None:
            return False
        if WatchFlag.PROGRESS in self._flags:
            return revision >= self._reference.revision
        return self._expected(self._reference.revision) is None

    # The connection.

    def _connect(self) -> None:
        world, draw = self._world, self._draw
        # Most hang on one node, where some are told together.
        node_id = world.reachable[0] if draw.random() < 0.7 else draw.choice(world.reachable)
        self._stream = Stream(world.processes[node_id], self.name, draw, self._take, self._lost)
        self._heard_at = world.timeline.now
        self._watch()

    def _watch(self) -> None:
        request = WatchRequest(self._flags, self._position.start_revision or 0, self._low, self._high)
        self._asked_known = self._world.known_revision
        self._send(RequestKind.WATCH, encode_watch_body(request))
        self._request_id = self._last_id

    def _send(self, kind: RequestKind, body: bytes = b"") -> None:
        if self._stream is not None:
            self._last_id += 1
            self._stream.request(encode_request(kind, self._last_id, body)[LENGTH_BYTES:])

    def _leave(self) -> None:
        stream, self._stream = self._stream, None
        self._is_watching = False
        if stream is not None:
            stream.close()

    def _lost(self, stream: Stream) -> None:
        if self._stream is stream:
            self._stream = None
            self._is_watching = False

    # What a node says.

    def _take(self, stream: Stream, payload: bytes) -> None:
        if stream is not self._stream:
            return
        self._heard_at = max(self._heard_at, self._world.timeline.now)
        kind, request_id = parse_response(payload)
        if kind is ResponseKind.PONG or kind is ResponseKind.UNWATCHED or request_id != self._request_id:
            return
        match kind:
            case ResponseKind.WATCHING:
                self._watching(stream.node_id, decode_watching(payload))
            case ResponseKind.CHANGES:
                self._changes(payload)
            case ResponseKind.WATCH_ENDED:
                self._ended(payload)
            case ResponseKind.REFUSED:
                self._refused(payload)
            case _:
                self._world.oracle.fail(f"{self.name} is sent {kind.name}")

    def _watching(self, node_id: NodeId, revision: int) -> None:
        world, position = self._world, self._position
        if position.revision is None and revision < self._asked_known:
            world.oracle.fail(f"{self.name} watches from {revision} on, and {self._asked_known} was known before")
        position.started(revision)
        self._is_watching = True
        term = max(world.oracle.leaders, default=0)
        world.trace.note(f"{self.name} follows node {node_id} behind revision {revision}")
        if self._next is None:
            self._next = bisect_right(self._reference.changes, revision, key=lambda change: change.revision)
        else:
            followed, followed_in = self._followed
            world.sometimes("watch_resumed" if followed == node_id else "watch_resumed_on_another_node")
            if term > followed_in:
                world.sometimes("watch_resumed_after_leader_change")
            if position._skip:
                world.sometimes("watch_resumed_within_a_revision")
        self._followed = node_id, term

    def _changes(self, payload: bytes) -> None:
        head = decode_changes_head(payload)
        changes, end = decode_changes(payload, CHANGES_OFFSET, head.change_count)
        position, fail = self._position, self._world.oracle.fail
        if not self._is_watching or end != len(payload) or head.revision > self._reference.revision:
            fail(f"{self.name} is told of revision {head.revision}, and the newest is {self._reference.revision}")
        position.accept(Batch(head.revision, head.is_partial, [show_change(one, _NO_NAMESPACE) for one in changes]))
        while not position.waiting:
            item = position.next()
            if isinstance(item, Change):
                self._compare(item)
        if head.is_partial:
            self._told_in_part()
        whole = head.revision - head.is_partial
        missing = self._expected(whole)
        if missing is not None:
            fail(f"{self.name} was told all up to revision {whole}, but not {missing}")
        self._world.known_revision = max(self._world.known_revision, whole)

    def _told_in_part(self) -> None:
        """Break off right there, sometimes: by chance that seldom happens."""
        world = self._world
        world.sometimes("revision_told_in_parts")
        if world.is_chaotic and self._draw.random() < _PART_BREAKS:
            self._leave()

    def _compare(self, told: Change) -> None:
        """What is told is the next of the log's own."""
        expected = self._expected(told.revision)
        shown = None
        if expected is not None and self._next is not None:
            self._next += 1
            values, previous = WatchFlag.KEYS_ONLY not in self._flags, WatchFlag.PREVIOUS in self._flags
            shown = show_change(shown_change(expected, values=values, previous=previous), _NO_NAMESPACE)
        if told != shown:
            self._world.oracle.fail(f"{self.name} is told {told}, and the log says {shown}")

    def _expected(self, revision: int) -> ModelChange | None:
        """The next change up to a revision that is to be told."""
        changes, at = self._reference.changes, self._next
        if at is None:
            return None
        while at < len(changes) and changes[at].revision <= revision and not self._concerns(changes[at]):
            at += 1
        self._next = at
        return changes[at] if at < len(changes) and changes[at].revision <= revision else None

    def _concerns(self, change: ModelChange) -> bool:
        unwanted = WatchFlag.NO_DELETES if change.after is None else WatchFlag.NO_PUTS
        return is_in_range(change.key, self._low, self._high) and unwanted not in self._flags

    def _ended(self, payload: bytes) -> None:
        """The watch is over, at this node or for ever."""
        world = self._world
        self._is_watching = False
        reason, revision = decode_watch_ended(payload)
        start = self._position.start_revision
        match reason:
            case WatchEndReason.COMPACTED:
                # Whoever sees it lists everything anew, and watches from there.
                self._reference.check_compacted(None if start is None else start - 1, revision)
                world.sometimes("watch_compacted")
                self._begin_anew()
            case WatchEndReason.FUTURE_REVISION:
                if start is None or start - 1 <= max(revision, self._asked_known):
                    world.oracle.fail(f"{self.name} watches from {start} on, which is said to be to come")
                world.sometimes("watch_of_the_future")
                self._begin_anew()
            case WatchEndReason.CANCELLED:
                if self._draw.random() < 0.5:
                    self._begin_anew()
            case WatchEndReason.NODE_STOPPING:
                world.sometimes("watch_ended_by_stopping_node")
                self._leave()
                return
            case _:
                world.oracle.fail(f"{self.name}: a watch ended, {reason.name}")
        self._watch()

    def _refused(self, payload: bytes) -> None:
        refusal = decode_refusal(payload)
        if refusal.code in {RefusalCode.BAD_REQUEST, RefusalCode.DENIED, RefusalCode.TOO_LARGE}:
            self._world.oracle.fail(f"{self.name} is refused: {refusal}")
        self._leave()
