"""The files of a certificate directory: their names, and how they are written.

=========================================  ============================================================
``peer-ca.crt``, ``peer-ca.key``           the authority that nodes trust each other by
``client-ca.crt``, ``client-ca.key``       the authority between clients and nodes
``….next.crt``, ``….next.key``             the authority that is to take over from one of these (`rotation`)
``….old.key``                              the key of the one that it took over from, until nobody trusts that
``node-<id>.peer.crt``, ``….peer.key``     a node, on the links between nodes
``node-<id>.client.crt``, ``….client.key``  a node, on the port that clients use
``user-<name>.crt``, ``user-<name>.key``   a user
=========================================  ============================================================

A crash leaves each file whole or absent. A key is never readable by others, not for a moment.
"""

import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from raftd.errors import RaftdError
from raftd.regular_file import open_regular

AuthorityName: TypeAlias = Literal["peer", "client"]

FILE_BYTES_MAX = 1 << 20
KEY_MODE = 0o600
CERTIFICATE_MODE = 0o644
DIRECTORY_MODE = 0o700


class PkiFileError(RaftdError):
    """A file of the certificate directory cannot be read or written."""


class WouldOverwriteError(PkiFileError):
    """A file is there already, and overwriting was not asked for; nothing was written."""


@dataclass(frozen=True, slots=True)
class KeyPairFiles:
    """A certificate and its private key, both PEM."""

    certificate: Path
    key: Path


def authority_files(directory: Path, name: AuthorityName) -> KeyPairFiles:
    """The files of an authority."""
    return _key_pair(directory, f"{name}-ca")


def next_authority_files(directory: Path, name: AuthorityName) -> KeyPairFiles:
    """The files of the authority that is to take over."""
    return _key_pair(directory, f"{name}-ca.next")


def old_authority_key(directory: Path, name: AuthorityName) -> Path:
    """The key of the authority that another one has taken over from."""
    return directory / f"{name}-ca.old.key"


def node_files(directory: Path, node_id: int, port: AuthorityName) -> KeyPairFiles:
    """The files of a node, for the port of that name."""
    return _key_pair(directory, f"node-{node_id}.{port}")


def user_files(directory: Path, name: str) -> KeyPairFiles:
    """The files of a user."""
    return _key_pair(directory, f"user-{name}")


def _key_pair(directory: Path, stem: str) -> KeyPairFiles:
    return KeyPairFiles(directory / f"{stem}.crt", directory / f"{stem}.key")


def make_directory(directory: Path) -> None:
    """Make a directory for keys, mode 0700, if it is not there.

    Raises:
        PkiFileError: it cannot be made, is not a directory, or everybody may write in it.
    """
    try:
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        mode = stat.S_IMODE(directory.stat().st_mode)
    except OSError as error:
        raise PkiFileError(f"cannot make the directory {directory}: {error.strerror}") from error
    if mode & stat.S_IWOTH:
        raise PkiFileError(f"{directory} is writable by everybody (mode {mode:04o}); try: chmod 0700 {directory}")


def read_file(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        PkiFileError: it cannot be read, is not a regular file, or has more than `FILE_BYTES_MAX`.
    """
    try:
        with open_regular(path) as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise PkiFileError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise PkiFileError(f"{path} is over {FILE_BYTES_MAX} bytes; that is neither a certificate nor a key")
    return data


def refuse_overwriting(*pairs: KeyPairFiles) -> None:
    """Check that none of the files is there. Raises: WouldOverwriteError, which names those that are."""
    present = [path for pair in pairs for path in (pair.certificate, pair.key) if os.path.lexists(path)]
    if present:
        names = ", ".join(str(path) for path in present)
        raise WouldOverwriteError(f"already there: {names}; nothing was written (--force overwrites)")


def write_key_pair(files: KeyPairFiles, *, certificate: bytes, key: bytes, overwrite: bool) -> None:
    """Write both files, the key first: a certificate without its key would look usable and is not.

    Raises:
        WouldOverwriteError: one of them is there and `overwrite` is false.
        PkiFileError: the disk refused.
    """
    _write(files.key, key, KEY_MODE, overwrite=overwrite)
    _write(files.certificate, certificate, CERTIFICATE_MODE, overwrite=overwrite)


def replace_certificates(path: Path, data: bytes) -> None:
    """Write a file of certificates, over whatever is there. Raises: PkiFileError."""
    _write(path, data, CERTIFICATE_MODE, overwrite=True)


def promote_key(key: Path, over: Path, kept: Path) -> None:
    """Put `key` in the place of `over`, of which `kept` becomes a copy first; there is always one in that place.

    Raises:
        PkiFileError: the disk refused.
    """
    _write(kept, read_file(over), KEY_MODE, overwrite=True)
    try:
        key.replace(over)
        _sync_directory(over.parent)
    except OSError as error:
        raise PkiFileError(f"cannot write {over}: {error.strerror}") from error


def remove_file(path: Path) -> None:
    """Remove a file, if it is there. Raises: PkiFileError."""
    try:
        path.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except OSError as error:
        raise PkiFileError(f"cannot remove {path}: {error.strerror}") from error


def _write(path: Path, data: bytes, mode: int, *, overwrite: bool) -> None:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if overwrite:
                beside.replace(path)
            else:
                # Unlike a rename, a link fails when the name is taken, even if it was taken this very moment.
                path.hardlink_to(beside)
        finally:
            beside.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except FileExistsError as error:
        raise WouldOverwriteError(f"already there: {path}; it was left as it is (--force overwrites)") from error
    except OSError as error:
        raise PkiFileError(f"cannot write {path}: {error.strerror}") from error


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
