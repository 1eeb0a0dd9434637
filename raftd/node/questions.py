"""What clients read that is more than one key: how each of it is answered, when its turn comes."""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from raftd.consensus.types import LogIndex, Term
from raftd.kv.machine import StateMachine
from raftd.kv.queries import HistoryQuery, RangeQuery
from raftd.kv.reads import begin_reading
from raftd.node.connection import ClientConnection
from raftd.node.question_queue import UNFINISHED, Unfinished
from raftd.node.requests import Requests
from raftd.node.tracing import Traces
from raftd.node.watch_feed import Watch
from raftd.node.watches import Watches
from raftd.wire.client import Refusal, RefusalCode, encode_document, encode_refusal

LOG_ENTRIES_PER_STEP: Final = 4
"""Of a LOG answer. One that is a transaction of as many operations as there may be takes half a millisecond."""

_NOT_TRACED: Final = Refusal(RefusalCode.NOT_POSSIBLE, "no traced write of this connection is remembered here")


class PageQuestion:
    """A range or a history, answered in as many steps as it takes."""

    __slots__ = ("_machine", "_reading")

    is_urgent = False

    def __init__(self, machine: StateMachine, query: RangeQuery | HistoryQuery) -> None:
        self._machine = machine
        self._reading = begin_reading(query)

    def answer(self, term: Term, /) -> bytes | Unfinished:
        """See `Question`."""
        answer = self._machine.go_on(self._reading, term)
        return UNFINISHED if answer is None else answer

    def refused(self) -> bool:
        """See `Question`."""
        return True


class WatchQuestion:
    """A watch that waits to begin: it answers for itself."""

    __slots__ = ("_watch", "_watches")

    is_urgent = False

    def __init__(self, watches: Watches, watch: Watch) -> None:
        self._watches = watches
        self._watch = watch

    def answer(self, _: Term, /) -> None:
        """See `Question`."""
        self._watches.register(self._watch)

    def refused(self) -> bool:
        """See `Question`."""
        return self._watches.forget(self._watch)


class TraceQuestion:
    """Where the time of a write went. It answers for itself, since it is no read, and in its turn.

    To find what was noted takes half a millisecond, and the requests of one piece of a connection's stream may be ten
    thousand such.
    """

    __slots__ = ("_connection", "_index", "_request_id", "_requests", "_traces")

    is_urgent = False

    def __init__(
        self,
        traces: Traces | None,
        requests: Requests,
        connection: ClientConnection,
        request_id: int,
        index: LogIndex,
    ) -> None:
        """`index` is that of an entry; 0: of the connection's latest traced write. None are traced without `traces`."""
        self._traces = traces
        self._requests = requests
        self._connection = connection
        self._request_id = request_id
        self._index = index

    def answer(self, _: Term, /) -> None:
        """See `Question`."""
        document = None if self._traces is None else self._traces.document(self._connection, self._index)
        if document is None:
            frame = encode_refusal(self._request_id, _NOT_TRACED)
        else:
            frame = encode_document(self._request_id, json.dumps(document, separators=(",", ":")))
        self._requests.owe(self._connection, frame)

    def refused(self) -> bool:
        """See `Question`."""
        return True


class LogQuestion:
    """The newest entries of the log, which may be a thousand large transactions. It answers for itself: it is no read.

    Unlike a page's, its steps may hold entries that the log has dropped meanwhile, of one question a connection.
    """

    __slots__ = ("_connection", "_document", "_pieces", "_request_id", "_requests")

    is_urgent = False

    def __init__(
        self, document: Iterator[str], requests: Requests, connection: ClientConnection, request_id: int
    ) -> None:
        """`document` gives the text of the answer, a piece for each entry; nothing is asked of it before its turn."""
        self._document = document
        self._requests = requests
        self._connection = connection
        self._request_id = request_id
        self._pieces: list[str] = []

    def answer(self, _: Term, /) -> Unfinished | None:
        """See `Question`."""
        step = list(islice(self._document, LOG_ENTRIES_PER_STEP))
        self._pieces += step
        if len(step) == LOG_ENTRIES_PER_STEP:
            return UNFINISHED
        self._requests.owe(self._connection, encode_document(self._request_id, "".join(self._pieces)))
        return None

    def refused(self) -> bool:
        """See `Question`."""
        return True


class LeaderQuestion:
    """What only the leader can answer, and no longer once it is deposed."""

    __slots__ = ("_answer", "_elsewhere", "is_urgent")

    def __init__(
        self, answer: Callable[[Term], bytes | None], elsewhere: Callable[[], Refusal], *, is_urgent: bool = False
    ) -> None:
        """`answer` gives None if this node does not lead (any more), and `elsewhere` the refusal then."""
        self._answer = answer
        self._elsewhere = elsewhere
        self.is_urgent = is_urgent

    def answer(self, term: Term, /) -> bytes | Refusal:
        """See `Question`."""
        answer = self._answer(term)
        return self._elsewhere() if answer is None else answer

    def refused(self) -> bool:
        """See `Question`."""
        return True
