"""What a node's ports really show: their certificates, by a handshake with each, and what is to be said of them.

In TLS 1.3 the server's certificate comes before the client's is looked at (RFC 8446 §2). So anybody may ask, and a port
shows its certificate also to whom it then refuses: the port for peers does so here, and logs it.
"""

import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from raftd import pki
from raftd.cli.output import Style, Styled
from raftd.cli.status import Answer, Row
from raftd.client import ClientTls, Members
from raftd.client.config import parse_endpoint
from raftd.errors import TlsError
from raftd.wire.address import Address, AddressError
from raftd.wire.members import parse_member_addresses

FINGERPRINT_CHARACTERS_SHOWN: Final = 16


@dataclass(frozen=True, slots=True)
class Port:
    """One port of one node."""

    node: int | None
    """None: whoever is there."""
    name: str
    """`client` or `peer`."""
    address: Address
    told: Mapping[str, Any]
    """The node's STATUS document; empty if it does not answer."""


def ports_of(answers: Mapping[str, Answer], endpoints: Sequence[str]) -> list[Port]:
    """The ports of all members, as the node has them that knows best; if none does, the `endpoints` for clients."""
    documents = {answer["node_id"]: answer for answer in answers.values() if isinstance(answer, dict)}
    if not documents:
        return [Port(None, "client", parse_endpoint(endpoint), {}) for endpoint in endpoints]
    members = max(
        map(Members.of_status, documents.values()), key=lambda each: (each.node_id == each.leader_id, each.index)
    )
    ports = []
    for node in sorted(members.all):
        try:
            addresses = parse_member_addresses(members.addresses.get(node, ""))
        except AddressError:
            continue
        told = documents.get(node, {})
        ports += [Port(node, "client", addresses.client, told), Port(node, "peer", addresses.peer, told)]
    return ports


def served_certificate(port: Port, tls: ClientTls, seconds: float) -> bytes:
    """The certificate that a port shows, as DER, whatever it is.

    Raises:
        OSError: there is none to be had.
        TlsError: the client's own files cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    # It is to be seen even if it is a bad one; nothing is believed or sent on this connection.
    context.verify_mode = ssl.CERT_NONE
    if port.name == "client":
        tls.context()
        context.load_cert_chain(tls.cert, tls.key)
    with (
        socket.create_connection((port.address.host, port.address.port), timeout=seconds) as plain,
        context.wrap_socket(plain) as connection,
    ):
        return connection.getpeercert(binary_form=True) or b""


def row_of(port: Port, der: bytes, now: datetime, warn_days: float) -> Row:
    """What is to be said of the certificate that a port shows."""
    info = pki.describe_der(der, Path(f"{port.address}"))
    authorities = [
        each
        for each in port.told.get("configuration", {}).get("certificates", [])
        if (each["port"], each["kind"]) == (port.name, "authority")
    ]
    issuer = next((each["fingerprint"] for each in authorities if each["key_id"] == info.issuer_key_id), None)
    days = (info.not_after - now).total_seconds() / 86_400
    trouble = _trouble(port, info, days, warn_days)
    return {
        "node": port.node,
        "port": port.name,
        "address": str(port.address),
        "subject": info.identity.uri if info.identity is not None else None,
        "issuer": issuer,
        "issuer_key_id": info.issuer_key_id,
        "serial": f"{info.serial:x}",
        "fingerprint": info.fingerprint,
        "not_after": info.not_after.isoformat(),
        "days_left": int(days // 1),
        "trusted": len(authorities) if authorities else None,
        "trusted_fingerprints": [each["fingerprint"] for each in authorities],
        "ok": trouble is None,
        "verdict": Styled("ok", Style.GOOD) if trouble is None else Styled(trouble, Style.BAD),
    }


def unreachable(port: Port, error: OSError | TlsError) -> Row:
    """What is to be said of a port that shows none."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return {
        "node": port.node,
        "port": port.name,
        "address": str(port.address),
        "ok": False,
        "verdict": Styled(reason.lower(), Style.BAD),
    }


def shortened(row: Row) -> Row:
    """The row for a table: nobody compares sixty-four digits."""
    issuer = row.get("issuer") or (f"key {row['issuer_key_id']}" if row.get("issuer_key_id") else None)
    not_after = row.get("not_after")
    return {
        **row,
        "issuer": None if issuer is None else str(issuer)[:FINGERPRINT_CHARACTERS_SHOWN],
        "serial": str(row["serial"])[:FINGERPRINT_CHARACTERS_SHOWN] if "serial" in row else None,
        "not_after": None if not_after is None else str(not_after)[:10],
    }


def _trouble(port: Port, info: pki.CertificateInfo, days: float, warn_days: float) -> str | None:
    if days < 0:
        return "expired"
    if info.identity is None or (port.node is not None and info.identity.node_id != port.node):
        return "not this node's"
    return f"less than {warn_days:g} days left" if days < warn_days else None
