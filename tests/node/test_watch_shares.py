from raftd.node.watch_shares import WatchShares
from raftd.wire.watch import WatchFlag, WatchRequest


def watch(low: bytes = b"", high: bytes = b"") -> WatchRequest:
    return WatchRequest(WatchFlag(0), 0, low, high)


def test_each_user_has_so_many() -> None:
    """One who has all of his takes nothing from another, and may have one again for one that is over."""
    shares = WatchShares(2, 100)
    assert [shares.take(b"alice", watch()) for _ in range(3)] == [True, True, False]
    assert shares.take(b"bob", watch())
    shares.give_back(b"alice", watch())
    assert [shares.take(b"alice", watch()) for _ in range(2)] == [True, False]


def test_each_user_has_ranges_of_so_many_bytes() -> None:
    """Both bounds of a range count; what was refused does not."""
    shares = WatchShares(100, 10)
    assert shares.take(b"alice", watch(b"abc", b"abcd"))
    assert not shares.take(b"alice", watch(b"abcd"))
    assert shares.take(b"alice", watch(b"a", b"bc"))
    assert shares.take(b"alice", watch())
    assert not shares.take(b"alice", watch(b"a"))
    shares.give_back(b"alice", watch(b"abc", b"abcd"))
    assert shares.take(b"alice", watch(b"a" * 7))


def test_whoever_has_none_leaves_nothing() -> None:
    """There may be any number of users in the course of time."""
    shares = WatchShares(2, 100)
    for user in (b"alice", b"bob"):
        for low in (b"", b"abc"):
            assert shares.take(user, watch(low))
    for user in (b"alice", b"bob"):
        for low in (b"", b"abc"):
            shares.give_back(user, watch(low))
    assert shares._shares == {}
