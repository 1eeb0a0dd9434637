"""Scenarios: a cluster that is told in words what happens to it, and says in words what comes of it.

A scenario is a text of blocks: one command line, `----`, what was seen, an empty line. Lines that begin with # are for
the reader. Commands (N is a node's number; PATH is 1>2 for one direction, 1-2 for both):

    cluster N [NAME=VALUE ...]       start nodes 1 to N, with these limits
    join N                           start a node that waits to be added
    elect N                          node N campaigns, and everything is delivered
    campaign N                       node N campaigns; nothing is delivered
    tick N [N ...] | run TICKS       a tick of N's time, delivering nothing | time for all, delivering everything
    settle | talk                    deliver and store all there is | and list each message
    deliver PATH [TYPE [PLACE]]      deliver what is under way there, or only the PLACEth of it, without storing
    exchange N M                     deliver what N has sent to M, let M store, and deliver what M has sent to N
    drop PATH [TYPE] | repeat PATH [TYPE]    lose it | deliver it and keep a copy under way
    cut PATH | heal [PATH]           the network loses what is sent there from now on | no more
    isolate N | crash N | restart N | lose-disk N | set-back N INDEX | stall N | unstall N
    store N
    propose N TEXT ... | read N [OVERDUE] | snapshot N [TAIL] | unreachable N PEER | disk-stalled N TICKS
    transfer N [TARGET] | member N add-learner|add-voter|promote|remove|replace|address ARGUMENT ...
    status [N ...] | log [N ...] | progress N
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, assert_never

from raftd.consensus import (
    AddLearner,
    AddVoter,
    AppendEntries,
    AppendEntriesReply,
    EntryKind,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    InstallSnapshotReply,
    Limits,
    LogIndex,
    Membership,
    MembershipChange,
    Message,
    NodeId,
    Promote,
    ProposalRefused,
    ReadIndex,
    ReadIndexReply,
    Remove,
    Replace,
    RequestPreVote,
    RequestPreVoteReply,
    RequestVote,
    RequestVoteReply,
    Role,
    TimeoutNow,
    UpdateAddress,
    decode_membership,
)
from tests.consensus.cluster import Cluster, Server

_LIMITS = Limits(election_timeout_ticks=10, heartbeat_ticks=2)


class Scenario:
    """Runs one scenario's commands, in order."""

    def __init__(self) -> None:
        self.cluster = Cluster(0)
        self._seen: list[str] = []
        self._known: dict[NodeId, tuple[str, ...]] = {}

    def run(self, line: str) -> str:
        """Carry a command out; returns what was seen, a line each."""
        name, *arguments = line.split()
        method: Callable[..., None] = getattr(self, "do_" + name.replace("-", "_"))
        self._seen = []
        try:
            method(*arguments)
        except ProposalRefused as refused:
            self._seen.append(f"refused: {refused.reason.value}")
        self._look()
        return "".join(f"{seen}\n" for seen in self._seen) or "ok\n"

    # The world.

    def do_cluster(self, size: str, *settings: str) -> None:
        limits: dict[str, Any] = {}
        for setting in settings:
            name, number = setting.split("=")
            limits[name] = int(number)
        self.cluster = Cluster(int(size), limits=replace(_LIMITS, **limits))
        self.cluster.note = self._seen_now
        self._known = {node_id: self._facts(server) for node_id, server in self.cluster.servers.items()}

    def do_join(self, number: str) -> None:
        self.cluster.join(int(number))
        self._known[NodeId(int(number))] = self._facts(self._server(number))

    def do_elect(self, number: str) -> None:
        self.do_campaign(number)
        self.cluster.settle()

    def do_campaign(self, number: str) -> None:
        server = self._server(number)
        server.raft.campaign()
        server.work()

    def do_tick(self, *numbers: str) -> None:
        for number in numbers:
            self.cluster.tick(int(number))

    def do_run(self, ticks: str) -> None:
        for _ in range(int(ticks)):
            self.cluster.run(1)
            self._look()

    def do_settle(self) -> None:
        self.cluster.settle()

    def do_talk(self) -> None:
        for server in self.cluster.up():
            server.work()
        while self.cluster.network or sum(server.store() + server.take_in() for server in self.cluster.up()):
            while self.cluster.network:
                self._deliver(0)

    def do_deliver(self, path: str, kind: str = "", place: str = "") -> None:
        positions = self._under_way(path, kind)
        if place:
            self._deliver(positions[int(place) - 1])
            return
        for _ in positions:
            self._deliver(self._under_way(path, kind)[0])

    def do_exchange(self, one: str, other: str) -> None:
        self.do_deliver(f"{one}>{other}")
        self.do_store(other)
        self.do_deliver(f"{other}>{one}")

    def do_repeat(self, path: str, kind: str = "") -> None:
        for position in self._under_way(path, kind):
            self._deliver(position, keep=True)

    def do_drop(self, path: str, kind: str = "") -> None:
        for position in reversed(self._under_way(path, kind)):
            sender, receiver, message = self.cluster.network.pop(position)
            self._seen.append(f"{sender} > {receiver} lost: {tell_message(message)}")

    def do_cut(self, path: str) -> None:
        self.cluster.cut |= _paths(path)

    def do_heal(self, path: str = "") -> None:
        self.cluster.cut -= _paths(path) if path else set(self.cluster.cut)

    def do_isolate(self, number: str) -> None:
        self.cluster.isolate(int(number))

    def do_crash(self, number: str) -> None:
        self.cluster.crash(int(number))

    def do_restart(self, number: str) -> None:
        self.cluster.restart(int(number))

    def do_lose_disk(self, number: str) -> None:
        self.cluster.lose_disk(int(number))

    def do_set_back(self, number: str, index: str) -> None:
        self.cluster.set_back(int(number), int(index))

    def do_stall(self, number: str) -> None:
        self._server(number).is_stalled = True

    def do_unstall(self, number: str) -> None:
        self._server(number).is_stalled = False

    def do_store(self, number: str) -> None:
        server = self._server(number)
        while server.store() or server.take_in():
            pass

    # What is asked of a node.

    def do_propose(self, number: str, *texts: str) -> None:
        server = self._server(number)
        server.raft.propose([text.encode() for text in texts])
        server.work()

    def do_read(self, number: str, overdue_ticks: str = "0") -> None:
        self._server(number).read(int(overdue_ticks))

    def do_snapshot(self, number: str, tail: str = "0") -> None:
        server = self._server(number)
        server.take_snapshot(int(tail))
        self._seen.append(
            f"node {number}: snapshot at {server.raft.last_applied}, log from {server.raft.base_index + 1}"
        )

    def do_unreachable(self, number: str, peer: str) -> None:
        self._server(number).raft.unreachable(NodeId(int(peer)))

    def do_disk_stalled(self, number: str, ticks: str) -> None:
        server = self._server(number)
        server.raft.disk_stalled(int(ticks))
        server.work()

    def do_transfer(self, number: str, target: str = "") -> None:
        server = self._server(number)
        server.raft.transfer_leadership(NodeId(int(target)) if target else None)
        server.work()

    def do_member(self, number: str, kind: str, *arguments: str) -> None:
        server = self._server(number)
        index = server.raft.propose_membership(_change(kind, *arguments))
        self._seen.append(f"at {index}")
        server.work()

    # What can be seen.

    def do_status(self, *numbers: str) -> None:
        for server in self._servers(numbers):
            raft = server.raft
            up = "" if server.is_up else ", down"
            log = (
                f"log ({raft.base_index}, {raft.last_index}], stored {raft.stored_index}, committed {raft.commit_index}"
            )
            who = f"{raft.role.value} in term {raft.current_term}, leader {raft.leader_id or '-'}"
            self._seen.append(f"node {raft.node_id}: {who}, {log}{up}")

    def do_log(self, *numbers: str) -> None:
        for server in self._servers(numbers):
            raft = server.raft
            entries = raft.entries(LogIndex(raft.base_index + 1), LogIndex(raft.last_index + 1))
            self._seen.append(f"node {raft.node_id}: {' '.join(_entry(*entry[1:]) for entry in entries) or 'empty'}")

    def do_progress(self, number: str) -> None:
        for peer, progress in sorted(self._server(number).raft.progress.items()):
            paused = " paused" if progress.is_paused else ""
            flight = f" in flight {len(progress.in_flight)}" if progress.in_flight else ""
            offset = f" offset {progress.snapshot_offset}" if progress.state.value == "snapshot" else ""
            self._seen.append(
                f"node {peer}: {progress.state.value} match {progress.match_index} next {progress.next_index}"
                f"{paused}{flight}{offset}"
            )

    def _seen_now(self, text: str) -> None:
        self._seen.append(text)

    def _look(self) -> None:
        """Say what has changed about each node since the last look."""
        for node_id, server in self.cluster.servers.items():
            facts = self._facts(server)
            for before, now in zip(self._known[node_id], facts, strict=True):
                if before != now:
                    self._seen.append(f"node {node_id}: {now}")
            self._known[node_id] = facts

    def _facts(self, server: Server) -> tuple[str, ...]:
        raft = server.raft
        leader = f", of node {raft.leader_id}" if raft.role is Role.FOLLOWER and raft.leader_id else ""
        handing = f"hands over to node {raft.transfer_target}" if raft.transfer_target else "hands over to nobody"
        return (
            "up" if server.is_up else "down",
            f"{raft.role.value} in term {raft.current_term}{leader}",
            handing,
            f"members {tell_membership(raft.membership)}",
            f"committed {raft.commit_index}",
            "removed" if raft.is_removed else "not removed",
            "proven" if raft.is_proven else "not proven",
        )

    def _server(self, number: str) -> Server:
        return self.cluster.servers[NodeId(int(number))]

    def _servers(self, numbers: tuple[str, ...]) -> list[Server]:
        return [self._server(number) for number in numbers] or list(self.cluster.servers.values())

    def _deliver(self, position: int, *, keep: bool = False) -> None:
        sender, receiver, message = self.cluster.network[position]
        target = self.cluster.servers.get(receiver)
        lost = " lost" if (sender, receiver) in self.cluster.cut or target is None or not target.is_up else ""
        self._seen.append(f"{sender} > {receiver}{lost}: {tell_message(message)}")
        self.cluster.deliver(position, keep=keep)

    def _under_way(self, path: str, kind: str) -> list[int]:
        paths = _paths(path)
        return [
            position
            for position, (sender, receiver, message) in enumerate(self.cluster.network)
            if (sender, receiver) in paths and kind in ("", type(message).__name__)
        ]


