"""Voters who do not hear of their removal, and come back when one that knew better has lost its disk.

Two voters become one, and the other one is cut off before it learns that this is done. The one that is left grows into
a new cluster, commits more, and loses its disk; then these two meet, and nobody else. What the one remembers is of long
ago, and the other has forgotten everything: neither may elect the other (`raftd.consensus.proof`). Or the one on the
new disk meets the new cluster first, for as long as it takes to learn that it once voted alone, or that the other one
was to go, with whom it is left then.

Or the two grow first, one of them loses its disk, and is removed when it has read of no more than the two of them; the
other one loses its disk when all who are left have caught up. Then the half of a log that there is names just them.

Other faults go on meanwhile, so this gives up wherever a step does not come about.
"""

import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from raftd.consensus import Membership, MembershipChange, NodeId, Remove, Role
from raftd.consensus.membership import AddVoter
from tests.sim import actions

if TYPE_CHECKING:
    from tests.sim.process import Process
    from tests.sim.world import World

_LOOK_SECONDS = 0.05
_STEP_LOOKS = 150
"""After so many looks a step is given up."""

_ASKED_SECONDS = 1.0
_WATCH_SECONDS = 0.0005
"""Less than it takes to hear how the membership was left."""

_GROWN_VOTERS = 3
_HALF_TOLD_LOOKS = 8
_HAS_ALL, _READING, _READING_BOTH = 0.7, 0.3, 0.3


def leave_behind(world: "World", draw: random.Random) -> None:
    """Begin; only one of these at a time makes sense, since each wants another membership."""
    if not world.is_leaving_behind:
        world.is_leaving_behind = True
        _go_on(world, _steps(world, draw))


def _go_on(world: "World", steps: Iterator[None]) -> None:
    """Look whether the next step has come about, again and again."""
    if not world.is_chaotic:
        return
    for _ in steps:
        world.timeline.after(_LOOK_SECONDS, _go_on, world, steps)
        return
    world.network.set_cut(set())
    world.is_leaving_behind = False


def _steps(world: "World", draw: random.Random) -> Iterator[None]:
    """What happens, with a pause at each `yield`."""
    yield from _until(lambda: _has_become(world, draw, 2))
    leader = actions.leader_of(world, draw)
    others = _voters(leader) - {leader.node_id} if leader is not None else frozenset()
    if leader is None or len(others) != 1:
        return
    behind = world.processes[next(iter(others))]
    has_all = draw.random() < _HAS_ALL
    if has_all:
        yield from _remove_unheard(leader, behind)
    else:
        yield from _remove_half_told(leader, behind, draw)
    if world.is_retired(behind.node_id) or not _is_removed(world, draw, behind):
        return

    def has_grown() -> bool:
        world.network.cut = world.network.around({behind.node_id})
        return _has_become(world, draw, _GROWN_VOTERS) and actions.may_lose(leader)

    yield from _until(has_grown)
    if len(_voters(actions.leader_of(world, draw))) >= _GROWN_VOTERS and actions.may_lose(leader):
        actions.begin_anew(leader, 0.01)
        fate, deadline = draw.random(), world.timeline.now + _ASKED_SECONDS
        if has_all and fate < _READING:
            _cut_off_at(leader, {leader.node_id}, deadline, "alone_with_half_a_log")
        elif has_all and fate < _READING + _READING_BOTH:
            _cut_off_at(leader, {leader.node_id, behind.node_id}, deadline, "left_behind_with_half_a_log", behind)
        else:
            world.sometimes("left_behind" if has_all else "half_told_meets_new_disk")
            world.network.cut = world.network.around({leader.node_id, behind.node_id})
        yield from _until(lambda: False, draw.choice((10, 40)))


