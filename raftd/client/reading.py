"""Reads of keys: what is asked for becomes a query, and its answer a result."""

from collections.abc import Callable
from typing import Final, TypeVar

from raftd.client import showing
from raftd.client.asking import Asker
from raftd.client.errors import FutureRevision, InvalidRequest
from raftd.client.namespace import Namespace, to_revision
from raftd.client.operations import to_limit
from raftd.client.outcomes import require_ok
from raftd.client.paging import FetchedPage, Pages, PageStart, behind
from raftd.client.results import Change, KeyValue, Page
from raftd.client.retry import Attempts
from raftd.kv import answers
from raftd.kv import operations as kv
from raftd.kv.answers import Answer, Outcome
from raftd.kv.pages import RangePage, decode_history, decode_range
from raftd.kv.queries import HistoryQuery, QueryOpcode, RangeQuery, encode_query
from raftd.kv.types import Revision
from raftd.wire.client import Consistency, RequestKind, encode_read_body

T = TypeVar("T")

_HISTORY_PAGE: Final = 1000


class Reader:
    """The reads of `AsyncClient`; it describes them."""

    def __init__(self, asker: Asker, namespace: Namespace) -> None:
        self._asker = asker
        self._namespace = namespace

    async def get(self, key: bytes | str, *, stale: bool) -> KeyValue | None:
        """As `AsyncClient.get`."""
        encoded = self._namespace.key(key)

        def interpret(answer: Answer) -> KeyValue | None:
            if answer.outcome is Outcome.NOT_FOUND:
                return None
            require_ok(answer)
            found = answers.decode_get(answer.body)
            return showing.show_item(self._namespace.strip(encoded), found, answer.revision)

        return await self._ask(QueryOpcode.GET, encoded, interpret, stale=stale)

    async def range(
        self,
        low: bytes | str,
        high: bytes | str,
        prefix: bytes | str | None,
        *,
        limit: int | None,
        revision: int | None,
        page: str | None,
        keys_only: bool,
        stale: bool,
    ) -> Page:
        """As `AsyncClient.range`."""
        low_bytes, high_bytes = self._namespace.bounds(low, high, prefix)
        at_revision = None if revision is None else to_revision(revision)
        if page is not None:
            start = PageStart.decode(page)
            start_low, _ = self._namespace.bounds(start.low)
            if start_low < low_bytes or at_revision not in (None, start.revision):
                raise InvalidRequest("page is of another range or revision")
            low_bytes, at_revision = start_low, start.revision
        wanted = kv.Range(low_bytes, high_bytes, to_limit(limit), keys_only)
        found = await self._range(wanted, at_revision, stale=stale)
        next_page = None
        if found.more and found.items:
            last = self._namespace.strip(found.items[-1][0])
            next_page = PageStart(found.at_revision, behind(last)).encode()
        return showing.show_page(found, self._namespace, next_page)

    async def count(self, low: bytes | str, high: bytes | str, prefix: bytes | str | None, *, stale: bool) -> int:
        """As `AsyncClient.count`."""
        wanted = kv.Range(*self._namespace.bounds(low, high, prefix), count_only=True)
        _, count, *_ = await self._range(wanted, None, stale=stale)
        return count or 0

    def pages(
        self,
        low: bytes | str,
        high: bytes | str,
        prefix: bytes | str | None,
        page_size: int | None,
        *,
        keys_only: bool,
    ) -> Pages:
        """What `AsyncClient.items` goes through."""
        low_bytes, high_bytes = self._namespace.bounds(low, high, prefix)
        limit = to_limit(page_size)

        async def fetch(page_low: bytes, revision: int | None) -> FetchedPage:
            found = await self._range(kv.Range(page_low, high_bytes, limit, keys_only), revision, stale=False)
            shown = showing.show_items(found.items, found.at_revision, self._namespace)
            next_low = behind(found.items[-1][0]) if found.more and found.items else None
            return FetchedPage(shown, found.at_revision, next_low)

        return Pages(fetch, low_bytes)

    async def history(self, key: bytes | str, limit: int, before: int | None, *, values: bool) -> list[Change]:
        """As `AsyncClient.history`."""
        encoded = self._namespace.key(key)
        left = to_limit(limit)
        before_revision = 0 if before is None else to_revision(before)
        if before == 0:
            return []
        changes: list[Change] = []
        while left:
            query = HistoryQuery(encoded, min(left, _HISTORY_PAGE), Revision(before_revision), values)
            opcode, body = encode_query(query)

            def interpret(answer: Answer) -> tuple[list[Change], bool]:
                require_ok(answer)
                found = decode_history(answer.body)
                return [showing.show_change(change, self._namespace) for change in found.changes], found.more

            page, more = await self._ask(opcode, body, interpret, stale=False)
            changes += page
            left -= len(page)
            if not (more and page):
                break
            before_revision = page[-1].revision
        return changes

    async def _range(self, wanted: kv.Range, revision: int | None, *, stale: bool) -> RangePage:
        at_revision = None if revision is None else Revision(revision)
        opcode, body = encode_query(RangeQuery(wanted, at_revision))

        def interpret(answer: Answer) -> RangePage:
            require_ok(answer)
            return decode_range(answer.body, keys_only=wanted.keys_only)

        # A node that lags may not have come to the revision of an earlier page yet; then another one may have.
        others = len(self._asker.to_any.endpoints) - 1 if stale and revision is not None else 0
        while True:
            try:
                return await self._ask(opcode, body, interpret, stale=stale)
            except FutureRevision:
                if not others:
                    raise
                others -= 1

    async def _ask(self, opcode: QueryOpcode, query: bytes, interpret: Callable[[Answer], T], *, stale: bool) -> T:
        asker = self._asker
        consistency = Consistency.STALE if stale else Consistency.LINEARIZABLE
        attempts = Attempts(asker.to_any if stale else asker.to_leader, is_write=False, is_read=True)
        async with asker.deadline(attempts):
            body = encode_read_body(consistency, opcode, query)
            return await asker.answer(RequestKind.READ, body, attempts, interpret)