def tell_message(message: Message) -> str:  # noqa: PLR0911 - flat and exhaustive, one case for each type
    """A message as a line of a transcript."""
    name, term = type(message).__name__, message.term
    match message:
        case RequestPreVote() | RequestVote():
            order = " by transfer" if isinstance(message, RequestVote) and message.leadership_transfer else ""
            return f"{name} term {term} log ({message.last_log_index}, {message.last_log_term}){order}"
        case RequestPreVoteReply() | RequestVoteReply():
            return f"{name} term {term} {'granted' if message.vote_granted else 'refused'}"
        case AppendEntries():
            entries = " ".join(_entry(*entry[1:]) for entry in message.entries) or "-"
            prev = f"({message.prev_log_index}, {message.prev_log_term})"
            return f"{name} term {term} behind {prev} commit {message.leader_commit}: {entries}"
        case AppendEntriesReply():
            if message.success:
                return f"{name} term {term} stored {message.match_index}"
            conflict = f"({message.conflict_index}, {message.conflict_term})"
            return f"{name} term {term} refused {message.match_index}, conflict {conflict}"
        case Heartbeat():
            return f"{name} term {term} round {message.round} commit {message.leader_commit}"
        case HeartbeatReply():
            return f"{name} term {term} round {message.round}"
        case ReadIndex():
            return f"{name} term {term}"
        case ReadIndexReply():
            return f"{name} term {term} {'refused' if message.read_index is None else message.read_index}"
        case TimeoutNow():
            return f"{name} term {term}"
        case InstallSnapshot():
            snapshot = f"({message.last_included_index}, {message.last_included_term})"
            last = " last" if message.done else ""
            return f"{name} term {term} {snapshot} [{message.offset}, {message.offset + len(message.data)}){last}"
        case InstallSnapshotReply():
            state = "installed" if message.installed else f"has {message.next_offset} bytes of"
            return f"{name} term {term} {state} {message.last_included_index}"
        case _:
            assert_never(message)