def _remove_unheard(leader: "Process", behind: "Process") -> Iterator[None]:
    """Of two voters one is removed, and does not hear of the end of that."""
    world = leader.world
    _ask(leader, Remove(behind.node_id))
    _deafen(behind, world.timeline.now + _ASKED_SECONDS)
    yield from _until(lambda: _voters(leader) == {leader.node_id}, _STEP_LOOKS // 3)


def _remove_half_told(leader: "Process", behind: "Process", draw: random.Random) -> Iterator[None]:
    """A third one comes, one of the two loses its disk, and is removed when it has read of no more than the two."""
    world = leader.world
    yield from _until(lambda: _has_become(world, draw, _GROWN_VOTERS) and actions.may_lose(behind))
    if not actions.may_lose(behind) or behind.node_id not in _voters(actions.leader_of(world, draw)):
        return
    actions.begin_anew(behind, 0.01)
    _cut_off_at(behind, {leader.node_id, behind.node_id}, world.timeline.now + _ASKED_SECONDS, "half_told")
    yield from _until(lambda: False, _HALF_TOLD_LOOKS)

    def is_removed() -> bool:
        world.network.cut = world.network.around({behind.node_id})
        asked = actions.leader_of(world, draw)
        if behind.node_id in _voters(asked) and asked is not None:
            _ask(asked, Remove(behind.node_id))
        return _is_removed(world, draw, behind)

    yield from _until(is_removed, _STEP_LOOKS // 3)


def _is_removed(world: "World", draw: random.Random, process: "Process") -> bool:
    voters = _voters(actions.leader_of(world, draw))
    return bool(voters) and process.node_id not in voters


def _cut_off_at(
    process: "Process", voters: set[NodeId], deadline: float, name: str, company: "Process | None" = None
) -> None:
    """Leave a node alone, or in company, when it has read its log up to where these were all voters."""
    world = process.world
    if not world.is_chaotic or world.timeline.now > deadline:
        return
    if process.raft_or_none is not None and process.raft.membership.all_voters == voters:
        world.sometimes(name)
        world.network.cut = world.network.around({one.node_id for one in (process, company) if one is not None})
    else:
        world.timeline.after(_WATCH_SECONDS, _cut_off_at, process, voters, deadline, name, company)


def _until(is_done: Callable[[], bool], looks: int = _STEP_LOOKS) -> Iterator[None]:
    for _ in range(looks):
        if is_done():
            return
        yield


def _deafen(process: "Process", deadline: float) -> None:
    """Let it hear nothing more, as soon as it has the membership that is to be agreed to; its answer gets through."""
    world = process.world
    if not world.is_chaotic or world.timeline.now > deadline:
        return
    membership = process.raft.membership if process.raft_or_none is not None else None
    if membership is not None and process.node_id in membership.outgoing - membership.voters:
        world.network.cut = {pair for pair in world.network.links if pair[1] == process.node_id}
    else:
        world.timeline.after(_WATCH_SECONDS, _deafen, process, deadline)


def _voters(process: "Process | None") -> frozenset[NodeId]:
    """The voters that a leader knows; nobody if that is changing, or if it does not lead."""
    if process is None or not process.is_up or process.raft.role is not Role.LEADER:
        return frozenset()
    membership = process.raft.membership
    return frozenset() if membership.outgoing or membership.joining else membership.voters


def _has_become(world: "World", draw: random.Random, size: int) -> bool:
    """Whether there are so many voters; if not, some leader is asked for one more or one less."""
    leader = actions.leader_of(world, draw)
    voters = _voters(leader)
    if leader is None or not voters:
        return False
    change = _change(world, draw, leader, size)
    if change is not None:
        _ask(leader, change)
    return len(voters) == size


def _change(world: "World", draw: random.Random, leader: "Process", size: int) -> MembershipChange | None:
    membership: Membership = leader.raft.membership
    if len(membership.voters) > size:
        return Remove(draw.choice(sorted(membership.voters - {leader.node_id})))
    new = actions.new_nodes(world, membership)
    return AddVoter(draw.choice(new)) if len(membership.voters) < size and new else None


def _ask(leader: "Process", change: MembershipChange) -> None:
    leader.enter(leader.life, actions.propose, leader.world, leader, change)
