"""What administrators do while things go wrong: members come and go, leadership moves, disks are replaced."""

import random
from typing import TYPE_CHECKING

from raftd.consensus import (
    AddLearner,
    Membership,
    MembershipChange,
    NodeId,
    Promote,
    ProposalRefused,
    Remove,
    Replace,
    Role,
    UpdateAddress,
)
from raftd.consensus.change_rules import changed, left
from raftd.consensus.membership import AddVoter
from tests.sim.leases import decides

if TYPE_CHECKING:
    from tests.sim.process import Process
    from tests.sim.world import World

_VOTERS_MAX = 5
_STOP_SECONDS = 0.6
_DEAFENED = 0.3
_HASTY = 0.2
_REPLACED_SECONDS_MAX = 4.0
_LOOK_SECONDS = 0.1


def leader_of(world: "World", draw: random.Random) -> "Process | None":
    """Somebody who leads, or thinks so."""
    leaders = [
        process
        for process in (world.processes[node_id] for node_id in world.members())
        if process.is_up and not process.is_paused and process.raft.role is Role.LEADER
    ]
    return draw.choice(leaders) if leaders else None


def new_nodes(world: "World", membership: Membership) -> list[NodeId]:
    """Who may be added."""
    return [
        node_id
        for node_id in world.node_ids
        if node_id not in membership.members and node_id not in world.leaving and not world.is_retired(node_id)
    ]


def propose(world: "World", process: "Process", change: MembershipChange) -> None:
    """Ask a leader for a change, if that is wise; it may refuse."""
    raft = process.raft
    if not _is_wise(world, left(raft.membership), change):
        return
    try:
        raft.propose_membership(change)
    except ProposalRefused as refused:
        world.sometimes("membership_change_refused")
        world.trace.note(f"node {process.node_id} refuses {change}: {refused.reason.value}")
        return
    world.trace.note(f"node {process.node_id} begins {change}")
    process.driver.wake()
    match change:
        case AddLearner(node_id) | AddVoter(node_id) | Replace(_, node_id):
            world.admit(node_id)
        case _:
            pass
    if isinstance(change, Remove):
        world.leaving.add(change.node_id)
    elif isinstance(change, Replace):
        world.leaving.add(change.old)


def _is_wise(world: "World", membership: Membership, change: MembershipChange) -> bool:
    """Whether the nodes that are whole would be a quorum; who asks for more than that loses the cluster."""
    target = changed(membership, change)
    if not isinstance(target, Membership):
        return True
    whole = world.whole()
    replaced = {old for old in target.joining.values() if old is not None}
    return decides(target, whole) and decides(target, whole - replaced | (replaced - whole))


class Operator:
    """Grows the cluster, then shrinks it, and so on, with other changes in between."""

    def __init__(self, world: "World", draw: random.Random) -> None:
        self._world = world
        self._draw = draw
        self._grows = True

    def act(self) -> None:
        """Ask some leader for some change."""
        process = leader_of(self._world, self._draw)
        if process is not None:
            process.enter(process.life, self._ask, process)
            if self._draw.random() < _HASTY:
                # Another administrator, at the same moment.
                process.enter(process.life, self._ask, process)

    def _ask(self, process: "Process") -> None:
        membership = left(process.raft.membership)
        if len(membership.voters) >= _VOTERS_MAX:
            self._grows = False
        elif len(membership.voters) == 1:
            self._grows = True
        change = self._choose(membership)
        if change is not None:
            propose(self._world, process, change)

    def _choose(self, membership: Membership) -> MembershipChange | None:
        draw = self._draw
        new = new_nodes(self._world, membership)
        members = sorted(membership.members)
        if draw.random() < 0.15:
            return UpdateAddress(draw.choice(members), f"node:{draw.randrange(3)}")
        if membership.learners and draw.random() < 0.5:
            learner = draw.choice(sorted(membership.learners))
            return draw.choice((Promote(learner), AddVoter(learner), Remove(learner)))
        if not self._grows:
            return Remove(draw.choice(members))
        if not new:
            self._grows = False
            return None
        kind = draw.random()
        if kind < 0.25:
            return Replace(draw.choice(sorted(membership.voters)), draw.choice(new))
        return AddVoter(draw.choice(new)) if kind < 0.75 else AddLearner(draw.choice(new))


def hand_over(world: "World", draw: random.Random) -> None:
    """Have some leader hand over, to anybody or to the best."""
    process = leader_of(world, draw)
    if process is None:
        return
    target: NodeId | None = draw.choice([None, *sorted(process.raft.membership.voters)])
    process.enter(process.life, _transfer, process, target)


