import contextlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from raftd import pki
from raftd.pki import Purpose
from raftd.pki.rehearsal import rehearse
from raftd.wire.identity import identity_of_alternative_names

LAST_YEAR = datetime.now(UTC) - timedelta(days=400)


@pytest.mark.parametrize(
    ("authority", "file", "purpose", "refusal"),
    [
        ("peer-ca", "node-1.peer", Purpose.PEER, None),
        ("client-ca", "node-1.client", Purpose.SERVER, None),
        ("client-ca", "user-admin", Purpose.USER, None),
        ("client-ca", "node-1.peer", Purpose.PEER, "as a server: unable to get local issuer certificate"),
        ("peer-ca", "user-admin", Purpose.USER, "as a client: unable to get local issuer certificate"),
        ("client-ca", "node-1.client", Purpose.PEER, "as a client: unsuitable certificate purpose"),
        ("client-ca", "user-admin", Purpose.SERVER, "as a server: unsuitable certificate purpose"),
    ],
)
def test_a_handshake_is_the_judge(
    directory: Path, authority: str, file: str, purpose: Purpose, refusal: str | None
) -> None:
    """The right authority and purpose are accepted; a user's certificate opens no peer port, nor the other way."""
    result = rehearse(
        authority=directory / f"{authority}.crt",
        certificate=directory / f"{file}.crt",
        key=directory / f"{file}.key",
        purpose=purpose,
    )
    assert result == refusal


@pytest.mark.parametrize(
    ("now", "refusal"),
    [(LAST_YEAR, "certificate has expired"), (datetime.now(UTC) + timedelta(days=2), "certificate is not yet valid")],
)
def test_time_is_judged(directory: Path, now: datetime, refusal: str) -> None:
    """By the same library, at both ends."""
    files = pki.issue_node(directory, 2, ["n2"], days=30, now=now).peer
    result = rehearse(
        authority=directory / "peer-ca.crt", certificate=files.certificate, key=files.key, purpose=Purpose.PEER
    )
    assert result == f"as a server: {refusal}"


@pytest.mark.parametrize(
    ("authority", "server", "client"),
    [("peer", "node-1.peer", "node-1.peer"), ("client", "node-1.client", "user-admin")],
)
def test_strict_verification_and_host_names_hold(directory: Path, authority: str, server: str, client: str) -> None:
    """RFC 5280 to the letter, as Python 3.13 verifies by default, and a host name for software that checks one."""
    contexts = []
    for protocol, file in ((ssl.PROTOCOL_TLS_SERVER, server), (ssl.PROTOCOL_TLS_CLIENT, client)):
        context = ssl.SSLContext(protocol)
        context.load_cert_chain(directory / f"{file}.crt", directory / f"{file}.key")
        context.load_verify_locations(directory / f"{authority}-ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        contexts.append(context)
    for host in ("localhost", "127.0.0.1", "::1"):
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        near = contexts[1].wrap_bio(to_client, to_server, server_hostname=host)
        far = contexts[0].wrap_bio(to_server, to_client, server_side=True)
        for end in (near, far, near):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
        far.do_handshake()
        shown = far.getpeercert()
        assert shown is not None
        names = cast("tuple[tuple[str, str], ...]", shown["subjectAltName"])
        assert identity_of_alternative_names(names) == pki.describe(directory / f"{client}.crt").identity


def test_an_authority_of_the_same_name_is_another(directory: Path, tmp_path: Path) -> None:
    """The name of a cluster is no secret; its key is."""
    pki.create_authorities(tmp_path / "evil", "demo")
    files = pki.issue_user(tmp_path / "evil", "admin")
    result = rehearse(
        authority=directory / "client-ca.crt", certificate=files.certificate, key=files.key, purpose=Purpose.USER
    )
    assert result is not None


def test_files_that_cannot_be_loaded_are_a_refusal(directory: Path) -> None:
    """Not an exception."""
    assert rehearse(
        authority=directory / "peer-ca.key",
        certificate=directory / "node-1.peer.crt",
        key=directory / "peer-ca.key",
        purpose=Purpose.PEER,
    )
    assert (
        rehearse(
            authority=directory / "none.crt",
            certificate=directory / "node-1.peer.crt",
            key=directory / "node-1.peer.key",
            purpose=Purpose.PEER,
        )
        == "No such file or directory"
    )
