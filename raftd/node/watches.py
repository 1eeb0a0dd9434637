"""All watches of one node: taken in, told, and ended.

Theory of operation. The state machine holds the latest changes, in order (`raftd.kv.history`), and everything here is
read from there: nothing is kept for a watch that could not be read again, so a client that does not read costs what
waits for it in its connection, and no more.

Once in each turn of the loop the new changes are matched: the feeds that they concern, found by an index, note them and
queue up. Then whoever is at the front of the queue is served, a bounded amount of work in one turn, whatever there is
to do; who is not done queues up again behind the others. In the queue stand

- feeds, to begin or continue a round (`raftd.node.watch_feed`);
- watches on their own, which begin in the past or have fallen behind, to be given one piece more of the history. As
  soon as one has come as far as its feed, it becomes a member, in the middle of a round or not.

A watch whose client has too much to read is taken out of its feed, and is not looked at again until the client has
read. If what it needs next is compacted meanwhile it ends, and says so.

Feeds with a range that the index does not find read the history by themselves too: all of them, one after the other, as
often as there is anything new (the sweep).
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from raftd.errors import RemoteProtocolError
from raftd.kv.types import Revision
from raftd.node.connection import ClientConnection
from raftd.node.watch_feed import (
    Feed,
    FeedName,
    History,
    Machine,
    Piece,
    Position,
    Reading,
    Watch,
    feed_name,
    piece_of_history,
    piece_of_pending,
    read_history,
    read_key,
)
from raftd.node.watch_index import WatchIndex
from raftd.node.watch_shares import WatchShares
from raftd.wire.watch import (
    WatchEndReason,
    WatchFlag,
    WatchRequest,
    changes_head,
    encode_progress,
    encode_watch_ended,
    encode_watching,
)

_FRAME_COST: Final = 8
_END_COST: Final = 4
_ITEM_COST: Final = 2
_CHANGES_FOR_ONE: Final = 4
_BYTES_FOR_ONE: Final = 1 << 10
"""Work is counted in what takes about a microsecond."""


class Answers(Protocol):
    """The way to the clients."""

    def owe(self, connection: ClientConnection, frame: bytes) -> None:
        """Send a frame at the end of this turn."""
        ...

    def owe_parts(self, connection: ClientConnection, head: bytes, body: bytes) -> None:
        """The same with a frame in two parts."""
        ...


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """Bounds of one node's watches."""

    per_connection_max: int = 10_000
    watches_max: int = 100_000
    """On this node."""
    per_user_max: int = 50_000
    """Of these, on all connections of one user."""
    range_bytes_per_user_max: int = 64 << 20
    """In the bounds of their ranges."""
    unread_bytes_max: int = 1 << 20
    """A watch is told nothing while its client has left more than this unread, or more than the node's clients may."""
    body_bytes_max: int = 256 << 10
    """Changes in one frame; a longer one has one change."""
    pending_max: int = 1024
    """Changes that wait for one feed; with more it reads the history instead."""
    prefix_lengths_max: int = 16
    """Different lengths of watched prefixes that a changed key is looked up by."""
    parts_max: int = 16
    """Ranges that are parts of one prefix, and of no longer one, that a changed key is compared with."""
    read_max: int = 1024
    """Changes of the history that one feed or watch looks at in one go."""
    matched_max: int = 2048
    """Changes that are matched in one turn."""
    turn_work: int = 2000
    """In about microseconds, what is done in one turn, besides the matching."""
    tick_marks: int = 1000
    """Watches that are looked at for a progress mark in one tick."""
    mark_seconds: float = 1.0
    """Between two progress marks, if there is any progress."""
    idle_mark_seconds: float = 10.0
    """And if there is none."""
    unled_seconds: float = 10.0
    """A node that has heard no leader for so long ends its watches: others may know more."""


