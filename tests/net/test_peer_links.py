import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from random import Random

from raftd.consensus.types import NodeId
from raftd.net.acceptor import AcceptorLimits
from raftd.net.peer_link import LinkLimits, PeerAddress
from raftd.net.peer_links import PeerLinks
from raftd.net.peer_listener import PeerListener
from raftd.net.tls import client_context
from raftd.wire.frames import encode_frame
from raftd.wire.handshake import PEER_VERSION_MAX, ConnectionRole, Listener
from tests.net.loopback import CLUSTER_ID, Certificates, Run, until

LIMITS = LinkLimits(pause_seconds_min=0.001, pause_seconds_max=0.008)


@dataclass
class Peer:
    """Another node, which writes down what it receives."""

    node_id: NodeId
    received: list[bytes] = field(default_factory=list)

    def peer_payloads(self, _: NodeId, payloads: list[bytes], version: int) -> None:
        assert version == 1
        self.received += payloads

    @contextlib.asynccontextmanager
    async def listening(self, certificates: Certificates) -> AsyncIterator[PeerAddress]:
        listener = PeerListener(
            files=certificates.node(self.node_id),
            cluster="demo",
            listener=Listener(ConnectionRole.PEER, CLUSTER_ID, self.node_id, 1 << 20, 0),
            handler=self,
            is_peer=lambda _: True,
            limits=AcceptorLimits(),
        )
        listener.start("127.0.0.1", 0)
        try:
            yield PeerAddress(self.node_id, "127.0.0.1", listener.port)
        finally:
            await listener.stop()


@dataclass
class Links:
    """The links of node 1, and to whom they stand."""

    certificates: Certificates
    up: list[int] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def __call__(self) -> AsyncIterator[PeerLinks]:
        links = PeerLinks(
            files=self.certificates.node(1),
            cluster="demo",
            cluster_id=CLUSTER_ID,
            node_id=NodeId(1),
            jitter=Random(1),
            on_up=self.up.append,
            on_down=self.up.remove,
            limits=LIMITS,
        )
        try:
            yield links
        finally:
            await links.stop()
            assert self.up == []


def test_links_go_to_each_peer(run: Run, certificates: Certificates) -> None:
    """Frames go to whom they are for; one for nobody is not sent; a node never dials itself."""

    async def scenario() -> None:
        two, three, links_of_one = Peer(NodeId(2)), Peer(NodeId(3)), Links(certificates)
        async with (
            two.listening(certificates) as to_two,
            three.listening(certificates) as to_three,
            links_of_one() as links,
        ):
            links.set_peers([PeerAddress(NodeId(1), "127.0.0.1", 1), to_two, to_three])
            await until(lambda: sorted(links_of_one.up) == [2, 3])
            assert links.send(NodeId(2), encode_frame(b"hello"))
            assert links.send(NodeId(3), encode_frame(b"good day"))
            assert not links.send(NodeId(1), encode_frame(b"myself"))
            assert not links.send(NodeId(4), encode_frame(b"nobody"))
            assert links.link(NodeId(2)) is not None
            assert links.link(NodeId(1)) is None
            assert (links.version(NodeId(2)), links.version(NodeId(4))) == (1, PEER_VERSION_MAX)
            await until(lambda: (two.received, three.received) == ([b"hello"], [b"good day"]))

    run(scenario())


def test_peers_come_go_and_move(run: Run, certificates: Certificates) -> None:
    """A new one is dialled, one that is none any more hung up on, one that moved dialled anew; the others stay."""

    async def scenario() -> None:
        two, three, links_of_one = Peer(NodeId(2)), Peer(NodeId(3)), Links(certificates)
        async with (
            two.listening(certificates) as to_two,
            three.listening(certificates) as to_three,
            three.listening(certificates) as to_three_elsewhere,
            links_of_one() as links,
        ):
            links.set_peers([to_two])
            await until(lambda: links_of_one.up == [2])
            kept = links.link(NodeId(2))
            links.set_peers([to_two, to_three])
            await until(lambda: links_of_one.up == [2, 3])
            moved = links.link(NodeId(3))
            links.set_peers([to_two, to_three_elsewhere])
            assert links.link(NodeId(3)) is not moved
            await until(lambda: links_of_one.up == [2, 3])
            assert links.link(NodeId(2)) is kept
            links.set_peers([to_three_elsewhere])
            assert links.link(NodeId(2)) is None
            await until(lambda: links_of_one.up == [3])

    run(scenario())


def test_a_link_to_one_that_leaves_stays_for_a_farewell(run: Run, certificates: Certificates) -> None:
    """As long as it is said to be leaving; one that has no link is not dialled for it."""

    async def scenario() -> None:
        two, links_of_one = Peer(NodeId(2)), Links(certificates)
        async with two.listening(certificates) as to_two, links_of_one() as links:
            links.set_peers([to_two])
            await until(lambda: links_of_one.up == [2])
            kept = links.link(NodeId(2))
            links.set_peers([], leaving=[NodeId(2), NodeId(3)])
            assert links.link(NodeId(2)) is kept
            assert links.link(NodeId(3)) is None
            links.set_peers([])
            assert links.link(NodeId(2)) is None

    run(scenario())


def test_word_of_a_peer_reaches_its_link(run: Run, certificates: Certificates) -> None:
    """And that of a node to which there is none changes nothing."""

    async def scenario() -> None:
        async with Links(certificates)() as links:
            links.set_peers([PeerAddress(NodeId(2), "127.0.0.1", 1)])
            link = links.link(NodeId(2))
            assert link is not None
            assert not link._hint.is_set()
            links.hint(NodeId(3))
            assert not link._hint.is_set()
            links.hint(NodeId(2))
            assert link._hint.is_set()

    run(scenario())


def test_drops_are_summed_up_over_links_that_are_gone(run: Run, certificates: Certificates) -> None:
    """The count of dropped messages never goes back."""

    async def scenario() -> None:
        async with Links(certificates)() as links:
            links.set_peers([PeerAddress(NodeId(2), "127.0.0.1", 1)])
            assert not links.send(NodeId(2), encode_frame(b"lost"))
            links.set_peers([])
            assert links.dropped_total == 1
            links.set_peers([PeerAddress(NodeId(2), "127.0.0.1", 1)])
            assert not links.send(NodeId(2), encode_frame(b"lost too"))
            assert links.dropped_total == 2

    run(scenario())


def test_all_links_go_by_new_certificates(
    run: Run, certificates: Certificates, other_certificates: Certificates
) -> None:
    """Those that stand when they are dialled again, and those that are new at once."""

    async def scenario() -> None:
        two, three, links_of_one = Peer(NodeId(2)), Peer(NodeId(3)), Links(certificates)
        async with (
            two.listening(certificates) as to_two,
            three.listening(other_certificates) as to_three,
            links_of_one() as links,
        ):
            links.set_peers([to_two])
            await until(lambda: links_of_one.up == [2])
            ((link, certificate),) = links.certificates().items()
            assert link is links.link(NodeId(2))
            assert certificate
            links.use(context=client_context(other_certificates.node(1)))
            links.set_peers([to_two, to_three])
            await until(lambda: links_of_one.up == [2, 3])
            link.redial("")
            await until(lambda: links_of_one.up == [3])
            assert list(links.certificates()) == [links.link(NodeId(3))]

    run(scenario())
