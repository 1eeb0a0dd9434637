import random

import pytest

from raftd.kv.changes import Change, decode_changes
from raftd.kv.types import NO_LEASE, Revision
from raftd.node.watch_feed import (
    Feed,
    Piece,
    Position,
    feed_name,
    piece_of_history,
    piece_of_pending,
    read_history,
    read_key,
)
from raftd.wire.client import BODY_OFFSET
from raftd.wire.watch import CHANGES_OFFSET, WatchFlag, WatchRequest, decode_changes_head
from tests.node.watch_parts import FakeMachine


def machine_with(sizes: list[int], draw: random.Random) -> FakeMachine:
    """Revisions with so many changes each."""
    machine = FakeMachine()
    for size in sizes:
        machine.change(*((b"%02d" % key, bytes(draw.randrange(30))) for key in draw.sample(range(40), size)))
    return machine


def positions(machine: FakeMachine) -> list[Position]:
    """All that there are, in order."""
    found: list[Position] = [(0, 0)]
    for revision in range(1, machine.revision + 1):
        size = sum(change.revision == revision for change in machine.log)
        found += [(revision - 1, count) for count in range(1, size)]
        found.append((revision, 0))
    return found


def before(machine: FakeMachine, position: Position) -> int:
    """How many changes there are up to a position."""
    return sum(change.revision <= position[0] for change in machine.log) + position[1]


def told(piece: Piece) -> list[tuple[int, bytes]]:
    assert piece.body is not None
    payload = bytes(BODY_OFFSET) + piece.body
    head = decode_changes_head(payload)
    assert head == (piece.revision, piece.is_partial, piece.change_count)
    changes, end = decode_changes(payload, CHANGES_OFFSET, head.change_count)
    assert end == len(payload)
    return [(change.revision, change.key) for change in changes]


@pytest.mark.parametrize("seed", range(30))
def test_reading_goes_from_position_to_position(seed: int) -> None:
    """Between any two, in pieces of any size: all changes, in order."""
    draw = random.Random(seed)
    machine = machine_with([draw.choice([1, 1, 2, 5]) for _ in range(8)], draw)
    every = positions(machine)
    for _ in range(50):
        start, until = sorted(draw.choices(every, k=2))
        limit = draw.choice([1, 2, 3, 100])
        position = start
        changes: list[Change] = []
        while position != until:
            reading = read_history(machine.history, position, until, limit)
            assert 0 <= len(reading.changes) <= limit
            assert reading.end > position
            changes += reading.changes
            position = reading.end
        assert changes == machine.log[before(machine, start) : before(machine, until)]


def test_revisions_without_changes_are_passed_over() -> None:
    """A transaction may take back what it does, and still be one."""
    machine = FakeMachine()
    machine.change()
    machine.change((b"a", b""))
    machine.change()
    reading = read_history(machine.history, (0, 0), (3, 0), 10)
    assert (len(reading.changes), reading.end) == (1, (3, 0))


@pytest.mark.parametrize("seed", range(30))
def test_pieces_are_bounded_and_say_how_far_they_go(seed: int) -> None:
    """Whatever bounds there are: each piece has bytes within them or one change, and together they have all."""
    draw = random.Random(seed)
    machine = machine_with([draw.choice([1, 1, 2, 9]) for _ in range(8)], draw)
    feed = Feed((b"1", b"3", WatchFlag(0)), (0, 0))
    until = draw.choice(positions(machine))
    limit, bytes_max = draw.choice([1, 3, 100]), draw.choice([1, 150, 10_000])
    position, is_partial, found = (0, 0), False, []
    while position != until:
        reading = read_history(machine.history, position, until, limit)
        piece = piece_of_history(feed, reading, was_partial=is_partial, bytes_max=bytes_max)
        if piece.body is not None:
            changes = told(piece)
            assert len(changes) <= 1 or len(piece.body) <= bytes_max + 13
            found += changes
        else:
            assert piece.is_partial == is_partial
        position, is_partial = piece.end, piece.is_partial
        assert before(machine, position) <= before(machine, until)
    concerned = [change for change in machine.log[: before(machine, until)] if b"1" <= change.key < b"3"]
    assert found == [(change.revision, change.key) for change in concerned]
    assert is_partial == any(change.revision == until[0] + 1 for change in concerned)


