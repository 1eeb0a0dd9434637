"""What is watched, and how far: feeds, the watches that share them, and how a piece of the history becomes a frame.

All watches of one range that want to be told the same share a *feed*: what there is to tell is encoded once for all.
A feed tells in *rounds*, one after the other: a body is made of what has changed since the last one, and goes to each
of its members, some in this turn of the loop and the rest in the next ones. What changes meanwhile goes into the next
round, so under load the bodies become longer, and not more.

A *position* is how much of the history was told: all up to a revision, and so many changes of the one that follows. It
counts all changes, whether they concern the feed or not.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from operator import itemgetter
from typing import Final, NamedTuple, Protocol, TypeAlias

from raftd.kv.changes import Change, encode_change
from raftd.kv.types import Revision
from raftd.node.connection import ClientConnection
from raftd.wire.watch import WatchFlag, WatchRequest, changes_body

Position: TypeAlias = tuple[int, int]
"""(revision, changes): all up to the revision, and so many changes of the next one."""

_CONTENT: Final = WatchFlag.PREVIOUS | WatchFlag.NO_PUTS | WatchFlag.NO_DELETES | WatchFlag.KEYS_ONLY
_revision_of: Final = itemgetter(0)

FeedName: TypeAlias = tuple[bytes, bytes, WatchFlag]
"""(low, high, flags): feeds differ in nothing else."""


class History(Protocol):
    """The changes that the state machine still holds."""

    @property
    def compacted_revision(self) -> Revision:
        """Changes up to and including it are no longer held."""
        ...

    def changes_after(self, revision: Revision, limit: int, skipped: int, /) -> Sequence[Change]:
        """The first `limit` changes behind `skipped` ones after a revision that is not below `compacted_revision`."""
        ...

    def changes_of(self, key: bytes, before_revision: Revision, /) -> Iterator[Change]:
        """The changes of one key that are held, below a revision, newest first."""
        ...


class Machine(Protocol):
    """What must be known of the state machine."""

    @property
    def revision(self) -> Revision:
        """The newest."""
        ...

    @property
    def history(self) -> History:
        """The changes that are held; another one after a snapshot was installed."""
        ...


class Watch:
    """One client's watch. Fields are those of `raftd.node.watches` to change.

    Either it is a member of its feed and has come as far as that; or it is on its own, at `position`, because it begins
    in the past or its client reads too slowly; or it waits to be confirmed and has no feed yet; or it is over.
    """

    __slots__ = (
        "connection", "feed", "is_ending", "is_over", "is_partial", "is_queued", "position", "request", "request_id",
        "told_at", "told_revision",
    )  # fmt: skip

    def __init__(self, connection: ClientConnection, request_id: int, request: WatchRequest) -> None:
        self.connection = connection
        self.request_id = request_id
        self.request = request
        self.feed: Feed | None = None
        self.position: Position | None = None
        self.is_partial = False
        """Whether the last frame to a watch on its own ended in the middle of a revision."""
        self.is_queued = False
        self.is_ending = False
        """It is told nothing more, but that it has ended."""
        self.is_over = False
        self.told_revision = 0
        """What the last frame said that it was told up to, and when that was."""
        self.told_at = 0.0


class Piece(NamedTuple):
    """A body of a CHANGES, and what it stands for."""

    body: bytes | None
    """None: nothing is to be told."""
    change_count: int
    end: Position
    """How far one has come with it."""
    is_partial: bool
    """Whether `end` is in the middle of a revision of which something was told."""

    @property
    def revision(self) -> int:
        """What the body says that one was told up to."""
        return self.end[0] + 1 if self.is_partial else self.end[0]


class Feed:
    """One range, and all that want to be told the same of it. Fields are those of `raftd.node.watches` to change.

    A *live* feed is handed the changes that concern it, as `pending`, in whole; all others read the history themselves,
    from `base` on.

    Invariants: nothing after `base` and before the first of `pending` concerns a live feed, but for what is in the
    round; each member has been told all up to `base`, and with a round under way some have been told `piece` too.
    """

    __slots__ = (
        "base", "flags", "high", "is_indexed", "is_partial", "is_queued", "low", "members", "pending", "piece",
        "todo", "told", "watch_count",
    )  # fmt: skip

    def __init__(self, name: FeedName, base: Position) -> None:
        self.low, self.high, self.flags = name
        self.members: dict[Watch, None] = {}
        self.watch_count = 0
        """Members, and those that are on their own."""
        self.base = base
        self.is_partial = False
        """Whether the last round ended in the middle of a revision of which something was told."""
        self.pending: list[Change] | None = None
        """None: this feed is not live."""
        self.is_indexed = False
        """Whether it can be live."""
        self.is_queued = False
        self.piece: Piece | None = None
        """The round under way; None between rounds."""
        self.todo: list[Watch] = []
        self.told = 0
        """So many of `todo` had their turn."""

    @property
    def name(self) -> FeedName:
        """What the feed is found by."""
        return self.low, self.high, self.flags

    @property
    def is_one_key(self) -> bool:
        """Whether its range is a single key, `low`."""
        return self.high == self.low + b"\0"

    @property
    def is_settled(self) -> bool:
        """Whether its members have been told all that was handed to it."""
        return self.piece is None and not self.pending and self.pending is not None

    def wants(self, change: Change) -> bool:
        """Whether to tell of a change that is in the range."""
        return (WatchFlag.NO_DELETES if change.record is None else WatchFlag.NO_PUTS) not in self.flags

    def concerns(self, change: Change) -> bool:
        """Whether to tell of a change."""
        return self.low <= change.key and (not self.high or change.key < self.high) and self.wants(change)

    def encode(self, change: Change) -> bytes:
        """The bytes of a change, as this feed's watches want it."""
        flags = self.flags
        return encode_change(change, values=WatchFlag.KEYS_ONLY not in flags, previous=WatchFlag.PREVIOUS in flags)


