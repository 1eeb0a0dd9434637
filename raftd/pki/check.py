"""Whether certificate files can be used, before anything is started with them."""

import contextlib
import stat
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from raftd.errors import TlsError
from raftd.pki.certificates import identity_of_certificate, load_certificate, load_certificates, validity
from raftd.pki.files import PkiFileError, read_file
from raftd.pki.rehearsal import Purpose, rehearse
from raftd.wire.identity import Identity, IdentityError


def check_files(
    *, authority: Path, certificate: Path, key: Path, identity: Identity, purpose: Purpose, now: datetime | None = None
) -> list[str]:
    """Say what keeps these files from being used; an empty list when nothing does.

    Args:
        authority: the authority's certificate, or several, which other ends are checked against.
        certificate: what is shown to other ends.
        key: its private key.
        identity: whose the certificate must be.
        purpose: what for.
        now: when this is; aware.

    Each problem is one line that names its file. When none is found in the files themselves, a handshake in memory is
    the judge, by the same library that will judge later.
    """
    moment = now or datetime.now(UTC)
    problems = _problems_of_authority(authority, identity, moment)
    leaf_problems, leaf = _problems_of_certificate(certificate, identity, moment)
    problems += leaf_problems
    problems += _problems_of_key(key, certificate, leaf)
    if problems:
        return problems
    refusal = rehearse(authority=authority, certificate=certificate, key=key, purpose=purpose)
    return [f"{certificate} would be refused by the other end, which trusts {authority}: {refusal}"] if refusal else []


def not_yet_valid(*, authority: Path, certificate: Path, now: datetime | None = None) -> list[str]:
    """What `check_files` says of certificates whose time is still to come, and nothing else; the same arguments."""
    moment = now or datetime.now(UTC)
    problems = []
    for path, load in ((authority, load_certificates), (certificate, lambda path: [load_certificate(path)])):
        with contextlib.suppress(PkiFileError, TlsError):
            for each in load(path):
                problems += _problem_of_beginning(path, each, moment)
    return problems


def _problems_of_authority(path: Path, identity: Identity, now: datetime) -> list[str]:
    try:
        authorities = load_certificates(path)
    except (PkiFileError, TlsError) as error:
        return [str(error)]
    problems = []
    for authority in authorities:
        problems += _problems_of_time(path, authority, now)
        try:
            cluster = identity_of_certificate(authority).cluster
        except IdentityError:
            continue  # one that raftd did not make; it need not say whose it is
        if cluster != identity.cluster:
            problems.append(f"{path} is an authority of the cluster {cluster}, not of {identity.cluster}")
    return problems


def _problems_of_certificate(
    path: Path, identity: Identity, now: datetime
) -> tuple[list[str], x509.Certificate | None]:
    try:
        certificate = load_certificate(path)
    except (PkiFileError, TlsError) as error:
        return [str(error)], None
    problems = _problems_of_time(path, certificate, now)
    try:
        found = identity_of_certificate(certificate)
    except IdentityError as error:
        problems.append(f"{path}: {error}")
    else:
        if found != identity:
            problems.append(f"{path} is the certificate of {_shown(found)}, not of {_shown(identity)}")
    return problems, certificate


def _problems_of_time(path: Path, certificate: x509.Certificate, now: datetime) -> list[str]:
    _, not_after = validity(certificate)
    if now > not_after:
        return [f"{path} expired on {not_after:%Y-%m-%d at %H:%M:%S} UTC"]
    return _problem_of_beginning(path, certificate, now)


def _problem_of_beginning(path: Path, certificate: x509.Certificate, now: datetime) -> list[str]:
    not_before, _ = validity(certificate)
    if now < not_before:
        return [f"{path} is valid only from {not_before:%Y-%m-%d at %H:%M:%S} UTC on; is this machine's clock right?"]
    return []


def _problems_of_key(path: Path, certificate_path: Path, certificate: x509.Certificate | None) -> list[str]:
    problems = []
    try:
        data = read_file(path)
        mode = stat.S_IMODE(path.stat().st_mode)
    except PkiFileError as error:
        return [str(error)]
    except OSError as error:
        return [f"cannot read {path}: {error.strerror}"]
    # A group may read: packages install keys as root:raftd 0640. Nobody but the owner may write.
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        problems.append(f"{path} is open to others (mode {mode:04o}); try: chmod o=,g-w {path}")
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        return [*problems, f"{path} is encrypted; a daemon has nobody to ask for its password"]
    except ValueError:
        return [*problems, f"{path} holds no private key in PEM form, or a damaged one"]
    except Exception as error:  # noqa: BLE001 - UnsupportedAlgorithm and what else a foreign key may meet in OpenSSL
        return [*problems, f"{path} cannot be used: {error}"]
    if certificate is not None:
        encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        own = key.public_key().public_bytes(encoding, form)
        if own != certificate.public_key().public_bytes(encoding, form):
            problems.append(f"{path} is not the key of {certificate_path}")
    return problems


def _shown(identity: Identity) -> str:
    return f"{identity.kind.value} {identity.name} of {identity.cluster}"
