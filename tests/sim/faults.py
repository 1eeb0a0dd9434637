"""What goes wrong: a registry of faults and actions, each with entropy of its own.

A fault is armed once, at the start of a run that took it, and plans its own occurrences from there. Some are properties
of a whole run and have nothing to arm (loss, drift, ...): they are read from the plan where they matter.

To add one: write `arm_…(world, draw)`, and name it in `FAULTS`.
"""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from raftd.consensus import NodeId, Role
from tests.sim import actions
from tests.sim.left_behind import leave_behind

if TYPE_CHECKING:
    from tests.sim.process import Process
    from tests.sim.world import World

Arm: TypeAlias = Callable[["World", random.Random], None]


def _nothing(world: "World", draw: random.Random) -> None:
    """A property of the whole run."""


def _repeat(world: "World", draw: random.Random, mean_seconds: float, occur: Callable[[], None]) -> None:
    """Let something happen again and again, while faults go on."""
    mean_seconds *= world.plan.pace

    def again() -> None:
        if world.is_chaotic:
            occur()
            world.timeline.after(draw.expovariate(1 / mean_seconds), again)

    world.timeline.after(draw.expovariate(1 / mean_seconds), again)


def _victim(world: "World", draw: random.Random) -> "Process":
    """Somebody; half of the time the leader, where most can go wrong."""
    processes = [world.processes[node_id] for node_id in world.members()]
    leaders = [process for process in processes if process.is_up and process.raft.role is Role.LEADER]
    if leaders and draw.random() < 0.5:
        return draw.choice(leaders)
    return draw.choice(processes)


# The network.


def _partition_one(world: "World", draw: random.Random) -> set[tuple[NodeId, NodeId]]:
    return world.network.around({_victim(world, draw).node_id})


