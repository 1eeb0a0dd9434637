"""The first frame in each direction: who are you, and which version do we speak?

The one part of the protocol that every version shares, so its fields never change. A later version may put further
ones behind them; bytes behind the fields known here are ignored. All numbers are little-endian.

    Hello, from who dialled
    offset  size  field
         0     8  magic              52 41 46 54 44 00 0d 0a: RAFTD, NUL, CR, LF
         8     2  version_min        not 0
        10     2  version_max        not below version_min
        12     1  role               `ConnectionRole`
        13    16  cluster_id         a client's may be 0: any
        29     8  sender_node_id     0 exactly for a client
        37     8  receiver_node_id   a client's may be 0: any

    Welcome, from who was dialled
    offset  size  field
         0     8  magic
         8     1  code               0
         9     2  version            the one spoken from here on
        11    16  cluster_id
        27     8  node_id
        35     4  frame_bytes_max
        39     4  requests_in_flight_max

    Refusal, from who was dialled
    offset  size  field
         0     8  magic
         8     1  code               `HandshakeRefusalCode`
         9     2  message_length
        11     n  message            UTF-8

The magic's zero byte and line end show at once when something on the way takes the stream for text.

Which certificate may say what is no business of this module: whoever terminated TLS compares it with the Hello.
"""

import enum
import struct
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from raftd.consensus.types import NodeId
from raftd.encoding.reader import Reader
from raftd.encoding.writer import Writer
from raftd.errors import DecodeError, RemoteProtocolError
from raftd.wire.limits import HANDSHAKE_MESSAGE_BYTES_MAX

MAGIC: Final = b"RAFTD\0\r\n"
VERSION_MIN: Final = 1
"""The oldest version between clients and nodes that this code speaks: the one before the newest, if there are two."""
VERSION_MAX: Final = 1
PEER_VERSION_MIN: Final = 1
"""The same between nodes, where versions are counted apart."""
PEER_VERSION_MAX: Final = 2
ANY_CLUSTER: Final = bytes(16)
"""In a client's Hello: whichever cluster this is."""

_HELLO = struct.Struct("<8sHHB16sQQ")
_WELCOME = struct.Struct("<8sBH16sQII")
_WELCOME_CODE: Final = 0


class ConnectionRole(enum.IntEnum):
    """What who dialled is. The numbers are on the wire: never renumber."""

    CLIENT = 1
    PEER = 2


class HandshakeRefusalCode(enum.IntEnum):
    """Why a connection was refused. The numbers are on the wire: never renumber."""

    NO_COMMON_VERSION = 1
    WRONG_CLUSTER = 2
    WRONG_NODE = 3
    """Another node listens here than the one that was to be reached."""
    WRONG_ROLE = 4
    """A client at the peers' port, or the other way round."""
    NOT_ALLOWED = 5
    """The certificate is not of who the Hello names, or its owner may not connect."""
    TOO_MANY_CONNECTIONS = 6
    STOPPING = 7


@dataclass(frozen=True, slots=True)
class Hello:
    """What who dialled says first."""

    role: ConnectionRole
    cluster_id: bytes = ANY_CLUSTER
    """16 bytes; a peer always names its cluster."""
    sender_node_id: NodeId | None = None
    """None exactly for a client."""
    receiver_node_id: NodeId | None = None
    """Who is to be reached; a client may say None: whoever listens there."""
    version_min: int = VERSION_MIN
    version_max: int = VERSION_MAX


@dataclass(frozen=True, slots=True)
class Welcome:
    """What who was dialled answers, if the connection may go on."""

    version: int
    cluster_id: bytes
    node_id: NodeId
    frame_bytes_max: int
    """A longer frame ends the connection."""
    requests_in_flight_max: int
    """How many requests may be unanswered on this connection; 0 at a peer's, where nothing is answered."""


@dataclass(frozen=True, slots=True)
class HandshakeRefusal:
    """What who was dialled answers, if not; the connection then ends."""

    code: HandshakeRefusalCode
    message: str
    """For people; at most `HANDSHAKE_MESSAGE_BYTES_MAX` in UTF-8, and cut there."""


HandshakeReply: TypeAlias = Welcome | HandshakeRefusal


@dataclass(frozen=True, slots=True)
class Listener:
    """One port of a node, as far as a handshake sees it."""

    role: ConnectionRole
    """Whom it serves."""
    cluster_id: bytes
    node_id: NodeId
    frame_bytes_max: int
    requests_in_flight_max: int
    version_min: int = VERSION_MIN
    version_max: int = VERSION_MAX


def negotiate(hello: Hello, listener: Listener) -> HandshakeReply:
    """Decide what to answer a Hello; what is most likely misconfigured is looked at first."""
    if hello.role is not listener.role:
        return HandshakeRefusal(
            HandshakeRefusalCode.WRONG_ROLE,
            f"a {hello.role.name.lower()} at the port for {listener.role.name.lower()}s",
        )
    version = common_version(hello, listener)
    if version is None:
        return HandshakeRefusal(
            HandshakeRefusalCode.NO_COMMON_VERSION,
            f"versions {hello.version_min} to {hello.version_max} are offered, "
            f"and {listener.version_min} to {listener.version_max} are spoken here",
        )
    if hello.cluster_id not in (listener.cluster_id, ANY_CLUSTER):
        return HandshakeRefusal(
            HandshakeRefusalCode.WRONG_CLUSTER,
            f"cluster {hello.cluster_id.hex()} is sought, and this is {listener.cluster_id.hex()}",
        )
    if hello.receiver_node_id not in (listener.node_id, None):
        return HandshakeRefusal(
            HandshakeRefusalCode.WRONG_NODE, f"node {hello.receiver_node_id} is sought, and this is {listener.node_id}"
        )
    if hello.sender_node_id == listener.node_id:
        return HandshakeRefusal(HandshakeRefusalCode.WRONG_NODE, f"this is node {listener.node_id} itself")
    return Welcome(
        version, listener.cluster_id, listener.node_id, listener.frame_bytes_max, listener.requests_in_flight_max
    )