def _transfer(process: "Process", target: NodeId | None) -> None:
    try:
        process.raft.transfer_leadership(target)
    except ProposalRefused:
        return
    world = process.world
    world.trace.note(f"node {process.node_id} hands over to {process.raft.transfer_target}")
    process.driver.wake()
    if world.is_chaotic and process.draw.random() < _DEAFENED:
        # It has told whom to campaign, and does not hear what becomes of that.
        world.timeline.after(process.draw.uniform(0, 0.02), _deafen, process)


def _deafen(process: "Process") -> None:
    network, timeline = process.world.network, process.world.timeline
    if not process.world.is_chaotic:
        return
    network.cut = {pair for pair in network.links if pair[1] == process.node_id}
    timeline.after(process.draw.uniform(0.3, 1.0), _undeafen, process)


def _undeafen(process: "Process") -> None:
    if process.world.is_chaotic:
        process.world.network.set_cut(set())


def _drain(process: "Process") -> None:
    process.gateway.drain()
    _transfer(process, None)


def stop_gracefully(world: "World", draw: random.Random) -> None:
    """Stop a leader as SIGTERM does: refuse new work, hand over, end when that is done or takes too long."""
    process = leader_of(world, draw)
    if process is None:
        return
    life = process.life
    process.enter(life, _drain, process)
    deadline = world.timeline.now + _STOP_SECONDS

    def look() -> None:
        if process.life != life or not process.is_up or process.is_frozen:
            return
        leads = process.raft.role is Role.LEADER
        if leads and world.timeline.now < deadline:
            world.timeline.after(0.02, look)
            return
        if not leads:
            world.sometimes("graceful_stop")
        process.end("stops", lose_power=False)
        if not world.is_chaotic:
            # All was healed meanwhile, and this node is counted on.
            process.start()

    world.timeline.after(0.02, look)


def replace_disk(world: "World", draw: random.Random) -> None:
    """A node loses its disk, and begins anew on an empty one, if the others can do without what was on it."""
    members = [world.processes[node_id] for node_id in world.members()]
    candidates = [process for process in members if may_lose(process)]
    damaged = [process for process in candidates if process.disk.is_damaged]
    if candidates:
        begin_anew(draw.choice(damaged or candidates), draw.choice((0.01, 0.5, 2.0)))


def wake_among_the_forgetful(world: "World", draw: random.Random) -> None:
    """A leader stands still, its machine and all, until there is another one.

    Then of all that know of that one, one has lost its disk, and the others are away while the old leader meets it.
    """
    leader = leader_of(world, draw)
    if leader is not None:
        leader.pause(_REPLACED_SECONDS_MAX)
        world.network.cut = {pair for pair in world.network.links if leader.node_id in pair}
        world.timeline.after(_LOOK_SECONDS, _forget, leader, leader.life, draw)


def _forget(leader: "Process", life: int, draw: random.Random) -> None:
    world = leader.world
    if not world.is_chaotic:
        return
    if leader.life != life or not leader.is_paused:
        world.network.set_cut(set())
        return
    newer = [
        process
        for process in (world.processes[node_id] for node_id in world.members())
        if process.is_up and process.raft.current_term > leader.raft.current_term
    ]
    candidates = [process for process in newer if may_lose(process)]
    if not candidates or not any(process.raft.role is Role.LEADER for process in newer):
        world.timeline.after(_LOOK_SECONDS, _forget, leader, life, draw)
        return
    chosen = draw.choice(candidates)
    for process in newer:
        if process is not chosen:
            process.crash(lose_power=False)
    begin_anew(chosen, 0.01)
    world.network.set_cut(set())
    world.timeline.after(draw.uniform(0.02, 0.2), leader.resume)


def may_lose(process: "Process") -> bool:
    """Whether the others can do without what is on a member's disk."""
    world = process.world
    return (
        process.disk.before_wipe is None
        and process.node_id not in world.leaving
        and process.raft_or_none is not None
        and process.node_id in process.raft.membership.members
        and world.can_spare(process.node_id)
    )


def begin_anew(process: "Process", seconds: float) -> None:
    """Take a node's disk away, and start it on an empty one."""
    world = process.world
    if process.is_up:
        process.end("loses its disk", lose_power=True)
    world.trace.note(f"node {process.node_id} begins anew on an empty disk")
    world.sometimes("disk_wiped")
    world.oracle.loses_disk(process.node_id)
    process.disk.wipe()
    process.restart_in(seconds)
