"""The links to all peers, whoever they are at the moment."""

import asyncio
import ssl
from collections.abc import Callable, Collection, Iterable

from raftd.consensus.types import NodeId
from raftd.net.peer_link import Jitter, LinkLimits, PeerAddress, PeerLink
from raftd.net.tls import TlsFiles, client_context
from raftd.wire.handshake import PEER_VERSION_MAX


class PeerLinks:
    """One `PeerLink` for each peer; peers come, go and move while the node runs."""

    def __init__(
        self,
        *,
        files: TlsFiles,
        cluster: str,
        cluster_id: bytes,
        node_id: NodeId,
        jitter: Jitter,
        on_up: Callable[[NodeId], None],
        on_down: Callable[[NodeId], None],
        limits: LinkLimits | None = None,
    ) -> None:
        """`on_up` and `on_down` are told when a link stands and when it is lost.

        Raises:
            TlsError: as `client_context`.
        """
        self._context = client_context(files)
        self._cluster = cluster
        self._cluster_id = cluster_id
        self._node_id = node_id
        self._jitter = jitter
        self._on_up = on_up
        self._on_down = on_down
        self._limits = limits or LinkLimits()
        self._links: dict[NodeId, PeerLink] = {}
        self._addresses: dict[NodeId, PeerAddress] = {}
        self._hanging_up: set[asyncio.Task[None]] = set()
        self._dropped_before = 0

    def set_peers(self, peers: Iterable[PeerAddress], *, leaving: Collection[NodeId] = ()) -> None:
        """Dial those that are new or have moved, and hang up on those that are none any more; leave the others be.

        Links to those that are `leaving` are left be too, where there are any: there is still something to be said.
        """
        wanted = {peer.node_id: peer for peer in peers if peer.node_id != self._node_id}
        for node_id, address in list(self._addresses.items()):
            is_leaving = node_id in leaving and node_id not in wanted
            if not is_leaving and wanted.get(node_id) != address:
                self._hang_up(node_id)
        for node_id, address in wanted.items():
            if node_id not in self._links:
                self._addresses[node_id] = address
                link = self._links[node_id] = self._make_link(address)
                link.start()

    async def stop(self) -> None:
        """Hang up on all."""
        for node_id in list(self._links):
            self._hang_up(node_id)
        await asyncio.gather(*self._hanging_up)

    def use(self, *, context: ssl.SSLContext) -> None:
        """Dial with this context from now on; links that stand are left as they are."""
        self._context = context
        for link in self._links.values():
            link.use(context=context)

    def certificates(self) -> dict[PeerLink, bytes]:
        """What the peers at the other end of the links that stand have shown, as DER."""
        shown = ((link, link.remote_certificate) for link in self._links.values())
        return {link: certificate for link, certificate in shown if certificate}

    def hint(self, peer: NodeId) -> None:
        """A peer was heard of just now (`PeerLink.hint`)."""
        link = self._links.get(peer)
        if link is not None:
            link.hint()

    def send(self, peer: NodeId, frame: bytes) -> bool:
        """Send one frame, and say whether it is on its way."""
        link = self._links.get(peer)
        return link is not None and link.send(frame)

    def version(self, peer: NodeId) -> int:
        """Which version of the protocol the link to a peer speaks."""
        link = self._links.get(peer)
        return PEER_VERSION_MAX if link is None else link.version

    @property
    def dropped_total(self) -> int:
        """Messages to any peer that were not sent, since the start."""
        return self._dropped_before + sum(link.dropped_total for link in self._links.values())

    def link(self, peer: NodeId) -> PeerLink | None:
        """The link to a peer, for its numbers; None if it is none."""
        return self._links.get(peer)

    def _hang_up(self, node_id: NodeId) -> None:
        link = self._links.pop(node_id)
        del self._addresses[node_id]
        self._dropped_before += link.dropped_total
        task = asyncio.get_running_loop().create_task(link.stop())
        self._hanging_up.add(task)
        task.add_done_callback(self._hanging_up.discard)

    def _make_link(self, peer: PeerAddress) -> PeerLink:
        return PeerLink(
            cluster=self._cluster,
            cluster_id=self._cluster_id,
            node_id=self._node_id,
            peer=peer,
            context=self._context,
            jitter=self._jitter,
            on_up=self._on_up,
            on_down=self._on_down,
            limits=self._limits,
        )