def common_version(hello: Hello, listener: Listener) -> int | None:
    """Return the newest version that both speak, None if there is none."""
    version = min(hello.version_max, listener.version_max)
    return version if version >= max(hello.version_min, listener.version_min) else None


def check_welcome(hello: Hello, welcome: Welcome) -> None:
    """Check, on the side that dialled, that a Welcome is one to the Hello that was sent.

    Raises:
        RemoteProtocolError: A version that was not offered, or another cluster or node than the one sought.
    """
    if not hello.version_min <= welcome.version <= hello.version_max:
        raise RemoteProtocolError(
            f"version {welcome.version} was chosen, and {hello.version_min} to {hello.version_max} were offered"
        )
    if hello.cluster_id not in (welcome.cluster_id, ANY_CLUSTER):
        raise RemoteProtocolError(
            f"cluster {welcome.cluster_id.hex()} answered, and {hello.cluster_id.hex()} is sought"
        )
    if hello.receiver_node_id not in (welcome.node_id, None):
        raise RemoteProtocolError(f"node {welcome.node_id} answered, and {hello.receiver_node_id} is sought")


def encode_hello(hello: Hello) -> bytes:
    """Make a Hello's payload."""
    return _HELLO.pack(
        MAGIC,
        hello.version_min,
        hello.version_max,
        hello.role,
        hello.cluster_id,
        hello.sender_node_id or 0,
        hello.receiver_node_id or 0,
    )


def decode_hello(payload: bytes) -> Hello:
    """Read the first payload of a connection that was accepted.

    Raises:
        RemoteProtocolError: It is no Hello, or one that contradicts itself. It is not worth an answer: whatever sent it
            would not understand one.
    """
    if len(payload) < _HELLO.size or not payload.startswith(MAGIC):
        raise RemoteProtocolError("the connection does not begin with a Hello: not a client or node of raftd")
    _, version_min, version_max, role_number, cluster_id, sender, receiver = _HELLO.unpack_from(payload)
    if not 1 <= version_min <= version_max:
        raise RemoteProtocolError(f"a Hello offers versions {version_min} to {version_max}")
    try:
        role = ConnectionRole(role_number)
    except ValueError:
        raise RemoteProtocolError(f"a Hello of unknown role {role_number}") from None
    match role:
        case ConnectionRole.CLIENT:
            if sender:
                raise RemoteProtocolError(f"a client's Hello says that it is node {sender}")
        case ConnectionRole.PEER:
            if not sender or not receiver or cluster_id == ANY_CLUSTER:
                raise RemoteProtocolError("a peer's Hello leaves out itself, its receiver or its cluster")
    return Hello(role, cluster_id, _node_id(sender), _node_id(receiver), version_min, version_max)


def encode_reply(reply: HandshakeReply) -> bytes:
    """Make the payload that answers a Hello."""
    match reply:
        case Welcome():
            return _WELCOME.pack(
                MAGIC,
                _WELCOME_CODE,
                reply.version,
                reply.cluster_id,
                reply.node_id,
                reply.frame_bytes_max,
                reply.requests_in_flight_max,
            )
        case HandshakeRefusal():
            writer = Writer()
            writer.raw(MAGIC)
            writer.u8(reply.code)
            writer.text_u16(reply.message, HANDSHAKE_MESSAGE_BYTES_MAX)
            return writer.finish()
        case _:
            assert_never(reply)


def decode_reply(payload: bytes) -> HandshakeReply:
    """Read the first payload of a connection that was dialled.

    Raises:
        RemoteProtocolError: It is neither a Welcome nor a refusal.
    """
    if len(payload) <= len(MAGIC) or not payload.startswith(MAGIC):
        raise RemoteProtocolError("the answer does not begin as one to a Hello: not a node of raftd")
    code = payload[len(MAGIC)]
    return _decode_welcome(payload) if code == _WELCOME_CODE else _decode_refusal(payload, code)


def _decode_welcome(payload: bytes) -> Welcome:
    if len(payload) < _WELCOME.size:
        raise RemoteProtocolError(f"a Welcome of {len(payload)} bytes came, and it has {_WELCOME.size}")
    _, _, version, cluster_id, node_id, frame_bytes_max, requests_in_flight_max = _WELCOME.unpack_from(payload)
    if not node_id or cluster_id == ANY_CLUSTER:
        raise RemoteProtocolError("a Welcome leaves out its node or cluster")
    return Welcome(version, cluster_id, NodeId(node_id), frame_bytes_max, requests_in_flight_max)


def _decode_refusal(payload: bytes, code: int) -> HandshakeRefusal:
    try:
        message = Reader(payload, len(MAGIC) + 1).text_u16("message", HANDSHAKE_MESSAGE_BYTES_MAX)
    except DecodeError as error:
        raise RemoteProtocolError(f"a refused handshake cannot be read: {error}") from error
    try:
        return HandshakeRefusal(HandshakeRefusalCode(code), message)
    except ValueError:
        raise RemoteProtocolError(f"the connection was refused with unknown code {code}: {message!r}") from None


def _node_id(number: int) -> NodeId | None:
    return NodeId(number) if number else None