def tell_membership(membership: Membership) -> str:
    """A membership as words."""
    text = ",".join(map(str, sorted(membership.voters))) or "unknown"
    if membership.outgoing:
        text += " from " + ",".join(map(str, sorted(membership.outgoing)))
    for learner in sorted(membership.learners):
        if learner not in membership.joining:
            text += f" learner {learner}"
        else:
            replaced = membership.joining[learner]
            text += f" joining {learner}" + (f" for {replaced}" if replaced else "")
    return text + "".join(f" {node}@{address}" for node, address in sorted(membership.addresses.items()))


def _entry(term: int, kind: EntryKind, data: bytes) -> str:
    match kind:
        case EntryKind.NOOP:
            return f"{term}:noop"
        case EntryKind.COMMAND:
            return f"{term}:{data.decode()}"
        case EntryKind.MEMBERSHIP:
            return f"{term}:[{tell_membership(decode_membership(data))}]"


def _paths(path: str) -> set[tuple[NodeId, NodeId]]:
    if ">" in path:
        sender, receiver = (NodeId(int(number)) for number in path.split(">"))
        return {(sender, receiver)}
    one, other = (NodeId(int(number)) for number in path.split("-"))
    return {(one, other), (other, one)}


def _change(kind: str, number: str, *rest: str) -> MembershipChange:
    node_id, address = NodeId(int(number)), rest[0] if rest else ""
    match kind:
        case "add-learner":
            return AddLearner(node_id, address)
        case "add-voter":
            return AddVoter(node_id, address)
        case "promote":
            return Promote(node_id)
        case "remove":
            return Remove(node_id)
        case "replace":
            return Replace(node_id, NodeId(int(rest[0])), rest[1] if len(rest) > 1 else "")
        case "address":
            return UpdateAddress(node_id, address)
        case _:
            raise ValueError(kind)
