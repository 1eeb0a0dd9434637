"""Gives up a large state piece by piece: to free a million keys at once would stop everything for a third of a second.

Each function empties what it is given, and does so only as far as it is asked: with each step of its iterator one piece
goes, and the step says how many items that was. A collection that is emptied so must not be used by anybody else.
"""

from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

PIECE_ITEMS: Final = 2048
"""Items of a piece: some tenths of a millisecond."""

K = TypeVar("K")
V = TypeVar("V")


def drop_some(items: dict[K, V], many: int) -> int:
    """Drop as many items of a dict, or all; returns how many."""
    count = min(many, len(items))
    for _ in range(count):
        items.popitem()
    return count


def drop_items(items: dict[K, V]) -> Iterator[int]:
    """Empty a dict."""
    while items:
        yield drop_some(items, PIECE_ITEMS)
    items.clear()  # the room that it keeps for as many as it had goes only so


def drop_all(items: list[V]) -> Iterator[int]:
    """Empty a list."""
    while items:
        count = min(PIECE_ITEMS, len(items))
        del items[-count:]
        yield count


def in_pieces(steps: Iterable[int]) -> Iterator[int]:
    """Join steps that are small to some of `PIECE_ITEMS`, and fewer than that more."""
    count = 0
    for dropped in steps:
        count += dropped
        if count >= PIECE_ITEMS:
            yield count
            count = 0
    if count:
        yield count
