"""The network between nodes: frames as bytes over one-way links.

A link is what `raftd.net.peer_link` is to the driver: it takes whole frames, says whether it took them, and tells when
it comes up and goes down. As a stream (`Plan.is_stream`) it keeps the order and loses nothing but all that is under way
when it is reset; otherwise every frame has a fate of its own, which is worse than TCP and no worse than Raft allows.
"""

import random
from typing import TYPE_CHECKING

from raftd.consensus import InstallSnapshot, InstallSnapshotReply, NodeId
from raftd.errors import RemoteProtocolError
from raftd.wire.frames import FrameReader
from raftd.wire.handshake import (
    PEER_VERSION_MAX,
    PEER_VERSION_MIN,
    ConnectionRole,
    HandshakeRefusal,
    Hello,
    Listener,
    check_welcome,
    decode_hello,
    decode_reply,
    encode_hello,
    encode_reply,
    negotiate,
)
from raftd.wire.limits import PEER_FRAME_BYTES_MAX
from raftd.wire.peer import MessageType, decode_message
from raftd.wire.state_hashes import STATE_HASHES_TYPE, decode_state_hashes
from tests.sim.disk import CLUSTER_ID

if TYPE_CHECKING:
    from tests.sim.process import Process
    from tests.sim.world import World

_ANSWERS = frozenset(
    (MessageType.APPEND_ENTRIES_REPLY, MessageType.HEARTBEAT_REPLY, MessageType.INSTALL_SNAPSHOT_REPLY)
)
_WITH_CLOCKS = frozenset((MessageType.HEARTBEAT, MessageType.HEARTBEAT_REPLY))
_MILLISECONDS = 0.002
_HANDSHAKE_SECONDS = 0.002
_TYPE_OFFSET = 4
_TERM = 5
_ROUND = 29
"""Of a heartbeat."""
_FROM_LEADERS = frozenset(
    (MessageType.APPEND_ENTRIES, MessageType.HEARTBEAT, MessageType.INSTALL_SNAPSHOT, MessageType.TIMEOUT_NOW)
)


class Link:
    """The way from one node to another."""

    __slots__ = (
        "clogged_until", "destination", "generation", "is_up", "last_arrival", "reader", "seen", "sender", "sent",
        "transfer", "version",
    )  # fmt: skip

    def __init__(self, sender: NodeId, destination: NodeId) -> None:
        self.sender = sender
        self.destination = destination
        self.is_up = False
        self.generation = 0
        """Counts the resets: what was sent before one does not arrive."""
        self.last_arrival = 0.0
        self.clogged_until = 0.0
        self.sent = 0
        self.seen = 0
        """The greatest number of a frame that has arrived."""
        self.reader = FrameReader(PEER_FRAME_BYTES_MAX)
        self.transfer = (0, 0, 0)
        """(term, last included index, generation) of the last snapshot's chunk that was sent."""
        self.version = PEER_VERSION_MAX
        """As agreed when the link came up."""


class Outlet:
    """One process's way to its peers: the driver's `Network`."""

    __slots__ = ("_network", "_process")

    def __init__(self, network: "Network", process: "Process") -> None:
        self._network = network
        self._process = process

    def send(self, peer: NodeId, frame: bytes) -> bool:
        """See `Network` in `raftd.node.driver`."""
        self._process.reach("send")
        return self._network.send(self._process, peer, frame)

    def version(self, peer: NodeId) -> int:
        """See `Network` in `raftd.node.driver`."""
        return self._network.links[self._process.node_id, peer].version


