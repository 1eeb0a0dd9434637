"""From an address to a connected socket.

Host names are looked up in threads of our own. The event loop would ask its default executor, which takes no more work
once the main thread has returned, while other threads go on and may well use a client. What these threads wait for is
not worth waiting for, so they do not hold up the end of the process.
"""

import asyncio
import contextlib
import socket
import threading
from typing import Any, Final, TypeAlias

from raftd.client.time_limit import TimeLimit
from raftd.wire.address import Address, is_ip_address

_Found: TypeAlias = list[tuple[socket.AddressFamily, tuple[Any, ...]]]
"""Families and socket addresses, in the order in which they are to be tried."""
_THREAD_NAME: Final = "raftd-look-up"


class Dialler:
    """Dials for one client.

    A name is looked up once at a time: whoever dials while that is under way waits for the same. So a name server that
    does not answer holds one thread for each name.
    """

    def __init__(self) -> None:
        self._looking: dict[Address, asyncio.Future[_Found]] = {}

    async def dial(self, address: Address, seconds: float) -> socket.socket:
        """Connect to the first of a host's IP addresses where somebody listens.

        Args:
            address: the host, by name or IP address, and the port.
            seconds: that the caller waits in all, which is for him to see to. It is shared out here, so that an address
                that says nothing, as behind a firewall, leaves time for those after it.

        Returns:
            The socket; it does not block.

        Raises:
            OSError: the name is not known, or nobody can be connected to; then why not to the first.
            UnicodeError: it can be no host's name.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        failures: list[OSError] = []
        addresses = await self._addresses(address)
        for left, (family, target) in zip(range(len(addresses), 0, -1), addresses, strict=True):
            # The last one has what there is, which is for TLS and the Welcome too.
            share = (end - loop.time()) / left if left > 1 else None
            plain = None
            try:
                plain = socket.socket(family, socket.SOCK_STREAM)
                plain.setblocking(False)
                with TimeLimit(share):
                    await loop.sock_connect(plain, target)
            except BaseException as error:
                if plain is not None:
                    plain.close()
                if not isinstance(error, OSError):
                    raise
                failures.append(error)
            else:
                return plain
        raise failures[0] if failures else OSError("the name has no address")

    async def _addresses(self, address: Address) -> _Found:
        if is_ip_address(address.host):
            return _look_up(address, socket.AI_NUMERICHOST)
        looking = self._looking.get(address)
        if looking is None:
            looking = self._looking[address] = _look_up_in_thread(address)
            looking.add_done_callback(lambda done: self._looked_up(address, done))
        # Whoever dials may give up, and the look-up still serves the next one.
        await asyncio.wait((looking,))
        return looking.result()

    def _looked_up(self, address: Address, done: "asyncio.Future[_Found]") -> None:
        del self._looking[address]
        if not done.cancelled():
            done.exception()  # perhaps nobody waits any more


def _look_up(address: Address, flags: int = 0) -> _Found:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, target) for family, _, _, _, target in found]


def _look_up_in_thread(address: Address) -> "asyncio.Future[_Found]":
    """Look a name up. Raises: RuntimeError: no thread can be started any more."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Found] = loop.create_future()

    def tell(found: _Found | None, error: Exception | None) -> None:
        if future.done():
            return
        if found is not None:
            future.set_result(found)
        elif error is not None:
            future.set_exception(error)

    def work() -> None:
        found, failure = None, None
        try:
            found = _look_up(address)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for whoever asked
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, found, failure)

    threading.Thread(target=work, name=_THREAD_NAME, daemon=True).start()
    return future
