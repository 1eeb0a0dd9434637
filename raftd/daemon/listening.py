"""Where a node listens: its own names looked up, and its addresses found on this machine, with patience.

A host that boots may start its nodes before it can look a name up, or has its own address: both come by themselves. So
that is waited for, and what is missing is told. What does not come in time ends the process; its supervisor starts it
again, not so often that it would give up (`systemd/raftd@.service`).

Debian's installer and cloud-init give a host's own name 127.0.1.1 in /etc/hosts, and nss-myhostname gives it 127.0.0.2
while there is no other address. Who listens there is reached by nobody, and nothing tells: it dials the others, and
they do not reach it. So where others are elsewhere, that is no address to listen on either.
"""

import errno
import ipaddress
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Final, NoReturn

from raftd import events
from raftd.errors import ListenError
from raftd.settings.checks import PORT_NAMES
from raftd.settings.model import NodeSettings
from raftd.wire.address import Address, is_ip_address

logger = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 120.0
"""How long addresses are waited for, before the process ends."""
_PAUSE_SECONDS_MIN: Final = 0.5
"""Between the first two attempts; it doubles up to the next."""
_PAUSE_SECONDS_MAX: Final = 5.0


class Interrupted(Exception):  # noqa: N818 - nothing is wrong
    """The process was told to stop meanwhile."""


class _Missing(Exception):  # noqa: N818 - it may come
    """Something that there may be later; says what."""


def wait_for_addresses(
    settings: NodeSettings,
    tell_status: Callable[[str], None],
    *,
    look_up: Callable[[str], Sequence[str]] | None = None,
    complaint: Callable[[str], str | None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> NodeSettings:
    """Find IP addresses of this machine for what a node listens on, in the main thread.

    Args:
        settings: the node's, whose `*_listen` may have names.
        tell_status: hears in a line what is waited for.
        look_up: the IP addresses that a name stands for, best first; OSError if there are none.
        complaint: why this machine cannot bind to an IP address; None if it can.
        clock: monotonic seconds.
        sleep: waits for so many of them.

    Returns:
        The settings with IP addresses in `*_listen`.

    Raises:
        ListenError: they were not there in time.
        Interrupted: SIGTERM came.
    """
    search = _Search(settings, look_up or _look_up, complaint or _complaint)
    told: set[str] = set()
    deadline, pause = clock() + PATIENCE_SECONDS, _PAUSE_SECONDS_MIN
    with _interruptible():
        while True:
            try:
                client, peer, http = map(search.find, PORT_NAMES)
                return replace(settings, client_listen=client, peer_listen=peer, http_listen=http)
            except _Missing as missing:
                reason = str(missing)
            if clock() >= deadline:
                raise ListenError(f"cannot listen: {reason}")
            if reason not in told:
                told.add(reason)
                events.ADDRESS_MISSING.log(logger, reason=reason)
            tell_status(f"waiting to listen: {reason}")
            sleep(pause)
            pause = min(2 * pause, _PAUSE_SECONDS_MAX)


class _Search:
    def __init__(
        self,
        settings: NodeSettings,
        look_up: Callable[[str], Sequence[str]],
        complaint: Callable[[str], str | None],
    ) -> None:
        self._settings = settings
        self._look_up = look_up
        self._complaint = complaint

    def find(self, port: str) -> Address:
        """The address to bind for one of `PORT_NAMES`.

        Raises:
            _Missing: there is none, or none that others reach.
        """
        listen: Address = getattr(self._settings, f"{port}_listen")
        hosts = self._addresses(listen.host)
        # What others can reach comes first, and is not given up for what they cannot, which is there earlier.
        outward = [host for host in hosts if not _is_loopback(host)]
        if not outward and listen == getattr(self._settings, f"{port}_address"):
            self._check_loopback(port, listen.host, hosts)
        complaints = []
        for host in outward or hosts:
            complaint = self._complaint(host)
            if complaint is None:
                return replace(listen, host=host)
            complaints.append(f"{host}: {complaint}")
        of = "" if listen.host in hosts else f"{listen.host} is "
        raise _Missing(f"{of}{', '.join(complaints)}")

    def _check_loopback(self, port: str, own: str, hosts: Sequence[str]) -> None:
        """Let a node be on loopback only where all others are: on one machine, as demonstrations and tests have it."""
        if is_ip_address(own):
            return
        here, unknown = f"{own} is {', '.join(hosts)} on this machine", None
        for node in self._settings.peers:
            other: Address = getattr(node, f"{port}_address")
            try:
                is_here = all(map(_is_loopback, self._addresses(other.host)))
            except _Missing as missing:
                unknown = missing
                continue
            if not is_here:
                raise _Missing(
                    f"{here}, where node {node.id} at {other.host} cannot reach it: take that out of /etc/hosts, or "
                    f"set listen.{port}, to 0.0.0.0 for every address"
                )
        if unknown is not None:
            raise _Missing(f"{here}, which will do only if all nodes are on it, and {unknown}")

    def _addresses(self, host: str) -> Sequence[str]:
        if is_ip_address(host):
            return (host,)
        try:
            return self._look_up(host)
        except OSError as error:  # socket.gaierror is one
            raise _Missing(f"{host} cannot be looked up: {error.strerror}") from None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Have SIGTERM leave the block: as the first process of a container, this one would be told in vain."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise Interrupted

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _look_up(host: str) -> list[str]:
    """Ask the system; in a thread, since its resolver may take half a minute and does not hear a signal meanwhile."""
    found: Future[list[str]] = Future()

    def ask() -> None:
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            found.set_result([str(address[0]) for *_, address in infos])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the other thread's, which waits for it
            found.set_exception(error)

    # Whoever stops meanwhile does not wait for it.
    threading.Thread(target=ask, name=f"look up {host}", daemon=True).start()
    return found.result()


def _complaint(host: str) -> str | None:
    """Why this machine cannot bind to an IP address; whether the port is free is for the listener to say."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
    except OSError as error:
        # EAFNOSUPPORT: it knows no IPv6.
        return error.strerror if error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT} else None
    return None


def _is_loopback(host: str) -> bool:
    address = ipaddress.ip_address(host)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
