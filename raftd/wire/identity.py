"""Who is at the other end of a connection: the one URI in its certificate, and nothing else.

============================================  ===================================================
URI                                           names
============================================  ===================================================
``raftd://<cluster>/node/<id>``               a node of the cluster
``raftd://<cluster>/user/<name>``             a user of the cluster
``raftd://<cluster>/authority/<peer|client>``  an authority itself; no connection is made under it
============================================  ===================================================

A certificate counts if and only if exactly one URI of its subject alternative name (RFC 5280 §4.2.1.6) has the scheme
``raftd`` and that URI is, character for character, of one of these forms: no percent encoding, no port, no query, no
leading zeros. So two certificates name the same identity exactly when their URIs are the same string. A common name is
never read (RFC 9525 §2 retired it).
"""

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass

from raftd.errors import RemoteProtocolError

CLUSTER_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
USER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}", re.ASCII)
NODE_ID_MAX = (1 << 63) - 1
URI_CHARACTERS_MAX = 256
SCHEME = "raftd"

_NODE_ID = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_AUTHORITY_NAMES = frozenset({"peer", "client"})


class IdentityKind(enum.Enum):
    """What an identity is of; the value is its word in the URI."""

    NODE = "node"
    USER = "user"
    AUTHORITY = "authority"


class IdentityError(RemoteProtocolError):
    """A certificate does not say, or does not say clearly, whose it is."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One node, user or authority of one cluster.

    Made by `node_identity`, `user_identity`, `authority_identity` or a parser: these check, the class itself does not.
    """

    cluster: str
    kind: IdentityKind
    name: str
    """The node's id in decimal, the user's name, or ``peer`` or ``client``."""

    @property
    def uri(self) -> str:
        """The URI as it stands in the certificate."""
        return f"{SCHEME}://{self.cluster}/{self.kind.value}/{self.name}"

    @property
    def node_id(self) -> int | None:
        """The node's id, or None when this is not a node."""
        return int(self.name) if self.kind is IdentityKind.NODE else None

    @property
    def user(self) -> str | None:
        """The user's name, or None when this is not a user."""
        return self.name if self.kind is IdentityKind.USER else None

    def __str__(self) -> str:
        return self.uri


def node_identity(cluster: str, node_id: int) -> Identity:
    """The identity of a node. Raises: IdentityError, when the cluster's name or the id is out of bounds."""
    return _checked(cluster, "node", str(node_id))


def user_identity(cluster: str, name: str) -> Identity:
    """The identity of a user. Raises: IdentityError, when one of the names is out of bounds."""
    return _checked(cluster, "user", name)


def authority_identity(cluster: str, name: str) -> Identity:
    """The identity of the authority `peer` or `client`. Raises: IdentityError, when it is neither."""
    return _checked(cluster, "authority", name)


def parse_identity(uri: str) -> Identity:
    """Read an identity from a URI's text.

    Raises:
        IdentityError: the text is not, character for character, one of the three forms.
    """
    if len(uri) > URI_CHARACTERS_MAX:
        raise IdentityError(f"an identity of {len(uri)} characters; at most {URI_CHARACTERS_MAX} are allowed")
    parts = uri.split("/")
    if len(parts) != 5 or parts[0] != f"{SCHEME}:" or parts[1] != "":
        raise IdentityError(f"{uri!r} is not of the form raftd://CLUSTER/node/ID or raftd://CLUSTER/user/NAME")
    return _checked(*parts[2:])


def identity_among(uris: Iterable[str]) -> Identity:
    """The identity among all URIs of one certificate; URIs of other schemes are left to their owners.

    Raises:
        IdentityError: none of them has the scheme ``raftd``, or more than one, or it cannot be read.
    """
    ours = [uri for uri in uris if uri.lower().startswith(f"{SCHEME}:")]
    if not ours:
        raise IdentityError("the certificate names no identity: it has no URI raftd://… as a subject alternative name")
    if len(ours) > 1:
        raise IdentityError(f"the certificate names {len(ours)} identities; exactly one URI raftd://… is allowed")
    return parse_identity(ours[0])


def identity_of_alternative_names(names: Iterable[tuple[str, str]]) -> Identity:
    """The identity among what `ssl.SSLObject.getpeercert()["subjectAltName"]` lists: pairs of a type and a value.

    Raises:
        IdentityError: as `identity_among`.
    """
    return identity_among(value for kind, value in names if kind == "URI")


def _checked(cluster: str, word: str, name: str) -> Identity:
    if CLUSTER_NAME.fullmatch(cluster) is None:
        raise IdentityError(
            f"{cluster!r} is not a cluster's name: lower-case letters, digits and '-', at most 63, not '-' first"
        )
    match word:
        case "node":
            if _NODE_ID.fullmatch(name) is None or int(name) > NODE_ID_MAX:
                raise IdentityError(f"{name!r} is not a node's id: a number from 1 to {NODE_ID_MAX}")
        case "user":
            if USER_NAME.fullmatch(name) is None:
                raise IdentityError(
                    f"{name!r} is not a user's name: letters, digits and any of '._@-', at most 63, the first of them "
                    "a letter or digit"
                )
        case "authority":
            if name not in _AUTHORITY_NAMES:
                raise IdentityError(f"{name!r} is not an authority: peer or client")
        case _:
            raise IdentityError(f"{word!r} is neither node nor user")
    return Identity(cluster, IdentityKind(word), name)