def feed_name(request: WatchRequest) -> FeedName:
    """The feed that is for a watch."""
    return request.low, request.high, request.flags & _CONTENT


class Reading(NamedTuple):
    """Some of the history, in order, and where it begins and ends."""

    changes: Sequence[Change]
    start: Position
    end: Position

    def before(self, at: int) -> Position:
        """The position right before `changes[at]`."""
        revision = self.changes[at].revision
        first = bisect_left(self.changes, revision, key=_revision_of)
        # Of the revision in which the reading begins there may be changes in front of it.
        skipped = self.start[1] if revision == self.start[0] + 1 else 0
        return revision - 1, skipped + at - first


def read_history(history: History, start: Position, until: Position, limit: int) -> Reading:
    """Read on from a position, up to another one that is not before it, and `limit` changes at most."""
    revision, skipped = start
    changes = history.changes_after(Revision(revision), limit + 1, skipped)
    reading = Reading(changes, start, until)
    stop = bisect_right(changes, until[0], key=_revision_of)
    if stop < len(changes):
        # Some are behind the revision of `until`, and so many of these are to be read.
        stop += until[1] - (skipped if until[0] == revision else 0)
    if stop <= limit:
        return reading._replace(changes=changes[:stop])
    return Reading(changes[:limit], start, reading.before(limit))


def read_key(history: History, key: bytes, start: Position, until: Position, limit: int) -> Reading | None:
    """The same of the changes of one key, however many others there are; None if there are more than `limit`.

    A key's changes do not tell where they are in their revisions, so `start` and `until` must be between revisions.
    """
    newest_first = history.changes_of(key, Revision(until[0] + 1))
    changes = list(islice(takewhile(lambda change: change.revision > start[0], newest_first), limit + 1))
    if len(changes) > limit:
        return None
    changes.reverse()
    return Reading(changes, start, until)


def piece_of_history(feed: Feed, reading: Reading, *, was_partial: bool, bytes_max: int) -> Piece:
    """Make the next piece of what was read.

    A body has `bytes_max` bytes of changes at most, or one change. What was told partly is told to its end, even if
    there is nothing more to tell: `was_partial` says whether it was.
    """
    end = reading.end
    encoded: list[bytes] = []
    size = 0
    last_revision = 0
    for at, change in enumerate(reading.changes):
        if not feed.concerns(change):
            continue
        data = feed.encode(change)
        size += len(data)
        if size > bytes_max and encoded:
            end = reading.before(at)
            break
        encoded.append(data)
        last_revision = change.revision
    if encoded:
        is_partial = end[1] > 0 and last_revision == end[0] + 1
    elif was_partial and end[1] == 0:
        is_partial = False
    else:
        return Piece(None, 0, end, was_partial)
    told = end[0] + 1 if is_partial else end[0]
    body = changes_body(told, encoded, is_partial=is_partial)
    return Piece(body, len(encoded), end, is_partial)


def piece_of_pending(feed: Feed, matched_revision: int, *, bytes_max: int) -> Piece | None:
    """Make the next piece of what a live feed was handed of revisions up to `matched_revision`, and take it from there.

    Returns:
        The piece, of whole revisions; None if already the first one has too many bytes, and nothing is taken.
    """
    pending = feed.pending or []
    encoded: list[bytes] = []
    size = 0
    whole = 0  # of `encoded`, up to the end of a revision
    end = (matched_revision, 0)
    for change in pending:
        if encoded and change.revision != pending[len(encoded) - 1].revision:
            whole = len(encoded)
        if change.revision > matched_revision:
            break
        data = feed.encode(change)
        size += len(data)
        if size > bytes_max and encoded:
            if not whole:
                return None
            del encoded[whole:]
            end = (pending[whole - 1].revision, 0)
            break
        encoded.append(data)
    count = len(encoded)
    del pending[:count]
    if not count:
        return Piece(None, 0, feed.base, is_partial=False)
    body = changes_body(end[0], encoded, is_partial=False)
    return Piece(body, count, end, is_partial=False)