class Watches:
    """All watches of one node."""

    def __init__(
        self, machine: Machine, answers: Answers, clock: Callable[[], float], limits: WatchLimits | None = None
    ) -> None:
        """`clock` gives monotonic seconds."""
        self._machine = machine
        self._answers = answers
        self._clock = clock
        self._limits = limits or WatchLimits()
        self.watches_max = self._limits.watches_max
        """With as many, a further one is refused."""
        self._watches: dict[ClientConnection, dict[int, Watch]] = {}
        self._shares = WatchShares(self._limits.per_user_max, self._limits.range_bytes_per_user_max)
        self._feeds: dict[FeedName, Feed] = {}
        self._index = WatchIndex(self._limits.prefix_lengths_max, self._limits.parts_max)
        self._matched: Position = (0, 0)
        """Changes up to here were handed to the feeds that they concern; of no meaning while there is no feed."""
        self._queue: deque[Feed | Watch] = deque()
        self._sweep: deque[Feed] = deque()
        self._swept: Position = (0, 0)
        """Where the matching was when the latest sweep began."""
        self._stalled: dict[ClientConnection, list[Watch]] = {}
        """Watches on their own whose clients have too much to read."""
        self._leaving: deque[tuple[Watch, WatchEndReason | None]] = deque()
        """Watches to be ended: there may be very many at once. None: nobody is there to be told."""
        self._marked: deque[Watch] = deque()
        """Watches that want progress marks, and some that are over; looked at in turn."""
        self._latest: tuple[Position, Position, Reading] | None = None
        """(from, up to, what was read): feeds that have come equally far read the same in one turn."""
        self._work = 0
        """Done in this turn."""
        self._is_stopping = False
        self._unled_since: float | None = None
        """When it was first noticed that this node hears no leader; None: it hears one."""
        self.count = 0
        """Watches of all connections."""
        self.behind_count = 0
        """Watches that have not come as far as others of their feed: they began in the past, or read too slowly."""
        self.told_total = 0
        """Changes told, each as often as it was told."""
        self.ended_total: dict[WatchEndReason, int] = dict.fromkeys(WatchEndReason, 0)

    @property
    def stalled_count(self) -> int:
        """Watches that are told nothing until their clients have read more."""
        return sum(map(len, self._stalled.values()))

    @property
    def is_ending(self) -> bool:
        """Whether watches are still to be told that they have ended."""
        return bool(self._leaving)

    # Coming and going.

    def admit(self, connection: ClientConnection, request_id: int, request: WatchRequest) -> Watch | None:
        """Take in a watch that is still to be confirmed: `register` or `forget` must follow.

        Returns:
            The watch; None if there are too many, which its client is told.

        Raises:
            RemoteProtocolError: the connection has a watch of this id already.
        """
        limits = self._limits
        own = self._watches.get(connection, {})
        if request_id in own:
            raise RemoteProtocolError(f"a second watch {request_id} is asked for while the first one goes on")
        is_full = len(own) >= limits.per_connection_max or self.count >= limits.watches_max
        if is_full or not self._shares.take(connection.user, request):
            self._tell_end(connection, request_id, WatchEndReason.TOO_MANY, self._machine.revision)
            return None
        watch = Watch(connection, request_id, request)
        own[request_id] = watch
        self._watches[connection] = own
        self.count += 1
        return watch

    def register(self, watch: Watch) -> None:
        """Let a watch begin, after a ReadIndex; unless it is over by now."""
        if watch.is_over or watch.is_ending:
            return
        newest = self._machine.revision
        compacted = self._machine.history.compacted_revision
        start = watch.request.start_revision
        after = start - 1 if start else newest
        if self._is_stopping:
            self._end(watch, WatchEndReason.NODE_STOPPING)
        elif after > newest:
            self._end(watch, WatchEndReason.FUTURE_REVISION)
        elif after < compacted:
            self._end(watch, WatchEndReason.COMPACTED)
        else:
            self._begin(watch, after)

    def _begin(self, watch: Watch, after: int) -> None:
        if not self._feeds:
            self._matched = (self._machine.revision, 0)
        name = feed_name(watch.request)
        feed = self._feeds.get(name)
        if feed is None:
            feed = self._feeds[name] = Feed(name, self._matched)
            feed.is_indexed = self._index.add(feed)
            self._skip(feed)
            self._enqueue(feed)
        feed.watch_count += 1
        watch.feed = feed
        self._answers.owe(watch.connection, encode_watching(watch.request_id, after))
        self._told(watch, after)
        if WatchFlag.PROGRESS in watch.request.flags:
            self._marked.append(watch)
        if (after, 0) == self._start_of(feed):
            self._join(watch, feed)
        else:
            self._leave_feed(watch, (after, 0), is_partial=False)
            self._enqueue(watch)

    def forget(self, watch: Watch) -> bool:
        """A watch could not be confirmed; returns whether its client is still to be told so."""
        is_waiting = not watch.is_over
        if is_waiting:
            self._release(watch)
        return is_waiting

    def cancel(self, connection: ClientConnection, request_id: int) -> None:
        """End a watch, if there is such a one."""
        watch = self._watches.get(connection, {}).get(request_id)
        if watch is not None:
            self._end(watch, WatchEndReason.CANCELLED)

    def close(self, connection: ClientConnection) -> bool:
        """A connection is gone, and with it its watches, soon; returns whether it had any."""
        self._stalled.pop(connection, None)
        own = self._watches.pop(connection, {})
        self._leaving.extend((watch, None) for watch in own.values())
        return bool(own)

    def review(self, may: Callable[[ClientConnection, WatchRequest], bool]) -> None:
        """End all watches, soon, that their users may no longer have; they are told nothing more from now on."""
        for connection, own in self._watches.items():
            for watch in own.values():
                if not may(connection, watch.request):
                    watch.is_ending = True
                    self._leaving.append((watch, WatchEndReason.DENIED))

    def stop(self) -> None:
        """The node is going down: end all watches, soon, and any that still comes."""
        self._is_stopping = True
        self._send_elsewhere()

    # The turn.

    def turn(self) -> bool:
        """Match what is new and tell of it; returns whether there is more to do in a further turn."""
        if not self._feeds and not self._leaving:
            return False
        self._work = 0
        self._latest = None
        self._match()
        work_max = self._limits.turn_work
        while self._leaving and self._work < work_max:
            self._take_leave(*self._leaving.popleft())
        # Each one once in a turn, so that whoever cannot go on yet does not keep the loop busy.
        for _ in range(len(self._queue)):
            if self._work >= work_max:
                break
            item = self._queue.popleft()
            item.is_queued = False
            self._work += _ITEM_COST
            if isinstance(item, Feed):
                self._serve_feed(item)
            else:
                self._serve_watch(item)
        if not self._sweep and self._swept != self._matched:
            self._swept = self._matched
            self._sweep.extend(self._index.others)
        while self._sweep and self._work < work_max:
            feed = self._sweep.popleft()
            self._work += _ITEM_COST
            if not feed.is_queued:
                self._serve_feed(feed)
        if not self._feeds:
            self._queue.clear()
            self._sweep.clear()
        is_swept = not self._index.others or (not self._sweep and self._swept == self._matched)
        return bool(self._queue or self._leaving) or not is_swept or self._is_behind()

    def tick(self, *, is_led: bool) -> None:
        """Look after clients that had too much to read, and after progress marks; a turn is due then.

        `is_led`: whether this node leads, or hears a leader. One that is cut off, or was removed and could not be told,
        will learn nothing more, and its watches would be silent for ever.
        """
        for connection in list(self._stalled):
            if not self._is_stalled(connection):
                for watch in self._stalled.pop(connection):
                    self._enqueue(watch)
        now = self._clock()
        if is_led or self._unled_since is None:
            self._unled_since = None if is_led else now
        elif now - self._unled_since >= self._limits.unled_seconds:
            self._unled_since = now
            self._send_elsewhere()
        for _ in range(min(len(self._marked), self._limits.tick_marks)):
            watch = self._marked.popleft()
            if not watch.is_over:
                self._marked.append(watch)
                if now - watch.told_at >= self._limits.mark_seconds:
                    self._mark(watch, now)

    def _is_behind(self) -> bool:
        return bool(self._feeds) and self._matched != (self._machine.revision, 0)

    def _match(self) -> None:
        """Hand new changes to the feeds that they concern, and that are live."""
        if not self._is_behind():
            return
        history = self._machine.history
        if self._matched[0] < history.compacted_revision:
            self._lose_track(history)
        reading = read_history(history, self._matched, (self._machine.revision, 0), self._limits.matched_max)
        matching = self._index.matching
        for change in reading.changes:
            for feed in matching(change.key):
                pending = feed.pending
                if pending is None or not feed.wants(change):
                    continue
                if not pending and feed.piece is None:
                    feed.base = (change.revision - 1, 0)
                    self._enqueue(feed)
                pending.append(change)
                if len(pending) > self._limits.pending_max:
                    feed.pending = None
        self._matched = reading.end

    def _lose_track(self, history: History) -> None:
        """More has happened in one go than is held: no feed can tell of it."""
        for feed in self._feeds.values():
            if feed.pending is not None:
                if feed.is_settled:
                    feed.base = self._matched
                feed.pending = None
                self._enqueue(feed)
        self._matched = (history.compacted_revision, 0)

    # Feeds.

    def _start_of(self, feed: Feed) -> Position:
        """What one must have been told to be told what the members are told next."""
        return self._matched if feed.is_settled else feed.base

    def _serve_feed(self, feed: Feed) -> None:
        """Begin a round, or continue it."""
        if not feed.watch_count:
            return
        if feed.piece is None:
            self._begin_round(feed)
        piece = feed.piece
        if piece is not None and piece.body is not None:
            self._tell_members(feed, piece, piece.body)
        is_reading = feed.pending is None and (feed.is_indexed or feed.base != self._matched)
        if is_reading or feed.pending or feed.piece is not None:
            self._enqueue(feed)

    def _begin_round(self, feed: Feed) -> None:
        limits = self._limits
        if not feed.members:
            self._skip(feed)
            return
        piece: Piece | None = None
        if feed.pending is not None:
            piece = piece_of_pending(feed, self._matched[0], bytes_max=limits.body_bytes_max)
            if piece is None:
                feed.pending = None
        if piece is None:
            history = self._machine.history
            if feed.base[0] < history.compacted_revision:
                self._give_up(feed)
                return
            reading = self._read(feed, history, feed.base, self._matched)
            piece = piece_of_history(feed, reading, was_partial=feed.is_partial, bytes_max=limits.body_bytes_max)
            if feed.is_indexed and piece.end == self._matched and piece.end[1] == 0:
                feed.pending = []
        self._work += piece.change_count
        feed.piece = piece
        if piece.body is None:
            self._end_round(feed, piece)
        else:
            feed.todo = list(feed.members)
            feed.told = 0

    def _tell_members(self, feed: Feed, piece: Piece, body: bytes) -> None:
        todo = feed.todo
        work_max = self._limits.turn_work
        while feed.told < len(todo):
            watch = todo[feed.told]
            feed.told += 1
            if watch.is_over or watch.is_ending:
                continue
            if self._is_stalled(watch.connection):
                self._leave_feed(watch, feed.base, is_partial=feed.is_partial)
                self._stall(watch)
            else:
                self._tell(watch, piece, body)
            # Only now: if those before it in the queue, who wait for this very feed, have used up the turn, it must not
            # tell nobody, for they will be there in the next turn too.
            if self._work >= work_max and feed.told < len(todo):
                return
        self._end_round(feed, piece)

    def _end_round(self, feed: Feed, piece: Piece) -> None:
        feed.base = piece.end
        feed.is_partial = piece.is_partial
        feed.piece = None
        feed.todo = []

    def _give_up(self, feed: Feed) -> None:
        """What a feed would tell next is no longer held."""
        for watch in list(feed.members):
            self._leave_feed(watch, feed.base, is_partial=feed.is_partial)
            self._enqueue(watch)
        self._skip(feed)

    def _skip(self, feed: Feed) -> None:
        """Have a feed without members go on from where the matching is."""
        feed.base = self._matched
        feed.is_partial = False
        # What is live is told whole revisions, so in the middle of one it cannot begin to be.
        feed.pending = [] if feed.is_indexed and self._matched[1] == 0 else None

    def _read(self, feed: Feed, history: History, start: Position, until: Position) -> Reading:
        limit = self._limits.read_max
        if self._latest is not None and self._latest[:2] == (start, until):
            reading = self._latest[2]
            self._work += len(reading.changes) // _CHANGES_FOR_ONE
            return reading
        if feed.is_one_key and start[1] == until[1] == 0:
            changes = read_key(history, feed.low, start, until, limit)
            if changes is not None:
                self._work += len(changes.changes)
                return changes
        reading = read_history(history, start, until, limit)
        self._latest = start, until, reading
        self._work += len(reading.changes)
        return reading

    # Watches on their own.

    def _serve_watch(self, watch: Watch) -> None:
        """Give a watch the next piece, or let it become a member of its feed."""
        feed, position = watch.feed, watch.position
        if watch.is_over or watch.is_ending or feed is None or position is None:
            return
        history = self._machine.history
        if position[0] < history.compacted_revision:
            self._end(watch, WatchEndReason.COMPACTED)
            return
        if self._is_stalled(watch.connection):
            self._stall(watch)
            return
        until = self._start_of(feed)
        if position > until:
            # The feed is late, and will tell this watch nothing until it has come as far.
            if not feed.is_settled:
                self._enqueue(feed)
            self._enqueue(watch)
            return
        if position < until:
            reading = self._read(feed, history, position, until)
            piece = piece_of_history(feed, reading, was_partial=watch.is_partial, bytes_max=self._limits.body_bytes_max)
            self._work += piece.change_count
            if piece.body is not None:
                self._tell(watch, piece, piece.body)
            watch.position, watch.is_partial = piece.end, piece.is_partial
        if watch.position == until:
            self.behind_count -= 1
            self._join(watch, feed)
        else:
            self._enqueue(watch)

    def _join(self, watch: Watch, feed: Feed) -> None:
        watch.position = None
        feed.members[watch] = None
        if watch.is_partial:
            feed.is_partial = True
        if feed.piece is not None:
            feed.todo.append(watch)

    def _leave_feed(self, watch: Watch, position: Position, *, is_partial: bool) -> None:
        if watch.feed is not None:
            watch.feed.members.pop(watch, None)
        watch.position = position
        watch.is_partial = is_partial
        self.behind_count += 1

    def _stall(self, watch: Watch) -> None:
        self._stalled.setdefault(watch.connection, []).append(watch)

    def _is_stalled(self, connection: ClientConnection) -> bool:
        return connection.waiting_bytes > min(self._limits.unread_bytes_max, connection.unread_bytes_max)

    # Telling.

    def _enqueue(self, item: Feed | Watch) -> None:
        if not item.is_queued:
            item.is_queued = True
            self._queue.append(item)

    def _tell(self, watch: Watch, piece: Piece, body: bytes) -> None:
        self._answers.owe_parts(watch.connection, changes_head(watch.request_id, len(body)), body)
        self._work += _FRAME_COST + len(body) // _BYTES_FOR_ONE
        self.told_total += piece.change_count
        self._told(watch, piece.revision)

    def _told(self, watch: Watch, revision: int) -> None:
        watch.told_revision = revision
        watch.told_at = self._clock()

    def _mark(self, watch: Watch, now: float) -> None:
        """Tell a watch how far it has come, if that is news to it or it has heard nothing for long."""
        feed = watch.feed
        if feed is None or watch.is_ending or self._is_stalled(watch.connection):
            return
        revision = (self._start_of(feed) if watch.position is None else watch.position)[0]
        idle = now - watch.told_at >= self._limits.idle_mark_seconds
        if revision > watch.told_revision or (revision == watch.told_revision and idle):
            self._answers.owe(watch.connection, encode_progress(watch.request_id, revision))
            self._told(watch, revision)

    # Ending.

    def _send_elsewhere(self) -> None:
        """End all watches, soon; their clients go on at other nodes."""
        for own in self._watches.values():
            self._leaving.extend((watch, WatchEndReason.NODE_STOPPING) for watch in own.values())

    def _take_leave(self, watch: Watch, reason: WatchEndReason | None) -> None:
        self._work += _END_COST
        if watch.is_over:
            return
        if reason is None:
            self._release(watch)
        else:
            self._end(watch, reason)

    def _end(self, watch: Watch, reason: WatchEndReason) -> None:
        compacted = reason is WatchEndReason.COMPACTED
        revision = self._machine.history.compacted_revision if compacted else self._machine.revision
        self._tell_end(watch.connection, watch.request_id, reason, revision)
        self._release(watch)

    def _tell_end(
        self, connection: ClientConnection, request_id: int, reason: WatchEndReason, revision: Revision
    ) -> None:
        self.ended_total[reason] += 1
        self._answers.owe(connection, encode_watch_ended(request_id, reason, revision))

    def _release(self, watch: Watch) -> None:
        watch.is_over = True
        self.count -= 1
        self._shares.give_back(watch.connection.user, watch.request)
        if watch.position is not None:
            self.behind_count -= 1
        own = self._watches.get(watch.connection)
        if own is not None:
            own.pop(watch.request_id, None)
            if not own:
                del self._watches[watch.connection]
        feed, watch.feed = watch.feed, None
        if feed is None:
            return
        feed.members.pop(watch, None)
        feed.watch_count -= 1
        if not feed.watch_count:
            self._index.remove(feed)
            del self._feeds[feed.name]
