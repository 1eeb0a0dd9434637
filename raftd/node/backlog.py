"""Requests that came faster than they can be looked at, and whose connection's turn it is.

To look at a request takes a few microseconds, and half a millisecond if it is a transaction of 128 keys, be it only to
find that its user may not do that. What a loop reads in one pass may be thousands of such, from hundreds of
connections, and ticks and heartbeats would wait for all of it. So only so much time is spent on them in one turn of the
driver. What is left waits here, nothing more is read from its connections (so what waits is bounded by what a channel
hands over at once), and later turns go on with it: a connection after the other, a little of each, so that who sends
little waits for a little of each of the others. Of one connection the order stays.

Invariant: a connection has `unserved` requests if and only if it waits here for its turn; one that has ended may still
be among the others, and has none.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from raftd.errors import RemoteProtocolError
from raftd.node.connection import ClientConnection

RECEIVE_SECONDS_MAX: Final = 0.01
"""Spent on requests that come in, in one turn, and what the last few of them take."""

SHARE_SECONDS: Final = 0.0005
"""Of one connection that waits, until the next one's turn; and what one request takes."""

ANSWER_BYTES_MAX: Final = 16 << 20
"""Of large answers that are given as their requests come: so many count as all the time of a turn."""

LARGE_BYTES: Final = 1 << 14
"""Of an answer: such are told to `Backlog.answered`."""

_UNLOOKED_BYTES_MAX: Final = 1 << 11
"""Of requests between two looks at the clock: a few large ones, which take up to a microsecond for each byte and a
half, or many small ones."""

Serve: TypeAlias = Callable[[ClientConnection, Iterator[bytes]], bool]
"""Serves requests, and tells the backlog how long it takes; until there are no more, or `Backlog.must_wait` after one
of them. Returns whether there are no more."""


class Backlog:
    """What was received and not looked at yet.

    What counts is the time in which requests are looked at, and not that in which others are read and decrypted: else
    a hundred busy connections would seem to be a flood.

    Args:
        clock: Gives monotonic seconds.
    """

    __slots__ = ("_limit", "_spent", "_turns", "clock", "must_wait", "unlooked_max")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._turns: deque[ClientConnection] = deque()
        self._spent = 0.0
        """Seconds, in this turn."""
        self._limit = RECEIVE_SECONDS_MAX
        """Of `_spent`: then whoever is served now has had enough."""
        self.unlooked_max = _UNLOOKED_BYTES_MAX
        """So many bytes of requests may be served between two looks at the clock."""
        self.must_wait = False
        """Whether what comes in has to wait: others do, or this turn's time is over."""

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits."""
        return not self._turns

    def spend(self, began: float) -> float:
        """Requests were served since `began`; returns the time."""
        now = self.clock()
        self._spent += now - began
        if self._spent >= self._limit:
            self.must_wait = True
        return now

    def answered(self, size: int) -> None:
        """A request was answered as it came, with so many bytes that they take time to be sent, too."""
        self._spent += RECEIVE_SECONDS_MAX * size / ANSWER_BYTES_MAX
        if self._spent >= self._limit:
            self.must_wait = True

    def add(self, connection: ClientConnection, payloads: Iterator[bytes]) -> None:
        """Let these wait, behind what waits of the same connection; nothing more is read from it."""
        if connection.unserved is not None:
            connection.unserved = iter([*connection.unserved, *payloads])
            return
        connection.unserved = payloads
        self._turns.append(connection)
        connection.channel.pause_reading()

    def turn(self, serve: Serve) -> None:
        """At the beginning of a turn: serve who waits, with what is left of its time."""
        turns = self._turns
        if turns:
            self._serve_turns(serve)
        self._spent, self._limit, self.unlooked_max = 0.0, RECEIVE_SECONDS_MAX, _UNLOOKED_BYTES_MAX
        self.must_wait = bool(turns)

    def _serve_turns(self, serve: Serve) -> None:
        turns = self._turns
        self.unlooked_max = 0
        while turns and self._spent < RECEIVE_SECONDS_MAX:
            connection = turns.popleft()
            if connection.unserved is not None:
                self._limit, self.must_wait = self._spent + SHARE_SECONDS, False
                self._serve_one(connection, connection.unserved, serve)

    def _serve_one(self, connection: ClientConnection, payloads: Iterator[bytes], serve: Serve) -> None:
        try:
            is_done = serve(connection, payloads)
        except RemoteProtocolError as error:
            connection.unserved = None
            connection.channel.abort(str(error))
            return
        if not is_done:
            self._turns.append(connection)
            return
        connection.unserved = None
        connection.channel.resume_reading()
        connection.end_if_left()
