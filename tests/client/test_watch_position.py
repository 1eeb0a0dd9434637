"""A watch that is interrupted anywhere, in front of every kind of frame, delivers each change once and in order."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftd.client.results import Change, Progress
from raftd.client.watch_position import Batch, WatchPosition
from raftd.errors import RemoteProtocolError


def change(revision: int, number: int) -> Change:
    return Change("put", b"%d" % number, b"", revision, 1, 1, 0, False, 0.0, "", "")


def node_frames(changes: Sequence[Change], start_revision: int, newest: int, sizes: Sequence[int]) -> list[Batch]:
    """How a node cuts what follows `start_revision` into frames, of the given sizes in turn."""
    rest = [one for one in changes if one.revision >= start_revision]
    frames = []
    for number in range(len(rest) + 1):
        if not rest:
            break
        size = sizes[number % len(sizes)]
        some, rest = rest[:size], rest[size:]
        partial = bool(rest) and rest[0].revision == some[-1].revision
        frames.append(Batch(some[-1].revision if rest else newest, partial, some))
    frames.append(Batch(newest, False, ()))
    return frames


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5), st.lists(st.integers(1, 4), min_size=1)), max_size=8),
    st.integers(0, 3),
)
def test_interrupted_anywhere(
    counts: list[int], interruptions: list[tuple[int, int, list[int]]], quiet_after: int
) -> None:
    """Whatever frames a node makes, wherever they break off: no gap, no duplicate, the cluster's order."""
    # Revisions with a change each, some of several; two apart, since others' changes lie between.
    changes = [change(2 * revision, number) for revision, count in enumerate(counts, 1) for number in range(count)]
    newest = changes[-1].revision + quiet_after
    position = WatchPosition(1, wants_progress=False)
    delivered: list[Change | Progress] = []

    def drain(items_max: int | None = None) -> None:
        while items_max is None or items_max > 0:
            item = position.next()
            if item is None:
                return
            delivered.append(item)
            if items_max is not None:
                items_max -= 1

    for frame_count, _, sizes in [*interruptions, (1 << 30, 0, [3])]:
        assert position.start_revision is not None
        position.started(position.start_revision - 1)
        for batch in node_frames(changes, position.start_revision, newest, sizes)[:frame_count]:
            position.accept(batch)
            drain()
            assert position.revision is not None
            assert position.revision >= (delivered[-1].revision - 1 if delivered else 0)
    assert delivered == changes
    assert position.revision == newest


def test_the_revision_up_to_which_all_was_delivered() -> None:
    """It moves when the consumer has taken an item, and a partly delivered revision does not count."""
    position = WatchPosition(None, wants_progress=False)
    assert (position.start_revision, position.revision) == (None, None)
    position.started(4)
    assert (position.start_revision, position.revision) == (5, 4)
    position.accept(Batch(9, True, [change(6, 0), change(9, 0), change(9, 1)]))
    assert position.revision == 4
    position.next()
    assert position.revision == 5
    position.next()
    assert position.revision == 8
    position.next()
    assert (position.revision, position.start_revision, position.waiting) == (8, 9, True)
    position.accept(Batch(9, False, ()))
    assert position.next() is None
    assert position.revision == 9


def test_progress_marks_on_request() -> None:
    """They are items for who wants them, and move the position for everybody."""
    for wanted in (True, False):
        position = WatchPosition(3, wants_progress=wanted)
        position.started(2)
        position.accept(Batch(7, False, ()))
        assert position.next() == (Progress(7) if wanted else None)
        assert position.next() is None
        assert position.revision == 7


def test_a_node_that_starts_elsewhere() -> None:
    """A watch that would have a gap, or see something twice, is refused."""
    position = WatchPosition(5, wants_progress=False)
    for revision in (3, 5):
        with pytest.raises(RemoteProtocolError):
            position.started(revision)


@pytest.mark.parametrize(
    "batch",
    [
        Batch(3, False, ()),
        Batch(7, False, [change(4, 0)]),
        Batch(6, False, [change(7, 0)]),
    ],
)
def test_a_node_that_contradicts_itself(batch: Batch) -> None:
    """Changes that lie behind, or beyond what the frame says, are refused, and nothing of them is delivered."""
    position = WatchPosition(5, wants_progress=False)
    position.started(4)
    with pytest.raises(RemoteProtocolError):
        position.accept(batch)
    assert position.waiting


def test_what_was_delivered_of_a_revision_is_left_out() -> None:
    """However few changes a frame has; a frame of which nothing is new is no progress mark."""
    position = WatchPosition(5, wants_progress=True)
    position.started(4)
    position.accept(Batch(5, True, [change(5, 0), change(5, 1)]))
    assert [position.next() for _ in range(3)] == [change(5, 0), change(5, 1), None]
    position.started(4)
    for number in range(2):
        position.accept(Batch(5, True, [change(5, number)]))
        assert position.next() is None
    position.accept(Batch(5, False, [change(5, 2)]))
    assert [position.next(), position.next()] == [change(5, 2), None]
    assert position.revision == 5
