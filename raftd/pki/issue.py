"""Making authorities, and issuing the certificates of nodes and users.

All keys are on the curve P-256. An authority holds ten years, what it issues one, never longer than itself, and each
from five minutes before it was made, because clocks differ. An authority may not make further authorities.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from raftd.errors import TlsError
from raftd.pki.certificates import (
    identity_of_certificate,
    load_authority_key,
    load_certificate,
    load_certificates,
    validity,
)
from raftd.pki.files import (
    AuthorityName,
    KeyPairFiles,
    authority_files,
    make_directory,
    next_authority_files,
    node_files,
    refuse_overwriting,
    user_files,
    write_key_pair,
)
from raftd.wire.address import is_host, is_ip_address
from raftd.wire.identity import (
    Identity,
    IdentityError,
    IdentityKind,
    authority_identity,
    node_identity,
    user_identity,
)

AUTHORITY_DAYS = 3650
LEAF_DAYS = 365
DAYS_MAX = 36_500
HOSTS_MAX = 100
BACKDATED = timedelta(minutes=5)
_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """The two certificates of a node."""

    peer: KeyPairFiles
    client: KeyPairFiles


@dataclass(frozen=True, slots=True)
class _Authority:
    identity: Identity
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def create_authorities(
    directory: Path, cluster: str, *, days: float = AUTHORITY_DAYS, overwrite: bool = False, now: datetime | None = None
) -> tuple[KeyPairFiles, KeyPairFiles]:
    """Make the peer and the client authority of a cluster, both or none; `now` is aware.

    Raises:
        IdentityError: `cluster` is not a cluster's name.
        TlsError: `days` is out of bounds.
        WouldOverwriteError: one of the four files is there.
        PkiFileError: the disk refused.
    """
    identities = authority_identity(cluster, "peer"), authority_identity(cluster, "client")
    files = authority_files(directory, "peer"), authority_files(directory, "client")
    start, end = _period(now, days)
    make_directory(directory)
    if not overwrite:
        refuse_overwriting(*files)
    for identity, pair in zip(identities, files, strict=True):
        _create_authority(identity, pair, start, end, overwrite=overwrite)
    return files


def create_next_authority(
    directory: Path, name: AuthorityName, *, days: float = AUTHORITY_DAYS, now: datetime | None = None
) -> KeyPairFiles:
    """Make the authority that is to take over from the one in `directory`, beside it; `now` is aware.

    Raises: as `create_authorities`, and TlsError where the present authority is none; it may have expired.
    """
    identity = _find_authority(directory, name).identity
    files = next_authority_files(directory, name)
    start, end = _period(now, days)
    # Half a pair that a crash has left was never used by anybody.
    _create_authority(identity, files, start, end, overwrite=not files.certificate.exists())
    return files


def issuing_authority(directory: Path, name: AuthorityName) -> x509.Certificate:
    """The authority, of those in the bundle, whose key is at hand: what is issued now is of this one.

    Raises: as `issue_user`, but for an authority that has expired.
    """
    return _find_authority(directory, name).certificate


def _create_authority(
    identity: Identity, files: KeyPairFiles, start: datetime, end: datetime, *, overwrite: bool
) -> None:
    key = _new_key()
    name = _distinguished_name(identity.cluster, f"{identity.name} authority")
    builder = _builder(name, name, key, start, end).add_extension(
        x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity.uri)]), critical=False
    )
    certificate = _with_usage(builder, is_authority=True).sign(key, hashes.SHA256())
    _write(files, certificate, key, overwrite=overwrite)


def issue_node(
    directory: Path,
    node_id: int,
    hosts: Sequence[str],
    *,
    days: float = LEAF_DAYS,
    overwrite: bool = False,
    now: datetime | None = None,
) -> NodeFiles:
    """Issue a node's two certificates, by the authorities in `directory`.

    Args:
        directory: holds the authorities and receives the new files.
        node_id: the node's id.
        hosts: names and IP addresses (without brackets) under which others reach it. raftd does not read them, since
            it checks the URI; other software's host name check does.
        days: how long they hold, but never longer than their authority.
        overwrite: whether files that are there are replaced.
        now: when this is; aware.

    Raises:
        IdentityError: the id is out of bounds.
        TlsError: an authority cannot be used, a host is malformed, or `days` is out of bounds.
        WouldOverwriteError: one of the four files is there.
        PkiFileError: an authority cannot be read, or the disk refused.
    """
    moment = now or datetime.now(UTC)
    peer, client = _load_authority(directory, "peer", moment), _load_authority(directory, "client", moment)
    if peer.identity.cluster != client.identity.cluster:
        raise TlsError(f"the authorities in {directory} are of two clusters: {peer.identity} and {client.identity}")
    identity = node_identity(peer.identity.cluster, node_id)
    names = _host_names(hosts)
    files = NodeFiles(node_files(directory, node_id, "peer"), node_files(directory, node_id, "client"))
    if not overwrite:
        refuse_overwriting(files.peer, files.client)
    # Each end of a link between nodes is now the server's and now the client's; on the client port a node only serves.
    both = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
    _issue(peer, identity, names, both, files.peer, days=days, now=moment, overwrite=overwrite)
    _issue(client, identity, names, both[:1], files.client, days=days, now=moment, overwrite=overwrite)
    return files


def issue_user(
    directory: Path, name: str, *, days: float = LEAF_DAYS, overwrite: bool = False, now: datetime | None = None
) -> KeyPairFiles:
    """Issue a user's certificate, by the client authority in `directory`; `now` is aware.

    Raises:
        IdentityError: `name` is not a user's name.
        TlsError: the authority cannot be used, or `days` is out of bounds.
        WouldOverwriteError: one of the two files is there.
        PkiFileError: the authority cannot be read, or the disk refused.
    """
    moment = now or datetime.now(UTC)
    authority = _load_authority(directory, "client", moment)
    identity = user_identity(authority.identity.cluster, name)
    files = user_files(directory, name)
    if not overwrite:
        refuse_overwriting(files)
    usages = (ExtendedKeyUsageOID.CLIENT_AUTH,)
    _issue(authority, identity, [], usages, files, days=days, now=moment, overwrite=overwrite)
    return files


def cluster_of(directory: Path) -> str:
    """The name of the cluster whose client authority is in `directory`.

    Raises:
        PkiFileError: there is none, or it cannot be read.
        TlsError: it is not an authority that raftd made.
    """
    path = authority_files(directory, "client").certificate
    return _authority_identity_of(path, load_certificate(path), "client").cluster


def renew(
    directory: Path,
    files: KeyPairFiles,
    name: AuthorityName,
    *,
    days: float = LEAF_DAYS,
    now: datetime | None = None,
) -> None:
    """Replace a certificate by one for the same identity, hosts and uses, with a new key.

    Args:
        directory: holds the authority `name`, which issues it.
        files: what is replaced, the key first.
        name: see `directory`.
        days: how long it holds, but never longer than its authority.
        now: when this is; aware.

    Raises:
        TlsError: there is no such certificate, or one that raftd did not make; or as `issue_user`.
        PkiFileError: as `issue_user`.
    """
    moment = now or datetime.now(UTC)
    authority = _load_authority(directory, name, moment)
    present = load_certificate(files.certificate)
    try:
        identity = identity_of_certificate(present)
        names = present.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        usages = present.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (IdentityError, x509.ExtensionNotFound) as error:
        raise TlsError(f"{files.certificate} is not a certificate that raftd made: {error}") from error
    if identity.cluster != authority.identity.cluster:
        raise TlsError(f"{files.certificate} is of the cluster {identity.cluster}, not {authority.identity.cluster}")
    others = [each for each in names if each != x509.UniformResourceIdentifier(identity.uri)]
    _issue(authority, identity, others, list(usages), files, days=days, now=moment, overwrite=True)


def _load_authority(directory: Path, name: AuthorityName, now: datetime) -> _Authority:
    authority = _find_authority(directory, name)
    if now > (end := validity(authority.certificate)[1]):
        path = authority_files(directory, name).certificate
        raise TlsError(f"{path} expired on {end:%Y-%m-%d}; it can issue nothing more")
    return authority


def _find_authority(directory: Path, name: AuthorityName) -> _Authority:
    """The one of those in the bundle whose key is at hand: while one takes over from another, there are two."""
    files = authority_files(directory, name)
    if not files.certificate.exists():
        raise TlsError(f"{directory} holds no {files.certificate.name}; make the authorities first: raftctl pki init")
    certificates, key = load_certificates(files.certificate), load_authority_key(files.key)
    own = _public_bytes(key)
    certificate = next((each for each in certificates if _public_bytes(each) == own), None)
    if certificate is None:
        raise TlsError(f"{files.key} is not the key of {files.certificate}")
    return _Authority(_authority_identity_of(files.certificate, certificate, name), certificate, key)


def _authority_identity_of(path: Path, certificate: x509.Certificate, name: AuthorityName) -> Identity:
    try:
        identity = identity_of_certificate(certificate)
    except IdentityError as error:
        raise TlsError(f"{path} is not an authority that raftd made: {error}") from error
    if identity.kind is not IdentityKind.AUTHORITY or identity.name != name:
        raise TlsError(f"{path} is {identity}, not a {name} authority")
    return identity


def _issue(
    authority: _Authority,
    identity: Identity,
    names: Sequence[x509.GeneralName],
    usages: Sequence[x509.ObjectIdentifier],
    files: KeyPairFiles,
    *,
    days: float,
    now: datetime,
    overwrite: bool,
) -> None:
    start, end = _period(now, days)
    key = _new_key()
    subject = _distinguished_name(identity.cluster, f"{identity.kind.value} {identity.name}"[:64])
    end = min(end, validity(authority.certificate)[1])
    issuer_key_id = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _builder(subject, authority.certificate.subject, key, start, end)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity.uri), *names]), critical=False
        )
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key_id), critical=False)
    )
    certificate = _with_usage(builder, is_authority=False).sign(authority.key, hashes.SHA256())
    _write(files, certificate, key, overwrite=overwrite)


def _period(now: datetime | None, days: float) -> tuple[datetime, datetime]:
    if not 1 <= days * _DAY_SECONDS <= DAYS_MAX * _DAY_SECONDS:
        raise TlsError(f"a certificate holds for at least a second and at most {DAYS_MAX} days, not {days:g} days")
    # X.509 has no fractions of a second.
    moment = (now or datetime.now(UTC)).replace(microsecond=0)
    return moment - BACKDATED, moment + timedelta(seconds=round(days * _DAY_SECONDS))


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _public_bytes(holder: x509.Certificate | ec.EllipticCurvePrivateKey) -> bytes:
    return holder.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _distinguished_name(cluster: str, common_name: str) -> x509.Name:
    # For people only: raftd reads neither.
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _host_names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    if not 1 <= len(hosts) <= HOSTS_MAX:
        raise TlsError(f"a node is reached under 1 to {HOSTS_MAX} hosts, not {len(hosts)}")
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys(hosts):
        if is_ip_address(host):
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        elif is_host(host):
            names.append(x509.DNSName(host))
        else:
            raise TlsError(f"{host!r} is neither a host's name nor an IP address (without port and brackets)")
    return names


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _with_usage(builder: x509.CertificateBuilder, *, is_authority: bool) -> x509.CertificateBuilder:
    """Say whether it is an authority: this makes one signature for certificates, the other for handshakes."""
    usage = x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )
    constraints = x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None)
    return builder.add_extension(constraints, critical=True).add_extension(usage, critical=True)


def _write(
    files: KeyPairFiles, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, *, overwrite: bool
) -> None:
    write_key_pair(
        files,
        certificate=certificate.public_bytes(serialization.Encoding.PEM),
        key=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        overwrite=overwrite,
    )
