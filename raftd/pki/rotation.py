"""One authority takes over from another while the cluster runs: trust both, issue anew, trust the new one only.

The three steps are taken in the certificate directory, and after each of them its files go to the nodes and clients,
which read them anew. At no moment does anybody meet a certificate that it does not trust:

==============  ===========================================  ================================================
after           the bundle (``peer-ca.crt``)                 what issues, and has issued the directory's leaves
==============  ===========================================  ================================================
(nothing)       old                                          old
``trust-both``  old, new                                     old
``reissue``     old, new                                     new
``trust-new``   new                                          new
==============  ===========================================  ================================================

What issues is whichever of the bundle's authorities the key ``peer-ca.key`` belongs to, so one rename hands over. Each
step can be interrupted anywhere and taken again: it does what is left of it, and nothing where nothing is left.
"""

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from raftd.errors import TlsError
from raftd.pki.certificates import load_certificate, load_certificates
from raftd.pki.files import (
    AuthorityName,
    KeyPairFiles,
    authority_files,
    next_authority_files,
    old_authority_key,
    promote_key,
    remove_file,
    replace_certificates,
)
from raftd.pki.issue import AUTHORITY_DAYS, LEAF_DAYS, create_next_authority, issuing_authority, renew
from raftd.pki.trust import fingerprint_of, is_issued_by


class Phase(enum.Enum):
    """Where an authority's rotation is: the step that was taken last."""

    NONE = "none"
    TRUST_BOTH = "trust-both"
    REISSUE = "reissue"
    TRUST_NEW = "trust-new"
    """Never where it is, for then nothing is under way any more; only what is asked for."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """How far the rotation of one authority is."""

    name: AuthorityName
    phase: Phase
    trusted: tuple[str, ...]
    """Fingerprints of the authorities in the bundle, in its order."""
    issuing: str
    """The fingerprint of the one that issues."""
    stale: tuple[Path, ...]
    """Certificates in the directory that are of another one."""


def rotation(directory: Path, name: AuthorityName) -> Rotation:
    """Look how far an authority's rotation is.

    Raises:
        TlsError: the authority cannot be used, or its bundle is not one.
        PkiFileError: a file cannot be read.
    """
    files, next_files = authority_files(directory, name), next_authority_files(directory, name)
    issuing = issuing_authority(directory, name)
    bundle = load_certificates(files.certificate)
    if next_files.key.exists():
        is_trusted = next_files.certificate.exists() and load_certificate(next_files.certificate) in bundle
        phase = Phase.TRUST_BOTH if is_trusted else Phase.NONE
    else:
        phase = Phase.REISSUE if len(bundle) > 1 else Phase.NONE
    return Rotation(
        name,
        phase,
        tuple(map(fingerprint_of, bundle)),
        fingerprint_of(issuing),
        tuple(leaf.certificate for leaf in _leaves(directory, name) if not _is_of(leaf, issuing)),
    )


def trust_both(
    directory: Path, name: AuthorityName, *, days: float = AUTHORITY_DAYS, now: datetime | None = None
) -> None:
    """Make the next authority, if there is none yet, and put it into the bundle; the present one goes on issuing.

    Raises:
        TlsError: the rotation is further already; or as `rotation`.
        PkiFileError: the disk refused.
    """
    if rotation(directory, name).phase is Phase.REISSUE:
        raise TlsError(f"the new {name} authority issues already; what is left is: --phase trust-new")
    files, next_files = authority_files(directory, name), next_authority_files(directory, name)
    if not (next_files.key.exists() and next_files.certificate.exists()):
        create_next_authority(directory, name, days=days, now=now)
    bundle, newcomer = load_certificates(files.certificate), load_certificate(next_files.certificate)
    if newcomer not in bundle:
        _write_bundle(files.certificate, [*bundle, newcomer])


def reissue(
    directory: Path, name: AuthorityName, *, days: float = LEAF_DAYS, now: datetime | None = None
) -> tuple[Path, ...]:
    """Let the next authority issue from now on, and issue anew what is of the old one; returns what was replaced.

    The old key is kept beside the new one, and issues nothing any more.

    Raises:
        TlsError: nobody trusts a next authority yet; or as `rotation` and `renew`.
        PkiFileError: the disk refused.
    """
    if rotation(directory, name).phase is Phase.NONE:
        raise TlsError(f"there is no next {name} authority that the bundle has; first: --phase trust-both")
    files, next_files = authority_files(directory, name), next_authority_files(directory, name)
    if next_files.key.exists():
        promote_key(next_files.key, over=files.key, kept=old_authority_key(directory, name))
    remove_file(next_files.certificate)
    issuing = issuing_authority(directory, name)
    replaced = []
    for leaf in _leaves(directory, name):
        if not _is_of(leaf, issuing):
            renew(directory, leaf, name, days=days, now=now)
            replaced.append(leaf.certificate)
    return tuple(replaced)


def trust_new(directory: Path, name: AuthorityName) -> bool:
    """Take all but the issuing authority out of the bundle, and destroy the old one's key; whether there was one.

    Raises:
        TlsError: the old authority issues still, or a certificate in the directory is of it; or as `rotation`.
        PkiFileError: the disk refused.
    """
    found = rotation(directory, name)
    if found.phase is Phase.TRUST_BOTH:
        raise TlsError(f"the old {name} authority issues still; first: --phase reissue")
    if found.phase is Phase.REISSUE:
        if found.stale:
            names = ", ".join(path.name for path in found.stale)
            raise TlsError(f"nobody would accept these any more: {names}; first: --phase reissue")
        _write_bundle(authority_files(directory, name).certificate, [issuing_authority(directory, name)])
    remove_file(old_authority_key(directory, name))
    return found.phase is Phase.REISSUE


def _leaves(directory: Path, name: AuthorityName) -> Iterator[KeyPairFiles]:
    """The certificates in the directory that are for the port of that name."""
    patterns = [f"node-*.{name}.crt", *(["user-*.crt"] if name == "client" else [])]
    for pattern in patterns:
        for path in sorted(directory.glob(pattern)):
            yield KeyPairFiles(path, path.with_suffix(".key"))


def _is_of(leaf: KeyPairFiles, authority: x509.Certificate) -> bool:
    return is_issued_by(load_certificate(leaf.certificate), authority)


def _write_bundle(path: Path, certificates: list[x509.Certificate]) -> None:
    replace_certificates(path, b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates))