class Network:
    """All links, and what is wrong with them."""

    def __init__(self, world: "World", draw: random.Random) -> None:
        self._world = world
        self._draw = draw
        self.cut: set[tuple[NodeId, NodeId]] = set()
        """(from, to): what is sent this way is lost."""
        self.is_perfect = False
        """Healed: frames take their time, and that is all."""
        self.links = {
            (sender, destination): Link(sender, destination)
            for sender in world.node_ids
            for destination in world.node_ids
            if sender != destination
        }

    def of(self, process: "Process") -> Outlet:
        """Give a process its network."""
        return Outlet(self, process)

    def send(self, process: "Process", peer: NodeId, frame: bytes) -> bool:
        """Send a frame, or say that it was dropped."""
        if frame[_TYPE_OFFSET] == STATE_HASHES_TYPE:
            self._compare(process, self._world.processes[peer], frame[_TYPE_OFFSET:])
            return True
        self._judge(process, peer, frame)
        link = self.links[process.node_id, peer]
        if not link.is_up:
            return False
        link.sent += 1
        plan, draw = self._world.plan, self._draw
        if frame[_TYPE_OFFSET] == MessageType.TIMEOUT_NOW and plan.has("timeout_now_lost") and self._is_lost():
            return True
        if plan.is_stream or self.is_perfect:
            self._deliver(link, frame, draw.expovariate(1 / plan.latency), in_order=plan.is_stream)
            return True
        if draw.random() < plan.loss:
            return True
        delay = draw.expovariate(1 / plan.latency)
        if draw.random() < plan.reordering:
            delay += draw.choice((0.01, 0.1, 1.0)) * draw.random()
        self._deliver(link, frame, delay, in_order=False)
        if draw.random() < plan.duplication:
            self._world.sometimes("message_duplicated")
            self._deliver(link, frame, delay + draw.choice((0.001, 0.1, 2.0)) * draw.random(), in_order=False)
        return True

    def _is_lost(self) -> bool:
        return not self.is_perfect and self._draw.random() < 0.5

    def _deliver(self, link: Link, frame: bytes, delay: float, *, in_order: bool) -> None:
        timeline = self._world.timeline
        arrival = max(timeline.now, link.clogged_until) + delay
        if in_order:
            arrival = link.last_arrival = max(arrival, link.last_arrival)
        timeline.at(arrival, self._arrive, link, link.generation, link.version, link.sent, frame)

    def _arrive(self, link: Link, generation: int, version: int, number: int, frame: bytes) -> None:
        if generation != link.generation or (link.sender, link.destination) in self.cut:
            return
        process = self._world.processes[link.destination]
        if not process.is_up:
            return
        if number < link.seen:
            self._world.sometimes("message_overtaken")
        link.seen = max(number, link.seen)
        process.enter(process.life, self._take, process, link, version, frame)

    def _take(self, process: "Process", link: Link, version: int, frame: bytes) -> None:
        """The frame is read by the process that it was for, which may have stood still since it arrived."""
        world = self._world
        world.trace.note(f"{link.sender}>{link.destination} {frame[_TYPE_OFFSET]} {len(frame)}")
        if _number(frame, _TERM) < process.raft.current_term:
            world.sometimes("stale_term_message")
        if frame[_TYPE_OFFSET] in _FROM_LEADERS:
            world.oracle.leases.heard(process, _number(frame, _TERM))
        if frame[_TYPE_OFFSET] in _ANSWERS:
            world.oracle.contact.answers(process, link.sender, _number(frame, _TERM))
        if frame[_TYPE_OFFSET] == MessageType.TIMEOUT_NOW:
            process.told_term = _number(frame, _TERM)
        try:
            process.driver.peer_payloads(link.sender, link.reader.feed(frame), version)
        except RemoteProtocolError as error:
            world.oracle.fail(f"node {link.destination} takes node {link.sender} for broken: {error}")
        if frame[_TYPE_OFFSET] == MessageType.APPEND_ENTRIES_REPLY and not frame[13]:
            self._look_for_doubt(process, link.sender)
        if frame[_TYPE_OFFSET] in _WITH_CLOCKS:
            self._check_clock(process, world.processes[link.sender], version)

    def _compare(self, process: "Process", other: "Process", payload: bytes) -> None:
        """Let a node compare another's states with its own, at once: what becomes of it depends on no fault."""
        if not other.is_up:
            return
        comparison = other.driver.comparison
        comparison.heard(process.node_id, *decode_state_hashes(payload))
        if comparison.equal_total:
            self._world.sometimes("states_compared")
        if comparison.different_total:
            self._world.oracle.fail(f"node {other.node_id} finds its state different from node {process.node_id}'s")

    def _look_for_doubt(self, process: "Process", sender: NodeId) -> None:
        progress = process.raft.progress.get(sender)
        if progress is not None and progress.is_doubted:
            self._world.sometimes("new_disk_doubted")
            if max(self._world.oracle.leaders) > process.raft.current_term:
                self._world.sometimes("new_disk_meets_old_leader")

    def _check_clock(self, process: "Process", sender: "Process", version: int) -> None:
        """What a node makes of another's clock: not less than is so, and nothing of one that does not tell."""
        difference = process.driver.clocks.difference_seconds(sender.node_id)
        if version == PEER_VERSION_MIN or difference is None:
            return
        self._world.sometimes("clock_difference_told")
        if difference < process.wall_clock_ahead - sender.wall_clock_ahead - _MILLISECONDS:
            self._world.oracle.fail(f"node {process.node_id} is {difference} s ahead of node {sender.node_id}, it says")

    def _judge(self, process: "Process", peer: NodeId, frame: bytes) -> None:
        """Hold a message to what its sender must have stored first."""
        oracle, kind = self._world.oracle, frame[_TYPE_OFFSET]
        if kind == MessageType.REQUEST_VOTE:
            oracle.votes(process, process.node_id, _number(frame, _TERM))
        elif kind == MessageType.REQUEST_PRE_VOTE_REPLY:
            if frame[13]:
                oracle.would_vote(process, peer, _number(frame, _TERM))
        elif kind == MessageType.REQUEST_VOTE_REPLY:
            if frame[13]:
                oracle.votes(process, peer, _number(frame, _TERM))
            elif oracle.refuses_for_log(process, self._world.processes[peer]):
                self._world.sometimes("vote_refused_for_old_log")
        elif kind == MessageType.APPEND_ENTRIES_REPLY:
            if frame[13]:
                oracle.accepts(process, _number(frame, 14), _number(frame, _TERM))
            else:
                self._world.sometimes("refused_append")
        elif kind == MessageType.HEARTBEAT:
            oracle.begins_round(process, _number(frame, _TERM), _number(frame, _ROUND))
        elif kind == MessageType.HEARTBEAT_REPLY:
            oracle.confirms_round(process, peer, _number(frame, _TERM), _number(frame, 13))
        elif kind == MessageType.TIMEOUT_NOW:
            oracle.leases.tells(process, peer, _number(frame, _TERM))
        elif kind == MessageType.INSTALL_SNAPSHOT:
            self._follow_transfer(process, peer, frame)
        elif kind == MessageType.INSTALL_SNAPSHOT_REPLY:
            message = decode_message(frame[_TYPE_OFFSET:], process.node_id, PEER_VERSION_MAX)[0]
            if isinstance(message, InstallSnapshotReply) and message.installed:
                oracle.accepts(process, message.last_included_index, message.term)

    def _follow_transfer(self, process: "Process", peer: NodeId, frame: bytes) -> None:
        message = decode_message(frame[_TYPE_OFFSET:], process.node_id, PEER_VERSION_MAX)[0]
        if not isinstance(message, InstallSnapshot):
            return
        link = self.links[process.node_id, peer]
        transfer = message.term, message.last_included_index
        if message.offset and link.transfer[:2] == transfer and link.transfer[2] != link.generation:
            self._world.sometimes("snapshot_transfer_resumed")
        link.transfer = (*transfer, link.generation)

    # Links come and go.

    def process_started(self, node_id: NodeId) -> None:
        """Links from and to a new process come up soon."""
        for link in self.links.values():
            if node_id in {link.sender, link.destination}:
                self._world.timeline.after(self._draw.uniform(0.001, 0.1), self._connect, link, link.generation)

    def process_ended(self, node_id: NodeId) -> None:
        """Links from and to a process that is gone are lost."""
        for link in self.links.values():
            if node_id in {link.sender, link.destination}:
                self._lose(link)

    def reset(self, link: Link) -> None:
        """Lose a link and what is under way on it; it is dialled again."""
        if link.is_up:
            self._lose(link)
            self._world.sometimes("link_reset")
            self._world.timeline.after(self._draw.uniform(0.01, 0.5), self._connect, link, link.generation)

    def _lose(self, link: Link) -> None:
        link.generation += 1
        if not link.is_up:
            return
        link.is_up = False
        sender = self._world.processes[link.sender]
        if sender.is_up:
            sender.enter(sender.life, sender.driver.peer_down, link.destination)

    def _connect(self, link: Link, generation: int) -> None:
        processes = self._world.processes
        sender, destination = processes[link.sender], processes[link.destination]
        if link.is_up or link.generation != generation or not sender.is_up or not destination.is_up:
            return
        if (link.sender, link.destination) in self.cut or sender.is_paused:
            self._world.timeline.after(self._draw.uniform(0.1, 0.5), self._connect, link, generation)
            return
        if sender.is_turn_planned:
            # A handshake takes many turns of the sender's loop: what it made before the link was lost, an old leader's
            # heartbeat say, has been dropped by then, and does not reach a process that begins anew.
            self._world.timeline.after(_HANDSHAKE_SECONDS, self._connect, link, generation)
            return
        link.version = _shake_hands(sender, destination)
        if link.version < max(sender.version_max, destination.version_max):
            self._world.sometimes("older_version_spoken")
        link.is_up = True
        link.last_arrival = self._world.timeline.now
        link.reader = FrameReader(PEER_FRAME_BYTES_MAX)
        sender.enter(sender.life, sender.driver.peer_up, link.destination)

    def set_cut(self, cut: set[tuple[NodeId, NodeId]]) -> None:
        """Partition; some links notice at once, as when a switch answers for a host that is gone."""
        self.cut = cut
        for pair in sorted(cut):
            if self._draw.random() < 0.3:
                self.reset(self.links[pair])

    def around(self, side: set[NodeId]) -> set[tuple[NodeId, NodeId]]:
        """All links between `side` and the others."""
        return {pair for pair in self.links if (pair[0] in side) != (pair[1] in side)}

    def heal(self) -> None:
        """Let every frame through from now on."""
        self.cut = set()
        self.is_perfect = True
        for link in self.links.values():
            link.clogged_until = 0.0


def _shake_hands(sender: "Process", destination: "Process") -> int:
    """Agree on a version, by the bytes that production's two sides exchange."""
    hello = Hello(
        ConnectionRole.PEER, CLUSTER_ID, sender.node_id, destination.node_id, PEER_VERSION_MIN, sender.version_max
    )
    listener = Listener(
        ConnectionRole.PEER,
        CLUSTER_ID,
        destination.node_id,
        PEER_FRAME_BYTES_MAX,
        0,
        PEER_VERSION_MIN,
        destination.version_max,
    )
    reply = decode_reply(encode_reply(negotiate(decode_hello(encode_hello(hello)), listener)))
    if isinstance(reply, HandshakeRefusal):
        raise RemoteProtocolError(reply.message)
    check_welcome(hello, reply)
    return reply.version


def _number(frame: bytes, offset: int) -> int:
    return int.from_bytes(frame[offset : offset + 8], "little")
