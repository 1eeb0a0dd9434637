"""A node's certificates, keys and authorities: read from its files and tried out, before anything is done with them."""

import contextlib
import logging
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from raftd import events, pki
from raftd.daemon.patience import Missing, wait_for
from raftd.errors import TlsError
from raftd.http.view import CertificateStatus
from raftd.net import tls
from raftd.pki.trust import Trust
from raftd.settings import NodeSettings, TlsFiles
from raftd.wire.identity import node_identity

logger = logging.getLogger(__name__)

EXPIRES_SOON: Final = timedelta(days=30)
"""A certificate that holds no longer than this is warned of."""


@dataclass(frozen=True, slots=True)
class Found:
    """A certificate in one of the files."""

    port: str
    """`peer` or `client`."""
    kind: str
    """`certificate` or `authority`."""
    info: pki.CertificateInfo


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a node shows to others, and whom it trusts: usable as a whole."""

    peer_listening: ssl.SSLContext
    peer_dialling: ssl.SSLContext
    client_listening: ssl.SSLContext
    peer_trust: Trust
    client_trust: Trust
    found: tuple[Found, ...]

    @property
    def statuses(self) -> tuple[CertificateStatus, ...]:
        """Each certificate in the files, as the node tells of it."""
        return tuple(
            CertificateStatus(
                each.port, each.kind, each.info.fingerprint, each.info.key_id, each.info.not_after.timestamp()
            )
            for each in self.found
        )

    def expiring(self, now: datetime) -> Iterator[pki.CertificateInfo]:
        """The certificates that do not hold for much longer at `now`, which is aware."""
        return (each.info for each in self.found if each.info.not_after < now + EXPIRES_SOON)

    def differences(self, other: "Credentials") -> list[str]:
        """In what these are others than `other`, in words."""
        kinds = (("certificate", "certificate"), ("authority", "authorities"))
        return [
            f"the {port} {name}"
            for port in ("peer", "client")
            for kind, name in kinds
            if self.fingerprints(port, kind) != other.fingerprints(port, kind)
        ]

    def fingerprints(self, port: str, kind: str) -> set[str]:
        """Of all certificates of that kind for that port."""
        return {each.info.fingerprint for each in self.found if (each.port, each.kind) == (port, kind)}


def check_files(settings: NodeSettings) -> list[str]:
    """What keeps a node's certificates and keys from being used, a line each."""
    identity = node_identity(settings.cluster.name, settings.node_id)

    def check(files: TlsFiles, purpose: pki.Purpose) -> list[str]:
        return pki.check_files(
            authority=files.authority,
            certificate=files.certificate,
            key=files.key,
            identity=identity,
            purpose=purpose,
        )

    return check(settings.peer_tls, pki.Purpose.PEER) + check(settings.client_tls, pki.Purpose.SERVER)


def readable_certificates(settings: NodeSettings) -> Iterator[pki.CertificateInfo]:
    """A node's certificates and all its authorities, as far as they can be read; `check_files` tells of the others."""
    for files in (settings.peer_tls, settings.client_tls):
        for path in (files.certificate, files.authority):
            with contextlib.suppress(pki.PkiFileError, TlsError):
                # Those behind the node's own one are of authorities, which whoever checks it has to have anyway.
                yield from pki.describe_all(path) if path == files.authority else [pki.describe(path)]


def read_credentials(settings: NodeSettings) -> Credentials:
    """Read all certificate files of a node.

    Raises:
        TlsError: they cannot be used, for reasons that name the files; one line.
    """
    if problems := check_files(settings):
        raise TlsError("; ".join(problems))
    peer, client = (
        tls.TlsFiles(files.authority, files.certificate, files.key)
        for files in (settings.peer_tls, settings.client_tls)
    )
    try:
        return Credentials(
            peer_listening=tls.server_context(peer),
            peer_dialling=tls.client_context(peer),
            client_listening=tls.server_context(client),
            peer_trust=Trust.load(peer.authority),
            client_trust=Trust.load(client.authority),
            found=(*_found("peer", peer), *_found("client", client)),
        )
    except pki.PkiFileError as error:
        raise TlsError(str(error)) from error


def wait_for_credentials(
    settings: NodeSettings,
    tell_status: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Credentials:
    """As `read_credentials`, but wait for a clock that is not set yet, as a host's may be while it boots.

    Only what is not valid yet is waited for, and only if nothing else is wrong. A clock that is not set is behind, so
    time does not mend what has expired, and whoever forgot to renew it is to hear so at once.

    Args:
        settings: the node's.
        tell_status: hears in a line what is waited for.
        clock: monotonic seconds.
        sleep: waits for so many of them.

    Raises:
        TlsError: as `read_credentials`; after a while also for what is not valid yet.
        Interrupted: SIGTERM came.
    """

    def read() -> Credentials:
        # First, or a certificate could become valid between the two.
        if early := _not_yet_valid(settings):
            problems = check_files(settings)
            if problems and early.issuperset(problems):
                raise Missing("; ".join(problems))
        return read_credentials(settings)

    try:
        return wait_for(
            read,
            lambda reason: tell_status(f"waiting for the time: {reason}"),
            lambda reason: events.CLOCK_BEHIND.log(logger, reason=reason),
            clock=clock,
            sleep=sleep,
        )
    except Missing as missing:
        raise TlsError(str(missing)) from None


def _not_yet_valid(settings: NodeSettings) -> set[str]:
    return {
        problem
        for files in (settings.peer_tls, settings.client_tls)
        for problem in pki.not_yet_valid(authority=files.authority, certificate=files.certificate)
    }


def _found(port: str, files: tls.TlsFiles) -> Iterator[Found]:
    yield Found(port, "certificate", pki.describe(files.certificate))
    for info in pki.describe_all(files.authority):
        yield Found(port, "authority", info)
