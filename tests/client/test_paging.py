import asyncio
import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftd.client import InvalidRequest, Unavailable
from raftd.client.paging import FetchedPage, Pages, PageStart, behind
from raftd.client.results import KeyValue


@given(st.integers(0, (1 << 64) - 1), st.binary(min_size=1, max_size=100))
def test_tokens_come_back(revision: int, low: bytes) -> None:
    """A token can be printed, needs no quoting, and says the same when it is read."""
    token = PageStart(revision, low).encode()
    assert token.replace("-", "").replace("_", "").isalnum()
    assert PageStart.decode(token) == PageStart(revision, low)


def test_a_token_is_good_for_other_versions_of_this_client() -> None:
    """So it must stay as it is."""
    assert PageStart(1, b"a").encode() == "AQEAAAAAAAAAYQ"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a",
        "AAAA",
        "ä",
        "AQAAAAAAAAAA",
        "//////////////",
        PageStart(1, b"a").encode()[:-1] + "!",
        "AQEAAAAAAAAAYQ!!!!",
    ],
)
def test_what_is_no_token(token: str) -> None:
    """Whatever else one gives as a page is refused."""
    with pytest.raises(InvalidRequest, match="next_page"):
        PageStart.decode(token)


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_nothing_lies_between_a_key_and_behind_it(key: bytes, other: bytes) -> None:
    """A page that goes on behind a key leaves out no key, and repeats none."""
    assert (other > key) == (other >= behind(key))


class Source:
    """Pages of one key each."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.asked: list[tuple[bytes, int | None]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self, low: bytes, revision: int | None) -> FetchedPage:
        self.asked.append((low, revision))
        await self.gate.wait()
        number = low[0] if low else 0
        if number == 99:
            raise Unavailable("nobody is there")
        key = bytes((number,))
        last = number + 1 == self.count
        return FetchedPage([KeyValue(key, b"", 1, 1, 1, 7)], 7, None if last else bytes((number + 1,)))


def test_the_next_page_is_fetched_ahead() -> None:
    """While one page is read, the next one is on its way, at the revision of the first; and only that one."""

    async def scenario() -> None:
        source = Source(4)
        pages = Pages(source.fetch, b"")
        keys = []
        while page := await pages.next():
            keys += [item.key[0] for item in page]
            await asyncio.sleep(0)
            assert len(source.asked) == min(len(keys) + 1, 4)
        assert keys == [0, 1, 2, 3]
        assert source.asked == [(b"", None), (b"\1", 7), (b"\2", 7), (b"\3", 7)]
        assert await pages.next() == ()

    asyncio.run(scenario())


def test_closing_ends_what_is_under_way() -> None:
    """A page that is being fetched is given up."""

    async def scenario() -> None:
        source = Source(4)
        pages = Pages(source.fetch, b"")
        await pages.next()
        source.gate.clear()
        await asyncio.sleep(0)
        await pages.close()
        await pages.close()
        assert await pages.next() == ()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(scenario())


def test_an_error_ahead_of_the_reader() -> None:
    """A page that could not be had is an error when it is asked for, and silent if nobody asks."""

    async def scenario() -> None:
        for ask in (True, False):
            source = Source(200)
            pages = Pages(source.fetch, b"\x62")
            await pages.next()
            await asyncio.sleep(0)
            if ask:
                with pytest.raises(Unavailable):
                    await pages.next()
            else:
                await pages.close()

    asyncio.run(scenario())


def test_an_error_ahead_of_a_reader_that_is_gone() -> None:
    """Nobody is told that an error was not looked at."""

    async def scenario() -> None:
        complaints: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        pages = Pages(Source(200).fetch, b"\x62")
        await pages.next()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del pages
        gc.collect()
        assert complaints == []

    asyncio.run(scenario())


def test_a_reader_that_is_cancelled() -> None:
    """Cancelling who waits for a page cancels the fetching."""

    async def scenario() -> None:
        source = Source(4)
        pages = Pages(source.fetch, b"")
        await pages.next()
        source.gate.clear()
        reader = asyncio.create_task(pages.next())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(scenario())
