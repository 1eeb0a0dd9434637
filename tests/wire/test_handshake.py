"""Who are you, and which version do we speak?"""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus.types import NodeId
from raftd.errors import RemoteProtocolError
from raftd.wire.handshake import (
    ANY_CLUSTER,
    MAGIC,
    VERSION_MAX,
    VERSION_MIN,
    ConnectionRole,
    HandshakeRefusal,
    HandshakeRefusalCode,
    Hello,
    Listener,
    Welcome,
    check_welcome,
    decode_hello,
    decode_reply,
    encode_hello,
    encode_reply,
    negotiate,
)
from raftd.wire.limits import HANDSHAKE_BYTES_MAX, HANDSHAKE_MESSAGE_BYTES_MAX

CLUSTER = b"the cluster's id"
OTHER_CLUSTER = b"some other's one"
CLIENTS = Listener(ConnectionRole.CLIENT, CLUSTER, NodeId(2), frame_bytes_max=2_000_000, requests_in_flight_max=100)
PEERS = Listener(ConnectionRole.PEER, CLUSTER, NodeId(2), frame_bytes_max=4_000_000, requests_in_flight_max=0)
CLIENT = Hello(ConnectionRole.CLIENT)
PEER = Hello(ConnectionRole.PEER, CLUSTER, NodeId(1), NodeId(2))

node_ids = st.integers(1, (1 << 64) - 1).map(NodeId)
cluster_ids = st.binary(min_size=16, max_size=16).filter(lambda cluster_id: cluster_id != ANY_CLUSTER)
u32 = st.integers(0, (1 << 32) - 1)


@st.composite
def hellos(draw: st.DrawFn) -> Hello:
    version_min, version_max = sorted(draw(st.tuples(st.integers(1, 65535), st.integers(1, 65535))))
    if draw(st.booleans()):
        cluster_id, receiver = draw(cluster_ids | st.just(ANY_CLUSTER)), draw(node_ids | st.none())
        return Hello(ConnectionRole.CLIENT, cluster_id, None, receiver, version_min, version_max)
    return Hello(ConnectionRole.PEER, draw(cluster_ids), draw(node_ids), draw(node_ids), version_min, version_max)


replies = st.builds(Welcome, st.integers(0, 65535), cluster_ids, node_ids, u32, u32) | st.builds(
    HandshakeRefusal, st.sampled_from(HandshakeRefusalCode), st.text(max_size=200)
)


@settings(deadline=None)
@given(hellos(), st.binary(max_size=20))
def test_hello_round_trip(hello: Hello, later: bytes) -> None:
    """A Hello decodes to itself, whatever a later version puts behind it."""
    assert decode_hello(encode_hello(hello) + later) == hello


@settings(deadline=None)
@given(replies, st.binary(max_size=20))
def test_reply_round_trip(reply: Welcome | HandshakeRefusal, later: bytes) -> None:
    """An answer decodes to itself, whatever a later version puts behind it."""
    assert decode_reply(encode_reply(reply) + later) == reply


