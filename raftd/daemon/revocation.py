"""Ends connections whose certificate a new handshake would refuse.

A handshake looks at a certificate once. So when fewer authorities are trusted than before, the connections that stand
are looked at again, and those of an authority that is trusted no more end: a client's after its answers, the links
between nodes one after the other, so that a leader never loses several at a time.

A client's connection ends when its certificate expires, too. A link between nodes does not: nobody has taken that
certificate back, and a cluster whose renewal was forgotten would stand still in that very second. It cannot connect
again once it is lost, which is warned of for weeks.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Final, TypeVar

from raftd.daemon.credentials import Credentials
from raftd.net.client_listener import ClientListener
from raftd.net.peer_links import PeerLinks
from raftd.net.peer_listener import PeerListener
from raftd.pki.trust import Trust

logger = logging.getLogger(__name__)

T = TypeVar("T")

EXPIRY_SECONDS: Final = 30.0
"""How often it is looked for clients whose certificate has expired."""
LATE_SECONDS: Final = 11.0
"""After this, no handshake is under way any more that began with the authorities of before; see the limits of acceptor,
channel and link."""
BETWEEN_LINKS_SECONDS: Final = 0.25
"""From one link's end to the next one's: by then the first stands again."""
_REASON: Final = "its certificate is of no authority that is trusted now"


class Revocation:
    """Looks after the connections of one node."""

    def __init__(
        self,
        *,
        clients: ClientListener,
        peers: PeerListener,
        links: PeerLinks,
        credentials: Credentials,
        late_seconds: float = LATE_SECONDS,
        expiry_seconds: float = EXPIRY_SECONDS,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`credentials` are those that the connections so far were made with."""
        self._clients = clients
        self._peers = peers
        self._links = links
        self._credentials = credentials
        self._swept = credentials
        self._late_seconds = late_seconds
        self._expiry_seconds = expiry_seconds
        self._wall_clock = wall_clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look for expired certificates from now on."""
        self._keep(self._end_expired())

    def use(self, credentials: Credentials) -> None:
        """Listeners and links go by these from now on: end what they would refuse."""
        self._credentials = credentials
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = self._keep(self._sweep())

    async def stop(self) -> None:
        """Look no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _keep(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A task that somebody holds on to keeps its exception to itself.
        task.add_done_callback(lambda task: task.cancelled() or task.result())
        return task

    async def _end_expired(self) -> None:
        while True:
            await asyncio.sleep(self._expiry_seconds)
            self._clients.end_expired(self._wall_clock())

    async def _sweep(self) -> None:
        while (credentials := self._credentials) is not self._swept:
            if _trusts_less(credentials, self._swept):
                await self._end_refused()
                self._keep(self._end_late())
            self._swept = credentials

    async def _end_late(self) -> None:
        await asyncio.sleep(self._late_seconds)
        await self._end_refused()

    async def _end_refused(self) -> None:
        credentials = self._credentials
        clients = await _refused(self._clients.certificates(), credentials.client_trust)
        for channel in clients:
            self._clients.end(channel, _REASON)
        peers = await _refused(self._peers.certificates(), credentials.peer_trust)
        for channel in peers:
            channel.close(_REASON)
            await asyncio.sleep(BETWEEN_LINKS_SECONDS)
        links = await _refused(self._links.certificates(), credentials.peer_trust)
        for link in links:
            link.redial(_REASON)
            await asyncio.sleep(BETWEEN_LINKS_SECONDS)
        if clients or peers or links:
            logger.info(
                "ended what is of authorities that are trusted no more: %d clients, %d links from and %d to peers",
                len(clients), len(peers), len(links),
            )  # fmt: skip


def _trusts_less(new: Credentials, old: Credentials) -> bool:
    return not (
        old.client_trust.fingerprints <= new.client_trust.fingerprints
        and old.peer_trust.fingerprints <= new.peer_trust.fingerprints
    )


async def _refused(shown: Mapping[T, bytes], trust: Trust) -> list[T]:
    """Which of those that have shown these certificates are not to be trusted; judged beside the loop."""

    def judge() -> set[bytes]:
        return {der for der in set(shown.values()) if not trust.has_issued(der)}

    refused = await asyncio.get_running_loop().run_in_executor(None, judge)
    return [who for who, der in shown.items() if der in refused]
