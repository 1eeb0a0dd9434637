"""Finds the feeds that a changed key concerns, whatever number of others there is.

A range that is one key, or all keys with one prefix, is looked up: one look for the key, and one for each length that a
watched prefix has. Nearly all ranges are of these two kinds. Any other range is a part of a prefix, of the longest one
that all of its keys have, and is looked up under that, and then looked at.

What would make each change dearer, the more there are of them, is not looked up at all: many parts of one prefix, and
prefixes of ever more lengths. Whoever has such feeds goes over them in his own time (`others`).
"""

from bisect import insort
from typing import Final

from raftd.kv.ranges import is_in_range, prefix_end
from raftd.node.watch_feed import Feed

_NO_FEEDS: Final[list[Feed]] = []


class WatchIndex:
    """Feeds by the keys that concern them."""

    __slots__ = (
        "_by_key", "_by_part", "_by_prefix", "_lengths", "_lengths_max", "_parts_max", "_prefixes_of_length", "others",
    )  # fmt: skip

    def __init__(self, lengths_max: int, parts_max: int) -> None:
        """Look up prefixes of `lengths_max` lengths, and `parts_max` parts of each, at most."""
        self._lengths_max = lengths_max
        self._parts_max = parts_max
        self._by_key: dict[bytes, list[Feed]] = {}
        self._by_prefix: dict[bytes, list[Feed]] = {}
        self._by_part: dict[bytes, list[Feed]] = {}
        self._prefixes_of_length: dict[int, int] = {}
        self._lengths: list[int] = []
        """Those that the dict above has, ascending."""
        self.others: dict[Feed, None] = {}
        """The feeds that `matching` does not find."""

    def add(self, feed: Feed) -> bool:
        """Take a feed in; returns whether `matching` will find it."""
        low, high = feed.low, feed.high
        if high and low >= high:
            return True  # No key concerns it.
        if feed.is_one_key:
            self._by_key.setdefault(low, []).append(feed)
            return True
        prefix = common_prefix(low, high)
        feeds_by = self._by_prefix if high == prefix_end(low) else self._by_part
        feeds = feeds_by.get(prefix, _NO_FEEDS)
        is_full = feeds_by is self._by_part and len(feeds) >= self._parts_max
        if is_full or not (feeds or self._takes_length(len(prefix))):
            self.others[feed] = None
            return False
        if not feeds:
            feeds_by[prefix] = [feed]
            self._count_length(len(prefix), 1)
        else:
            feeds.append(feed)
        return True

    def remove(self, feed: Feed) -> None:
        """Forget a feed that was taken in."""
        if feed in self.others:
            del self.others[feed]
            return
        if feed.high and feed.low >= feed.high:
            return
        if feed.is_one_key:
            _remove(self._by_key, feed.low, feed)
            return
        prefix = common_prefix(feed.low, feed.high)
        feeds_by = self._by_prefix if feed.high == prefix_end(feed.low) else self._by_part
        if _remove(feeds_by, prefix, feed):
            self._count_length(len(prefix), -1)

    def matching(self, key: bytes) -> list[Feed]:
        """The feeds that a change of `key` concerns, but for `others`; not to be changed by the caller."""
        found = self._by_key.get(key, _NO_FEEDS)
        by_prefix, by_part = self._by_prefix, self._by_part
        for length in self._lengths:
            if length > len(key):
                break
            prefix = key[:length]
            more = by_prefix.get(prefix)
            if more is not None:
                found = found + more if found else more
            parts = by_part.get(prefix)
            if parts is not None:
                found = found + [feed for feed in parts if is_in_range(key, feed.low, feed.high)]
        return found

    def _takes_length(self, length: int) -> bool:
        return length in self._prefixes_of_length or len(self._lengths) < self._lengths_max

    def _count_length(self, length: int, more: int) -> None:
        count = self._prefixes_of_length.get(length, 0) + more
        if count == 0:
            del self._prefixes_of_length[length]
            self._lengths.remove(length)
        else:
            if length not in self._prefixes_of_length:
                insort(self._lengths, length)
            self._prefixes_of_length[length] = count


def common_prefix(low: bytes, high: bytes) -> bytes:
    """A prefix, as long as is easily found, of all keys in a range that holds any."""
    if high == prefix_end(low):
        return low
    # Behind the last key of a prefix, which is where a range often ends, comes a key that does not have it.
    prefix = low[: len(high)]
    if high and high == prefix_end(prefix):
        return prefix
    # By halves, not byte by byte: a bound has four thousand, and one client may end ten thousand watches at once.
    same, differs = 0, min(len(low), len(high)) + 1
    while differs - same > 1:
        middle = (same + differs) // 2
        if low[:middle] == high[:middle]:
            same = middle
        else:
            differs = middle
    return low[:same]


def _remove(feeds_by: dict[bytes, list[Feed]], name: bytes, feed: Feed) -> bool:
    """Take a feed out; returns whether it was the last one of that name."""
    # There are few: as many as watches can differ in what they want to be told, or as parts are taken in.
    feeds = feeds_by[name]
    feeds.remove(feed)
    if not feeds:
        del feeds_by[name]
    return not feeds
