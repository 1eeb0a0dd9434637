"""Where a node listens: its own names looked up, and its addresses found on this machine, with patience.

A host that boots may start its nodes before it can look a name up, or has its own address: both come by themselves. So
that is waited for (`raftd.daemon.patience`), and what is missing is told.

Debian's installer and cloud-init give a host's own name 127.0.1.1 in /etc/hosts, and nss-myhostname gives it 127.0.0.2
while there is no other address. Who listens there is reached by nobody, and nothing tells: it dials the others, and
they do not reach it. So where others are elsewhere, that is no address to listen on either.
"""

import errno
import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace

from raftd import events
from raftd.daemon.patience import Missing, wait_for
from raftd.errors import ListenError
from raftd.settings.checks import PORT_NAMES
from raftd.settings.model import NodeSettings
from raftd.wire.address import Address, is_ip_address

logger = logging.getLogger(__name__)


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

    def find() -> NodeSettings:
        client, peer, http = map(search.find, PORT_NAMES)
        return replace(settings, client_listen=client, peer_listen=peer, http_listen=http)

    try:
        return wait_for(
            find,
            lambda reason: tell_status(f"waiting to listen: {reason}"),
            lambda reason: events.ADDRESS_MISSING.log(logger, reason=reason),
            clock=clock,
            sleep=sleep,
        )
    except Missing as missing:
        raise ListenError(f"cannot listen: {missing}") from None


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
            Missing: there is none, or none that others reach.
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
        raise Missing(f"{of}{', '.join(complaints)}")

    def _check_loopback(self, port: str, own: str, hosts: Sequence[str]) -> None:
        """Let a node be on loopback only where all others are: on one machine, as demonstrations and tests have it."""
        if is_ip_address(own):
            return
        here, unknown = f"{own} is {', '.join(hosts)} on this machine", None
        for node in self._settings.peers:
            other: Address = getattr(node, f"{port}_address")
            try:
                is_here = all(map(_is_loopback, self._addresses(other.host)))
            except Missing as missing:
                unknown = missing
                continue
            if not is_here:
                raise Missing(
                    f"{here}, where node {node.id} at {other.host} cannot reach it: take that out of /etc/hosts, or "
                    f"set listen.{port}, to 0.0.0.0 for every address"
                )
        if unknown is not None:
            raise Missing(f"{here}, which will do only if all nodes are on it, and {unknown}")

    def _addresses(self, host: str) -> Sequence[str]:
        if is_ip_address(host):
            return (host,)
        try:
            return self._look_up(host)
        except OSError as error:  # socket.gaierror is one
            raise Missing(f"{host} cannot be looked up: {error.strerror}") from None


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
