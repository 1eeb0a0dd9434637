"""Going through a range page by page: the token that says where a page begins, and the pages one after the other."""

import asyncio
import base64
import binascii
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from raftd.client.errors import InvalidRequest
from raftd.client.results import KeyValue

_TOKEN: Final = struct.Struct("<BQ")
_TOKEN_VERSION: Final = 1


class PageStart(NamedTuple):
    """Where a page begins."""

    revision: int
    """Of the first page, so that all show one state."""
    low: bytes
    """The lowest key that it may have, in the user's form: a token is no way to see a namespace."""

    def encode(self) -> str:
        """As a token of letters, digits, `-` and `_`."""
        token = _TOKEN.pack(_TOKEN_VERSION, self.revision) + self.low
        return base64.urlsafe_b64encode(token).rstrip(b"=").decode()

    @classmethod
    def decode(cls, token: str) -> "PageStart":
        """Raises: InvalidRequest: this is no token."""
        try:
            data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            version, revision = _TOKEN.unpack_from(data)
        except (binascii.Error, struct.error, ValueError):
            version, revision, data = 0, 0, b""
        if version != _TOKEN_VERSION or len(data) == _TOKEN.size:
            raise InvalidRequest("page is not what an earlier page has in next_page")
        return cls(revision, data[_TOKEN.size :])


def behind(key: bytes) -> bytes:
    """The lowest key that is greater than this one."""
    return key + b"\x00"


class FetchedPage(NamedTuple):
    """A page as the cluster has it."""

    items: Sequence[KeyValue]
    revision: int
    next_low: bytes | None
    """Where the next one begins; None: there is none."""


class Pages:
    """All pages of a range at one revision; the next one is fetched while one is being read.

    Args:
        fetch: gets the page that begins at `low`, as it was at a revision; None: as it is now.
        low: where the first page begins.
    """

    def __init__(self, fetch: Callable[[bytes, int | None], Awaitable[FetchedPage]], low: bytes) -> None:
        self._fetch = fetch
        self._next_low: bytes | None = low
        self._revision: int | None = None
        self._fetching: asyncio.Task[FetchedPage] | None = None

    async def next(self) -> Sequence[KeyValue]:
        """The next page; empty: there is none. Raises: ClientError."""
        task, self._fetching = self._fetching, None
        if task is not None:
            try:
                page = await task
            except asyncio.CancelledError:
                task.cancel()
                raise
        elif self._next_low is not None:
            page = await self._fetch(self._next_low, self._revision)
        else:
            return ()
        self._revision, self._next_low = page.revision, page.next_low
        if page.next_low is not None:
            self._fetching = asyncio.ensure_future(self._fetch(page.next_low, page.revision))
            self._fetching.add_done_callback(_look_at)
        return page.items

    async def close(self) -> None:
        """Fetch no further page; closing twice is allowed."""
        task, self._fetching = self._fetching, None
        self._next_low = None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _look_at(task: "asyncio.Task[FetchedPage]") -> None:
    """Look at what became of a page for which perhaps nobody asks any more."""
    if not task.cancelled():
        task.exception()