def test_handshakes_fit_their_bound() -> None:
    """The longest refusal fits the first frame, and a message too long is cut, not refused."""
    refusal = HandshakeRefusal(HandshakeRefusalCode.NOT_ALLOWED, "é" * 10_000)
    payload = encode_reply(refusal)
    assert len(payload) <= HANDSHAKE_BYTES_MAX
    assert decode_reply(payload) == replace(refusal, message="é" * (HANDSHAKE_MESSAGE_BYTES_MAX // 2))


def test_welcomes() -> None:
    """Who comes to the right place is welcomed, with what the port allows, and accepts the welcome."""
    for hello, listener in ((CLIENT, CLIENTS), (PEER, PEERS)):
        for named in (hello, replace(hello, cluster_id=CLUSTER, receiver_node_id=NodeId(2))):
            welcome = negotiate(named, listener)
            assert welcome == Welcome(1, CLUSTER, NodeId(2), listener.frame_bytes_max, listener.requests_in_flight_max)
            check_welcome(named, welcome)


@pytest.mark.parametrize(
    ("hello", "listener", "code", "message"),
    [
        pytest.param(CLIENT, PEERS, HandshakeRefusalCode.WRONG_ROLE, "a client at the port for peers", id="client"),
        pytest.param(PEER, CLIENTS, HandshakeRefusalCode.WRONG_ROLE, "a peer at the port for clients", id="peer"),
        pytest.param(
            replace(CLIENT, version_min=2, version_max=9),
            CLIENTS,
            HandshakeRefusalCode.NO_COMMON_VERSION,
            "versions 2 to 9 are offered, and 1 to 1 are spoken here",
            id="too new",
        ),
        pytest.param(
            PEER,
            replace(PEERS, version_min=2, version_max=3),
            HandshakeRefusalCode.NO_COMMON_VERSION,
            "versions 1 to 1 are offered, and 2 to 3 are spoken here",
            id="too old",
        ),
        pytest.param(
            replace(PEER, cluster_id=OTHER_CLUSTER),
            PEERS,
            HandshakeRefusalCode.WRONG_CLUSTER,
            f"cluster {OTHER_CLUSTER.hex()} is sought, and this is {CLUSTER.hex()}",
            id="other cluster's peer",
        ),
        pytest.param(
            replace(CLIENT, cluster_id=OTHER_CLUSTER),
            CLIENTS,
            HandshakeRefusalCode.WRONG_CLUSTER,
            f"cluster {OTHER_CLUSTER.hex()} is sought, and this is {CLUSTER.hex()}",
            id="other cluster's client",
        ),
        pytest.param(
            replace(PEER, receiver_node_id=NodeId(3)),
            PEERS,
            HandshakeRefusalCode.WRONG_NODE,
            "node 3 is sought, and this is 2",
            id="other node",
        ),
        pytest.param(
            replace(PEER, sender_node_id=NodeId(2)),
            PEERS,
            HandshakeRefusalCode.WRONG_NODE,
            "this is node 2 itself",
            id="itself",
        ),
    ],
)
def test_refusals(hello: Hello, listener: Listener, code: HandshakeRefusalCode, message: str) -> None:
    """Who comes to the wrong place is told which it is."""
    assert negotiate(hello, listener) == HandshakeRefusal(code, message)


@settings(deadline=None)
@given(hellos(), st.integers(1, 5), st.integers(0, 3))
def test_neighbouring_versions_interoperate(hello: Hello, oldest: int, more: int) -> None:
    """The newest common version is chosen exactly when the ranges overlap, so version N speaks with N - 1."""
    listener = Listener(
        hello.role, CLUSTER, NodeId(2), 1000, 1, version_min=oldest, version_max=oldest + more
    )  # fmt: skip
    hello = replace(hello, cluster_id=CLUSTER, sender_node_id=None, receiver_node_id=None)
    hello = replace(hello, version_min=hello.version_min % 7 + 1)
    hello = replace(hello, version_max=hello.version_min + hello.version_max % 3)
    common = set(range(hello.version_min, hello.version_max + 1)) & set(range(oldest, oldest + more + 1))
    reply = negotiate(hello, listener)
    if common:
        assert isinstance(reply, Welcome)
        assert reply.version == max(common)
    else:
        assert isinstance(reply, HandshakeRefusal)
        assert reply.code is HandshakeRefusalCode.NO_COMMON_VERSION


def test_versions() -> None:
    """This code speaks its newest version and the one before, if there is one; the first version is 1."""
    assert max(1, VERSION_MAX - 1) == VERSION_MIN


@pytest.mark.parametrize(
    ("welcome", "message"),
    [
        pytest.param(
            Welcome(2, CLUSTER, NodeId(2), 1, 1), "version 2 was chosen, and 1 to 1 were offered", id="version"
        ),
        pytest.param(Welcome(0, CLUSTER, NodeId(2), 1, 1), "version 0 was chosen", id="no version"),
        pytest.param(Welcome(1, OTHER_CLUSTER, NodeId(2), 1, 1), "and 746865.* is sought", id="cluster"),
        pytest.param(Welcome(1, CLUSTER, NodeId(3), 1, 1), "node 3 answered, and 2 is sought", id="node"),
    ],
)
def test_who_dials_checks_too(welcome: Welcome, message: str) -> None:
    """A welcome from elsewhere than where the Hello wanted to go is refused."""
    with pytest.raises(RemoteProtocolError, match=message):
        check_welcome(PEER, welcome)


HELLO_BYTES = encode_hello(PEER)
WELCOME_BYTES = encode_reply(Welcome(1, CLUSTER, NodeId(2), 1, 1))
REFUSED_BYTES = encode_reply(HandshakeRefusal(HandshakeRefusalCode.STOPPING, "no"))


def patched(payload: bytes, offset: int, new: bytes) -> bytes:
    return payload[:offset] + new + payload[offset + len(new) :]


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n", id="another protocol"),
        pytest.param(patched(HELLO_BYTES, 7, b"\r"), id="magic"),
        pytest.param(patched(HELLO_BYTES, 8, b"\0\0"), id="version 0"),
        pytest.param(patched(HELLO_BYTES, 8, b"\x02\0"), id="version range upside down"),
        pytest.param(patched(HELLO_BYTES, 12, b"\0"), id="role 0"),
        pytest.param(patched(HELLO_BYTES, 12, b"\x03"), id="role 3"),
        pytest.param(patched(HELLO_BYTES, 12, b"\x01"), id="client with a node id"),
        pytest.param(patched(HELLO_BYTES, 13, bytes(16)), id="peer without cluster"),
        pytest.param(patched(HELLO_BYTES, 29, bytes(8)), id="peer without id"),
        pytest.param(patched(HELLO_BYTES, 37, bytes(8)), id="peer without receiver"),
    ],
)
def test_no_hellos(payload: bytes) -> None:
    """What is no Hello, or contradicts itself, is refused."""
    with pytest.raises(RemoteProtocolError):
        decode_hello(payload)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(MAGIC, id="nothing but magic"),
        pytest.param(patched(WELCOME_BYTES, 0, b"S"), id="magic"),
        pytest.param(patched(WELCOME_BYTES, 11, bytes(16)), id="no cluster"),
        pytest.param(patched(WELCOME_BYTES, 27, bytes(8)), id="no node"),
        pytest.param(patched(REFUSED_BYTES, 8, b"\x63"), id="unknown code"),
        pytest.param(patched(REFUSED_BYTES, 9, b"\x03"), id="message longer than the frame"),
        pytest.param(patched(REFUSED_BYTES, 11, b"\xff"), id="message not UTF-8"),
        pytest.param(REFUSED_BYTES[:9] + b"\x01\x04" + bytes(1025), id="message longer than allowed"),
    ],
)
def test_no_replies(payload: bytes) -> None:
    """What is no answer to a Hello is refused."""
    with pytest.raises(RemoteProtocolError):
        decode_reply(payload)


