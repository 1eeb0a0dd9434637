import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.kv.limits import KEY_BYTES_MAX
from raftd.kv.ranges import is_in_range, prefix_end
from raftd.node.watch_feed import Feed
from raftd.node.watch_index import WatchIndex, common_prefix
from raftd.wire.watch import WatchFlag

ALPHABET = [b"", b"\0", b"a", b"ab", b"ab\0", b"ac", b"b", b"\xff", b"\xff\xff", b"a\xff", b"abc", b"abd"]
FLAGS = [WatchFlag(0), WatchFlag.PREVIOUS]
bounds = st.sampled_from(ALPHABET)


def feed(low: bytes, high: bytes, flags: WatchFlag = FLAGS[0]) -> Feed:
    return Feed((low, high, flags), (0, 0))


def is_found(index: WatchIndex, wanted: Feed, key: bytes) -> bool:
    found = index.matching(key)
    assert len(set(found)) == len(found)
    return wanted in found


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(bounds, bounds, st.sampled_from(FLAGS)), max_size=20),
    st.sampled_from([0, 1, 2, 16]),
    st.sampled_from([0, 1, 16]),
    st.randoms(use_true_random=False),
)
def test_exactly_what_a_key_concerns_is_found(
    names: list[tuple[bytes, bytes, WatchFlag]], lengths_max: int, parts_max: int, draw: random.Random
) -> None:
    """Whatever ranges there are, and were: found by the index, or one of the others."""
    index = WatchIndex(lengths_max, parts_max)
    feeds = [Feed(name, (0, 0)) for name in set(names)]
    indexed = {each: index.add(each) for each in feeds}
    for each in draw.sample(feeds, len(feeds) // 2):
        index.remove(each)
        feeds.remove(each)
    assert set(index.others) == {each for each in feeds if not indexed[each]}
    for key in ALPHABET[1:]:
        assert {each for each in feeds if is_found(index, each, key)} == {
            each for each in feeds if indexed[each] and is_in_range(key, each.low, each.high)
        }
    for each in feeds:
        index.remove(each)
    assert not index.others
    assert not any((index._by_key, index._by_prefix, index._by_part, index._lengths, index._prefixes_of_length))


@pytest.mark.parametrize(
    ("low", "high", "is_indexed"),
    [
        (b"key", b"key\0", True),
        (b"key", prefix_end(b"key"), True),
        (b"", b"", True),
        (b"\xff", b"", True),
        (b"b", b"a", True),
        (b"a", b"c", False),
        (b"a", b"", False),
    ],
)
def test_keys_and_prefixes_are_indexed(low: bytes, high: bytes, is_indexed: bool) -> None:
    """And ranges that hold nothing; other ranges as far as there may be parts of prefixes."""
    assert WatchIndex(1, 0).add(feed(low, high)) == is_indexed
    assert WatchIndex(1, 1).add(feed(low, high))


def test_only_so_many_lengths_are_looked_up() -> None:
    """Each costs every change of a longer key something; when one is watched no more another may take its place."""
    index = WatchIndex(8, 16)
    feeds = [feed(b"a" * length, prefix_end(b"a" * length)) for length in range(1, 10)]
    assert [index.add(each) for each in feeds] == [True] * 8 + [False]
    assert index.add(feed(b"b", b"c"))
    index.remove(feeds[1])
    index.remove(feeds[-1])
    assert index.add(feeds[-1])
    assert len(index.matching(b"a" * 100)) == 8


def test_only_so_many_parts_of_a_prefix_are_compared() -> None:
    """Each costs every change below the prefix something."""
    index = WatchIndex(8, 4)
    feeds = [feed(b"key/%d" % number, b"key/x") for number in range(6)]
    assert [index.add(each) for each in feeds] == [True] * 4 + [False] * 2
    assert index.matching(b"key/2") == feeds[:3]
    index.remove(feeds[0])
    index.remove(feeds[5])
    assert index.add(feeds[5])


@pytest.mark.parametrize(
    ("low", "high", "prefix"),
    [
        (b"a/", b"a0", b"a/"),
        (b"a/xyz", b"a0", b"a/"),
        (b"a/x", b"a/y/z", b"a/"),
        (b"ab", b"abc", b"ab"),
        (b"a", b"c", b""),
        (b"a", b"", b""),
        (b"\xff", b"", b"\xff"),
        (b"", b"", b""),
        (b"", b"x", b""),
    ],
)
def test_common_prefixes(low: bytes, high: bytes, prefix: bytes) -> None:
    """All keys of the range have it; where a range ends with a prefix it is that one."""
    assert common_prefix(low, high) == prefix


@given(st.binary(max_size=40), st.binary(max_size=5), st.binary(max_size=5))
def test_the_longest_common_prefix_is_found(prefix: bytes, low: bytes, high: bytes) -> None:
    """Where the range is not all keys with some prefix."""
    low, high = prefix + b"a" + low, prefix + b"c" + high
    assert common_prefix(low, high) == prefix


def test_a_long_prefix_takes_few_looks() -> None:
    """Each watch that ends has its range looked up, and a client may end all of its own in one piece."""
    looks = 0

    class Bound(bytes):
        def __getitem__(self, wanted: Any) -> Any:
            nonlocal looks
            looks += 1
            return super().__getitem__(wanted)

    prefix = bytes(KEY_BYTES_MAX - 1)
    assert common_prefix(Bound(prefix + b"1"), Bound(prefix + b"3")) == prefix
    assert looks < 40