def test_what_was_told_partly_is_told_to_its_end() -> None:
    """Though the rest of the revision does not concern the feed."""
    machine = FakeMachine()
    machine.change((b"a", b""), (b"x", b""))
    feed = Feed((b"a", b"b", WatchFlag(0)), (0, 0))
    piece = piece_of_history(feed, read_history(machine.history, (0, 0), (1, 0), 1), was_partial=False, bytes_max=1000)
    assert (piece.is_partial, piece.revision, piece.end) == (True, 1, (0, 1))
    piece = piece_of_history(feed, read_history(machine.history, (0, 1), (1, 0), 1), was_partial=True, bytes_max=1000)
    assert (told(piece), piece.is_partial, piece.revision) == ([], False, 1)
    piece = piece_of_history(feed, read_history(machine.history, (0, 1), (1, 0), 1), was_partial=False, bytes_max=1000)
    assert (piece.body, piece.end) == (None, (1, 0))


def test_the_changes_of_one_key_are_found_without_the_others() -> None:
    """In order, and only if there are few: else the whole history is read on, piece by piece."""
    machine = FakeMachine()
    for number in range(10):
        machine.change((b"key" if number % 3 == 0 else b"other", b""))
    reading = read_key(machine.history, b"key", (1, 0), (9, 0), 10)
    assert reading is not None
    assert ([change.revision for change in reading.changes], reading.end) == ([4, 7], (9, 0))
    assert read_key(machine.history, b"key", (0, 0), (10, 0), 3) is None


def pending_feed(*changes: tuple[int, int]) -> Feed:
    """A live feed that was handed changes: (revision, bytes of the value)."""
    feed = Feed((b"", b"", WatchFlag(0)), (0, 0))
    feed.pending = []
    for number, size in changes:
        revision = Revision(number)
        record = (revision, revision, 1, NO_LEASE, b"", bytes(size))
        feed.pending.append(Change(revision, b"k", None, record, False, 0, b"", b""))
    return feed


def test_what_is_pending_is_told_in_whole_revisions() -> None:
    """As many as fit; of a revision of which more may come, nothing yet."""
    feed = pending_feed((1, 10), (2, 10), (2, 10), (3, 10), (4, 10))
    piece = piece_of_pending(feed, 3, bytes_max=200)
    assert piece is not None
    assert ([revision for revision, _ in told(piece)], piece.end) == ([1, 2, 2], (2, 0))
    piece = piece_of_pending(feed, 3, bytes_max=200)
    assert piece is not None
    assert ([revision for revision, _ in told(piece)], piece.end) == ([3], (3, 0))
    assert piece_of_pending(feed, 3, bytes_max=200) == Piece(None, 0, (0, 0), is_partial=False)
    assert feed.pending is not None
    assert len(feed.pending) == 1


def test_a_revision_that_is_too_large_to_be_told_in_whole() -> None:
    """Nothing is taken: it is to be read from the history, which knows positions. One change goes, however large."""
    feed = pending_feed((1, 100), (1, 100))
    assert piece_of_pending(feed, 1, bytes_max=150) is None
    assert feed.pending is not None
    assert len(feed.pending) == 2
    piece = piece_of_pending(pending_feed((1, 1000), (2, 1000)), 2, bytes_max=150)
    assert piece is not None
    assert (piece.change_count, piece.end) == (1, (1, 0))


def test_watches_share_a_feed_if_they_want_the_same() -> None:
    """Progress marks are each watch's own."""
    flags = WatchFlag.PREVIOUS | WatchFlag.KEYS_ONLY
    assert feed_name(WatchRequest(flags | WatchFlag.PROGRESS, 7, b"a", b"b")) == (b"a", b"b", flags)
    assert feed_name(WatchRequest(flags, 0, b"a", b"b")) == (b"a", b"b", flags)