def test_an_unknown_code_keeps_its_message() -> None:
    """A refusal that only a later version knows is told in that version's words, on one line."""
    payload = patched(encode_reply(HandshakeRefusal(HandshakeRefusalCode.STOPPING, "so\nso")), 8, b"\x63")
    with pytest.raises(RemoteProtocolError, match=r"unknown code 99: 'so\\nso'"):
        decode_reply(payload)


@pytest.mark.parametrize("payload", [HELLO_BYTES, WELCOME_BYTES, REFUSED_BYTES])
def test_every_cut(payload: bytes) -> None:
    """A handshake that ends early, anywhere, is refused."""
    for length in range(len(payload)):
        for decode in (decode_hello, decode_reply):
            with pytest.raises(RemoteProtocolError):
                decode(payload[:length])


@settings(deadline=None)
@given(
    st.sampled_from([HELLO_BYTES, WELCOME_BYTES, REFUSED_BYTES]),
    st.lists(st.tuples(st.integers(0, 44), st.integers(0, 255)), max_size=4),
    st.binary(max_size=60),
)
def test_any_bytes(payload: bytes, changes: list[tuple[int, int]], tail: bytes) -> None:
    """Any bytes are a handshake or refused as the other side's fault."""
    for offset, value in changes:
        payload = patched(payload, offset, bytes((value,)))
    for decode in (decode_hello, decode_reply):
        for attempt in (payload, payload + tail, tail, MAGIC + tail):
            try:
                decode(attempt)
            except RemoteProtocolError:
                continue