def _partition_majority(world: "World", draw: random.Random) -> set[tuple[NodeId, NodeId]]:
    return world.network.around(set(draw.sample(world.node_ids, (len(world.node_ids) + 1) // 2)))


def _partition_ring(world: "World", draw: random.Random) -> set[tuple[NodeId, NodeId]]:
    """Each sees only its two neighbours, so every node sees another majority."""
    order = draw.sample(world.node_ids, len(world.node_ids))
    place = {node_id: number for number, node_id in enumerate(order)}
    count = len(order)
    return {pair for pair in world.network.links if (place[pair[0]] - place[pair[1]]) % count not in {1, count - 1}}


def _partition_bridge(world: "World", draw: random.Random) -> set[tuple[NodeId, NodeId]]:
    """Two halves, and one node that both can see."""
    order = draw.sample(world.node_ids, len(world.node_ids))
    bridge, half = order[0], set(order[1 : 1 + len(order) // 2])
    return {
        (one, other)
        for one, other in world.network.links
        if bridge not in {one, other} and (one in half) != (other in half)
    }


def _partition_one_way(world: "World", draw: random.Random) -> set[tuple[NodeId, NodeId]]:
    """Somebody is heard and hears nothing, or the other way round; or a single link is dead."""
    victim = _victim(world, draw).node_id
    links = list(world.network.links)
    match draw.randrange(3):
        case 0:
            return {pair for pair in links if pair[0] == victim}
        case 1:
            return {pair for pair in links if pair[1] == victim}
        case _:
            return {draw.choice(links)}


_PARTITIONS: Final = {
    "partition_one": _partition_one,
    "partition_majority": _partition_majority,
    "partition_ring": _partition_ring,
    "partition_bridge": _partition_bridge,
    "partition_one_way": _partition_one_way,
}


def _partition(name: str) -> Arm:
    def arm(world: "World", draw: random.Random) -> None:
        if len(world.node_ids) < 2:
            return

        def cut() -> None:
            world.trace.note(name)
            world.network.set_cut(_PARTITIONS[name](world, draw))
            world.timeline.after(draw.choice((0.3, 1.0, 4.0)) * draw.uniform(0.5, 1.5), mend)

        def mend() -> None:
            if world.is_chaotic:
                world.network.set_cut(set())

        _repeat(world, draw, 5.0, cut)

    return arm


def _arm_clog(world: "World", draw: random.Random) -> None:
    links = list(world.network.links.values())
    if not links:
        return

    def clog() -> None:
        link = draw.choice(links)
        link.clogged_until = world.timeline.now + draw.choice((0.1, 0.5, 2.0)) * draw.random()

    _repeat(world, draw, 0.5, clog)


def _arm_link_reset(world: "World", draw: random.Random) -> None:
    links = list(world.network.links.values())
    if links:
        _repeat(world, draw, 1.0, lambda: world.network.reset(draw.choice(links)))


# Processes.


def _arm_power(world: "World", draw: random.Random) -> None:
    _repeat(world, draw, 4.0, lambda: _victim(world, draw).crash(lose_power=True))


def _arm_kill(world: "World", draw: random.Random) -> None:
    _repeat(world, draw, 4.0, lambda: _victim(world, draw).crash(lose_power=False))


def _arm_blackout(world: "World", draw: random.Random) -> None:
    """All machines lose power at once, as in one room."""

    def blackout() -> None:
        for node_id in world.members():
            world.processes[node_id].crash(lose_power=True)

    _repeat(world, draw, 8.0, blackout)


def _crash_at(point: str) -> Arm:
    def arm(world: "World", draw: random.Random) -> None:
        def set_trap() -> None:
            process = _victim(world, draw)
            if process.is_up:
                process.arm(point, draw.choice((1, 2, 3, 8, 20)))

        _repeat(world, draw, 3.0, set_trap)

    return arm


def _arm_pause(world: "World", draw: random.Random) -> None:
    _repeat(
        world, draw, 2.0, lambda: _victim(world, draw).pause(draw.choice((0.05, 0.6, 3.0)) * draw.uniform(0.5, 1.5))
    )


def _arm_drift(world: "World", draw: random.Random) -> None:
    """Clocks go as fast or as slow as is allowed, or anything between."""
    slowest, fastest = 1 - world.plan.drift, 1 + world.plan.drift

    def change() -> None:
        for node_id in world.node_ids:
            world.processes[node_id].set_rate(draw.choice((slowest, fastest, draw.uniform(slowest, fastest))))

    _repeat(world, draw, 1.0, change)


def _slow_down_alone(world: "World", victim: NodeId) -> None:
    """One clock goes as slowly as clocks may in this run, and all others as fast."""
    for node_id in world.node_ids:
        world.processes[node_id].set_rate(1 + world.plan.drift * (-1 if node_id == victim else 1))


def _arm_sleepy_leader(world: "World", draw: random.Random) -> None:
    """Leaders stand still for as long as it takes to elect another one."""

    def sleep() -> None:
        process = actions.leader_of(world, draw)
        if process is not None:
            process.pause(draw.uniform(0.6, 2.5))

    _repeat(world, draw, 2.0, sleep)


def _arm_isolated_leader(world: "World", draw: random.Random) -> None:
    """Leaders are cut off from the others, and not from their clients, until somebody else leads."""

    def isolate() -> None:
        process = actions.leader_of(world, draw)
        if process is not None:
            _slow_down_alone(world, process.node_id)
            world.network.set_cut(world.network.around({process.node_id}))
            world.timeline.after(draw.uniform(0.6, 1.5), mend)

    def mend() -> None:
        if world.is_chaotic:
            world.network.set_cut(set())

    _repeat(world, draw, 1.5, isolate)


# Disks.


def _arm_slow_disk(world: "World", draw: random.Random) -> None:
    def change() -> None:
        disk = _victim(world, draw).disk
        disk.latency = draw.choice((0.0002, 0.002, 0.02, 0.2))

    change()
    _repeat(world, draw, 2.0, change)


def _arm_hung_disk(world: "World", draw: random.Random) -> None:
    def hang() -> None:
        _victim(world, draw).disk.hung_until = world.timeline.now + draw.uniform(0.6, 4.0)

    _repeat(world, draw, 5.0, hang)


def _arm_disk_error(world: "World", draw: random.Random) -> None:
    def fail() -> None:
        process = _victim(world, draw)
        if process.is_up:
            process.disk.error_due = draw.choice(("write", "sync", "sync"))

    _repeat(world, draw, 5.0, fail)


def _arm_full_disk(world: "World", draw: random.Random) -> None:
    """No file can grow for a while: the reserve helps once, then the process ends and cannot start."""

    def fill() -> None:
        disk = _victim(world, draw).disk
        disk.filesystem.space = 0
        world.timeline.after(draw.uniform(0.5, 4.0), empty, disk.node_id)

    def empty(node_id: NodeId) -> None:
        world.disks[node_id].filesystem.space = None

    _repeat(world, draw, 4.0, fill)


def _arm_bit_flip(world: "World", draw: random.Random) -> None:
    """Nodes that are down find a bit of their disk flipped; as long as a quorum has sound disks, once each."""

    def flip() -> None:
        candidates = [
            process
            for process in (world.processes[node_id] for node_id in world.members())
            if not process.is_up and not process.disk.is_flipped and world.can_spare(process.node_id)
        ]
        if candidates:
            process = draw.choice(candidates)
            world.trace.note(f"a bit flips on the disk of node {process.node_id}")
            process.disk.flip_bit()

    _repeat(world, draw, 0.5, flip)


# What administrators do.


def _arm_membership(world: "World", draw: random.Random) -> None:
    operator = actions.Operator(world, draw)
    _repeat(world, draw, 0.7, operator.act)


def _arm_transfer(world: "World", draw: random.Random) -> None:
    _repeat(world, draw, 2.0, lambda: actions.hand_over(world, draw))


def _arm_graceful_stop(world: "World", draw: random.Random) -> None:
    _repeat(world, draw, 4.0, lambda: actions.stop_gracefully(world, draw))


def _arm_lost_disk(world: "World", draw: random.Random) -> None:
    _repeat(world, draw, 4.0, lambda: actions.replace_disk(world, draw))


def _arm_old_leader(world: "World", draw: random.Random) -> None:
    _repeat(world, draw, 3.0, lambda: actions.wake_among_the_forgetful(world, draw))


def _arm_left_behind(world: "World", draw: random.Random) -> None:
    if world.plan.spares:
        _repeat(world, draw, 4.0, lambda: leave_behind(world, draw))


FAULTS: Final[dict[str, Arm]] = {
    "loss": _nothing,
    "duplication": _nothing,
    "reordering": _nothing,
    "response_loss": _nothing,
    "client_duplicates": _nothing,
    "short_sessions": _nothing,
    "drift": _arm_drift,
    "clog": _arm_clog,
    "link_reset": _arm_link_reset,
    **{name: _partition(name) for name in _PARTITIONS},
    "power": _arm_power,
    "kill": _arm_kill,
    "blackout": _arm_blackout,
    "crash_at_persist": _crash_at("persist"),
    "crash_at_send": _crash_at("send"),
    "crash_at_apply": _crash_at("apply"),
    "crash_at_answer": _crash_at("answer"),
    "pause": _arm_pause,
    "sleepy_leader": _arm_sleepy_leader,
    "isolated_leader": _arm_isolated_leader,
    "slow_disk": _arm_slow_disk,
    "hung_disk": _arm_hung_disk,
    "disk_error": _arm_disk_error,
    "full_disk": _arm_full_disk,
    "snapshots": _nothing,
    "lost_disk": _arm_lost_disk,
    "transfer": _arm_transfer,
    "timeout_now_lost": _nothing,
    "graceful_stop": _arm_graceful_stop,
    "membership": _arm_membership,
    "follower_reads": _nothing,
    "lease_reads": _nothing,
    "bit_flip": _arm_bit_flip,
    "mixed_versions": _nothing,
    "old_leader": _arm_old_leader,
    "left_behind": _arm_left_behind,
}
"""Name -> how it begins. The names are part of what a seed means: renaming one changes the runs that it was in."""
