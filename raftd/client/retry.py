"""Where a request goes next and how it may end, pure: the driver in `raftd.client.asynchronous` only obeys.

A request is tried in rounds. A round goes to the leader, as far as it is known, and then to each other endpoint once,
following what the nodes say about who leads. When a round has found nobody the driver pauses, longer each time, and a
new round begins, until the deadline.

What a client may say at the end hangs on one bit, `possibly_applied`: whether any sending of the bytes so far may have
reached a log. It is set when bytes are handed to a connection, and taken back only by an answer to that very sending
which says that nothing was proposed. So:

=================================================  ==================  ==============================================
the last sending                                   earlier sendings    a write that ends here ends in
=================================================  ==================  ==============================================
got a node's answer                                any                 that answer: it is the one answer (exactly once)
got a final refusal (denied, too large, …)         all refused too     that error: certainly not written
got a final refusal                                some without word   `OutcomeUnknown`: an earlier one may be applied
none more, for certificates                        all refused too     `TlsError`: certainly not written
none more, for certificates                        some without word   `OutcomeUnknown`
found its session expired                          all refused too     nothing yet: begin again in a new session
found its session expired                          some without word   `SessionExpired`
reached the deadline, unsent or refused            all refused too     `Unavailable`: certainly not written
reached the deadline without word                  any                 `OutcomeUnknown`
=================================================  ==================  ==============================================

A read has no such bit: it changes nothing, and ends in an answer, a final refusal or `Unavailable`.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol, assert_never

from raftd.client.config import parse_endpoint
from raftd.client.errors import (
    ClientError,
    ConfigurationError,
    Denied,
    InvalidRequest,
    LimitReached,
    NotPossible,
    OutcomeUnknown,
    SessionExpired,
    TlsError,
    TooLarge,
    Unavailable,
)
from raftd.client.tls import PerhapsRejected, RejectedByServer
from raftd.wire.client import Refusal, RefusalCode

PAUSE_SECONDS_MIN: Final = 0.02
PAUSE_SECONDS_MAX: Final = 0.5
_STRANGERS_MAX: Final = 4
"""How many addresses that are not among the endpoints one round may be sent to."""
_SUSPICIOUS_ROUNDS_MAX: Final = 3
"""After so many rounds in a row in which nobody could be met, and some node seemed to reject us, it is believed."""


class Random(Protocol):
    """Where jitter comes from; `random.Random` is one."""

    def uniform(self, a: float, b: float, /) -> float:
        """A number in [a, b]."""
        ...


class Route:
    """What all requests of one client know together about the way to the leader.

    Args:
        endpoints: of nodes, at least one.
        leads: whether only a leader can answer; else any node can, and they take turns.
    """

    __slots__ = ("_first", "_leads", "endpoints", "leader", "reader", "reasons")

    def __init__(self, endpoints: Sequence[str], *, leads: bool = True) -> None:
        self.endpoints = tuple(endpoints)
        self._leads = leads
        self.leader: str | None = None
        """Where the last answer came from that only a leader gives, or where a node said that the leader is."""
        self.reader: str | None = None
        """Where the last answer to a read came from, which need not be the leader; where to go while none is known."""
        self.reasons: dict[str, str] = {}
        """By endpoint, why the last request there came to nothing."""
        self._first = 0

    def candidates(self) -> "deque[str]":
        """In which order to try: the leader, then all others, beginning with the next one each time."""
        first, self._first = self._first, (self._first + 1) % len(self.endpoints)
        rotated = self.endpoints[first:] + self.endpoints[:first]
        first_choice = self.leader or self.reader
        if first_choice is None:
            return deque(rotated)
        return deque((first_choice, *(endpoint for endpoint in rotated if endpoint != first_choice)))

    def answered(self, endpoint: str, *, is_read: bool = False) -> None:
        """Note that this node answered; a read says nothing about who leads."""
        self.reasons.pop(endpoint, None)
        if not self._leads:
            return
        if is_read:
            self.reader = endpoint
        else:
            self.leader = endpoint

    def forget(self, endpoint: str) -> None:
        """Note that this is not where to go first."""
        if self.leader == endpoint:
            self.leader = None
        if self.reader == endpoint:
            self.reader = None


class Attempts:
    """One request's attempts, from the first to its end.

    The driver calls, for each endpoint that `next` names, `unreachable` if no connection could be had; else `sent`,
    and then one of `answered`, `lost`, `postponed`, `refused` and `session_expired`.
    """

    __slots__ = (
        "_failures", "_is_read", "_is_write", "_met_node", "_pause_seconds_max", "_queue", "_reasons", "_route",
        "_suspicious_rounds", "_tried", "possibly_applied", "rounds",
    )  # fmt: skip

    def __init__(
        self,
        route: Route,
        *,
        is_write: bool,
        is_read: bool = False,
        pause_seconds_max: float = PAUSE_SECONDS_MAX,
    ) -> None:
        """`is_read`: any node may answer it; neither: only the leader does, and to repeat it does no harm."""
        self._route = route
        self._is_write = is_write
        self._is_read = is_read
        self._pause_seconds_max = pause_seconds_max
        # Filled by the first `next`: until then another request may find out who leads.
        self._queue: deque[str] | None = None
        self._tried: set[str] = set()
        self._reasons: dict[str, str] = {}
        # Of this round only: which endpoints failed by certificates, and whether any could be connected to.
        self._failures: list[TlsError] = []
        self._met_node = False
        self._suspicious_rounds = 0
        self.rounds = 0
        """How many rounds have found nobody."""
        self.possibly_applied = False
        """Whether a sending of the bytes so far may have reached a log; never set for a read."""

    def next(self) -> str | None:
        """Where to go now; None: the round is over, and after a pause of `pause_seconds` a new one begins.

        Raises:
            TlsError: certificates are the reason why nobody could be reached, and no later round can be better.
            OutcomeUnknown: they are, and an earlier sending of this write may be applied.
        """
        if self._queue is None:
            self._queue = self._route.candidates()
        while self._queue:
            endpoint = self._queue.popleft()
            if endpoint not in self._tried:
                self._tried.add(endpoint)
                self._note(endpoint, "no answer in time")
                return endpoint
        if self._met_node:
            self._suspicious_rounds = 0
        else:
            self._judge_certificates()
        self.rounds += 1
        self._tried.clear()
        self._failures.clear()
        self._met_node = False
        self._queue = None
        return None

    def pause_seconds(self, random: Random) -> float:
        """How long to wait before the round that begins now: doubling, and between half and all of it by chance."""
        longest = min(self._pause_seconds_max, PAUSE_SECONDS_MIN * 2.0 ** min(self.rounds, 16))
        return random.uniform(longest / 2, longest)

    def unreachable(self, endpoint: str, reason: str, certificates: TlsError | None = None) -> None:
        """Note that no connection could be had; `certificates` says so if they were the reason."""
        self._note(endpoint, reason)
        self._route.forget(endpoint)
        if certificates is not None:
            self._failures.append(certificates)

    def sent(self) -> bool:
        """Note that the bytes were handed to a connection: from here on a write may be applied.

        Returns:
            What `possibly_applied` was before: to be given back with what comes of this sending.
        """
        before = self.possibly_applied
        self._met_node = True
        self.possibly_applied = self._is_write
        return before

    def answered(self, endpoint: str) -> None:
        """Note that this node answered: it leads, if the route is one to the leader and this is no read."""
        self._route.answered(endpoint, is_read=self._is_read)

    def lost(self, endpoint: str, reason: str) -> None:
        """Note that the connection ended before an answer."""
        self._note(endpoint, reason)
        self._route.forget(endpoint)

    def postponed(self, endpoint: str, reason: str, *, before: bool) -> None:
        """Note that the leader cannot do it now, has done nothing, and should be asked again after a pause.

        Args:
            endpoint: where it is.
            reason: what it said.
            before: what `sent` returned.
        """
        self.possibly_applied = before
        self._note(endpoint, reason)
        self._end_round()

    def refused(self, endpoint: str, refusal: Refusal, *, before: bool) -> None:
        """Note what a node answered instead of doing it.

        Args:
            endpoint: which one.
            refusal: what it said.
            before: what `sent` returned.

        Raises:
            ClientError: this ends the request; for a write that an earlier sending may have done, `OutcomeUnknown`.
        """
        code = refusal.code
        reason = refusal.message or code.name.lower().replace("_", " ")
        self._note(endpoint, reason)
        if code is not RefusalCode.OUTCOME_UNKNOWN:
            self.possibly_applied = before
        match code:
            case RefusalCode.NOT_LEADER:
                self._follow(endpoint, refusal.leader_address)
            case RefusalCode.NO_LEADER | RefusalCode.STOPPING | RefusalCode.OUTCOME_UNKNOWN | RefusalCode.UNAVAILABLE:
                self._route.forget(endpoint)
            case RefusalCode.OVERLOADED:
                self._end_round()
            case RefusalCode.DENIED:
                raise self._final(Denied(reason))
            case RefusalCode.BAD_REQUEST:
                raise self._final(InvalidRequest(reason))
            case RefusalCode.TOO_LARGE:
                raise self._final(TooLarge(reason))
            case RefusalCode.FULL:
                raise self._final(LimitReached(reason))
            case RefusalCode.NOT_POSSIBLE:
                raise self._final(NotPossible(reason))
            case _:
                assert_never(code)

    def session_expired(self, *, before: bool) -> SessionExpired | None:
        """How a write ends whose session the cluster does not know: None, if it may begin again in a new session.

        Args:
            before: what `sent` returned.
        """
        self.possibly_applied = before
        self._end_round()
        if not before:
            return None
        return SessionExpired("the session expired while the write was under way; it may or may not have happened")

    def given_up(self, reason: str) -> ClientError:
        """How the request ends when there is no more time or no more client."""
        # A request that waited for another one, to open a session, has been nowhere itself.
        reasons = self._reasons or self._route.reasons
        details = "; ".join(f"{endpoint}: {said}" for endpoint, said in reasons.items())
        if self.possibly_applied:
            return OutcomeUnknown(f"{reason}, and the write may or may not have happened ({details})")
        return Unavailable(f"{reason} ({details})" if details else reason)

    def _end_round(self) -> None:
        self._queue = deque()

    def _note(self, endpoint: str, reason: str) -> None:
        self._reasons[endpoint] = reason
        if endpoint in self._route.endpoints:
            self._route.reasons[endpoint] = reason

    def _follow(self, endpoint: str, leader_address: str) -> None:
        self._route.forget(endpoint)
        if not leader_address:
            return
        try:
            leader_address = str(parse_endpoint(leader_address))
        except ConfigurationError:
            return
        strangers = self._tried.difference(self._route.endpoints)
        if leader_address in self._tried or len(strangers) >= _STRANGERS_MAX:
            return
        self._route.leader = leader_address
        if self._queue is not None:
            self._queue.appendleft(leader_address)

    def _final(self, error: ClientError) -> ClientError:
        if self.possibly_applied:
            return OutcomeUnknown(f"an earlier attempt may have written; the last one was refused: {error}")
        return error

    def _judge_certificates(self) -> None:
        """End it when a certificate of ours was rejected, or every endpoint's is one that we do not accept.

        A node whose certificate alone is bad is a node that is down: others may come back before the deadline. And a
        node that seems to reject ours may only have died at that moment: that must happen a few rounds in a row.
        """
        for failure in self._failures:
            if isinstance(failure, RejectedByServer):
                raise self._final(failure)
        suspected = [failure for failure in self._failures if isinstance(failure, PerhapsRejected)]
        self._suspicious_rounds = self._suspicious_rounds + 1 if suspected else 0
        if suspected:
            if self._suspicious_rounds >= _SUSPICIOUS_ROUNDS_MAX:
                raise self._final(suspected[0])
        elif self._failures and len(self._failures) >= len(self._tried):
            raise self._final(self._failures[0])
