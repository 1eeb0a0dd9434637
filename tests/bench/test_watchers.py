"""The count of what watches were told."""

import asyncio

import pytest

from raftd.wire.client import ResponseKind
from raftd.wire.watch import changes_body
from tests.bench.subjects import BenchError
from tests.bench.watchers import Tally

HEADER = bytes(9)
CHANGES = HEADER + changes_body(5, [b"one", b"two"], is_partial=False)


def test_counts_changes_of_all_watches() -> None:
    """A watch's WATCHING and the changes of each frame are counted."""
    tally = Tally()
    for kind, payload in ((ResponseKind.WATCHING, HEADER), (ResponseKind.CHANGES, CHANGES)):
        tally.received(kind, payload)
        tally.received(kind, payload)
    asyncio.run(tally.reach(begun=2, changes=4))


def test_a_change_too_many_is_an_error() -> None:
    """What is told twice is not taken for speed."""
    tally = Tally()
    tally.received(ResponseKind.CHANGES, CHANGES)
    with pytest.raises(BenchError, match="2 changes were told, and 1 were to be"):
        asyncio.run(tally.reach(begun=0, changes=1))


def test_an_end_is_an_error() -> None:
    """A watch that ends, or whose connection does, is not waited for."""
    lost, ended = Tally(), Tally()
    lost.lost("gone")
    ended.received(ResponseKind.WATCH_ENDED, HEADER)
    for tally in (lost, ended):
        with pytest.raises(BenchError, match=r"a watch has ended: (gone|WATCH_ENDED)"):
            asyncio.run(tally.reach(begun=1, changes=0))
