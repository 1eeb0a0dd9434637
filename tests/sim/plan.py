"""What a seed decides before anything happens: the cluster's size, its clocks, and which faults it will meet.

Swarm testing (Groce et al., ISSTA 2012): each seed takes a random half of the faults. A run with all of them at once
hardly ever gets far enough to be wrong in an interesting way.
"""

import random
from dataclasses import dataclass, field, replace
from typing import Final

from raftd.kv.limits import Limits as MachineLimits
from raftd.node.applying import APPLY_SECONDS_MAX
from raftd.node.watches import WatchLimits
from tests.sim.timeline import generator

SIZES = (1, 2, 3, 3, 3, 4, 5, 5, 5, 7)

TICK_SECONDS = 0.05
ELECTION_TIMEOUT_TICKS = 10
HEARTBEAT_TICKS = 2
ELECTION_TIMEOUT_SECONDS = TICK_SECONDS * ELECTION_TIMEOUT_TICKS


FOCUSES: Final[dict[str, tuple[str, ...]]] = {
    "leases": ("lease_reads", "drift", "isolated_leader", "sleepy_leader"),
    "divergence": ("snapshots", "isolated_leader", "client_duplicates"),
    "members": ("membership", "isolated_leader", "lost_disk"),
    "departures": ("membership", "left_behind"),
}
"""Faults that are worth little without each other, and seldom meet by chance."""

_GROWING: Final = {"members": (2, 2, 3, 5), "departures": (2, 3, 5, 5)}
"""The sizes that these begin with."""

_FOCUSED: Final = {"leases": 0.1, "divergence": 0.1, "members": 0.1, "departures": 0.05}
"""The part of all seeds that each of these gets."""

_SERVED = 0.3
"""The part of all seeds in which more is done than single keys: transactions, leases, watches."""

_HALF, _FEW = 0.5, 0.15
"""How likely each fault is in a seed, and each of the others in one with a focus: those would only be in the way."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. Probabilities are per frame; times are virtual seconds."""

    seed: int
    seconds: float
    """How long faults go on."""
    size: int
    faults: tuple[str, ...]
    focus: str
    """Of which group of faults it has all (`FOCUSES`); empty: of none."""
    pace: float
    """How much rarer than usual faults occur."""
    heals: bool
    """Whether a random quorum is healed in the end and has to commit."""
    is_stream: bool
    """Whether links are streams that lose everything or nothing, as TCP is; else each frame has its own fate."""
    turn_delay: float
    """How long a process may take to begin a turn of its loop: what comes meanwhile is one batch."""
    latency: float
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    response_loss: float = 0.0
    drift: float = 0.0
    session_ttl_ms: int = 60_000
    clients: int = 3
    keys: tuple[bytes, ...] = field(default=())
    think_seconds: float = 0.1
    segment_bytes: int = 16 << 10
    append_entries_max: int = 4096
    in_flight_appends_max: int = 64
    held_entries_max: int = 64
    committed_entries_max: int = 1024
    apply_seconds: float = 0.0
    """What the state machine seems to take for each entry: a turn applies a few, and the rest waits."""
    spares: int = 0
    """Nodes that may be added."""
    snapshot_log_bytes: int = 1 << 40
    """A snapshot is due when the log has grown by so much."""
    tail_entries: int = 0
    slice_bytes: int = 64 << 10
    transfer_chunk_bytes: int = 256 << 10
    transfer_bytes_per_second: int = 64 << 20
    snapshot_file_chunk_bytes: int = 64 << 10
    lease_reads: bool = False
    follower_reads: bool = False
    readers: float = 0.25
    """The part of the clients that only read, and so go on asking a leader that commits nothing any more."""

    users: int = 0
    """Who use more than single keys, and so leases; there are watchers too then."""
    watchers: int = 0
    stream_breaks: float = 0.0
    """How likely such a one breaks off a connection, each time it thinks."""
    history_changes_max: int = 100_000
    """Changes that nodes hold."""
    history_ms_max: int = 86_400_000
    watch_limits: WatchLimits = field(default=WatchLimits())

    @property
    def machine_limits(self) -> MachineLimits:
        """Bounds of the state machine: low ones, so that they are met."""
        return MachineLimits(
            ttl_ms_min=100,
            advance_ms_max=2000,
            in_flight_max=8,
            leases_per_user_max=2,
            history_changes_max=self.history_changes_max,
            history_ms_max=self.history_ms_max,
        )

    def has(self, fault: str) -> bool:
        """Whether this seed took the fault."""
        return fault in self.faults


def make_plan(seed: int, seconds: float, fault_names: tuple[str, ...]) -> Plan:
    """Decide by the seed; each fault by a draw of its own, so that a new one changes nothing of the others."""
    focus = focus_of(seed)
    forced = FOCUSES.get(focus, ())
    likely = _FEW if focus else _HALF
    faults = tuple(name for name in fault_names if name in forced or generator(seed, f"swarm/{name}").random() < likely)
    draw = generator(seed, "plan")
    size = draw.choice(SIZES)
    is_stream = draw.random() < 0.3
    shaping = generator(seed, "plan/snapshots")
    transfer_chunk_bytes = shaping.choice((100, 1_000, 256 << 10))
    plan = Plan(
        seed=seed,
        seconds=seconds,
        size=generator(seed, "plan/growing").choice(_GROWING[focus]) if focus in _GROWING else size,
        faults=faults,
        focus=focus,
        pace=min(draw.choice((0.7, 2.0, 5.0)), 2.0 if focus else 5.0),
        heals=draw.random() < 0.5,
        is_stream=is_stream,
        turn_delay=draw.choice((0.0, 0.0, 0.001, 0.01)),
        latency=draw.choice((0.0005, 0.002, 0.01, 0.03)),
        loss=draw.uniform(0.01, 0.3) if "loss" in faults and not is_stream else 0.0,
        duplication=draw.uniform(0.01, 0.2) if "duplication" in faults and not is_stream else 0.0,
        reordering=draw.uniform(0.01, 0.3) if "reordering" in faults and not is_stream else 0.0,
        response_loss=draw.uniform(0.02, 0.3) if "response_loss" in faults else 0.0,
        drift=0.1 if "drift" in faults else 0.0,
        session_ttl_ms=3_000 if "short_sessions" in faults else 600_000,
        clients=draw.randint(1, 5),
        keys=tuple(b"key-%d" % number for number in range(draw.choice((1, 2, 4)))),
        think_seconds=_think_seconds(draw, focus),
        segment_bytes=draw.choice((2 << 10, 8 << 10, 64 << 10)),
        append_entries_max=draw.choice((2, 8, 4096)),
        committed_entries_max=draw.choice((1, 4, 1024)),
        apply_seconds=generator(seed, "plan/applying").choice((0.0, 0.0, APPLY_SECONDS_MAX / 4, APPLY_SECONDS_MAX / 2)),
        in_flight_appends_max=draw.choice((1, 2, 64)),
        held_entries_max=generator(seed, "plan/holding").choice((1, 3, 64)),
        spares=_spares(generator(seed, "plan/spares"), focus) if "membership" in faults else 0,
        # A write takes some 60 bytes: about 10, 50 and 1000 entries.
        snapshot_log_bytes=_snapshot_log_bytes(shaping, focus) if "snapshots" in faults else 1 << 40,
        tail_entries=shaping.choice((0, 3, 30)),
        slice_bytes=shaping.choice((100, 1_000, 64 << 10)),
        transfer_chunk_bytes=transfer_chunk_bytes,
        transfer_bytes_per_second=transfer_chunk_bytes * shaping.choice((50, 5_000)),
        snapshot_file_chunk_bytes=shaping.choice((128, 1_000, 64 << 10)),
        lease_reads="lease_reads" in faults,
        follower_reads="follower_reads" in faults and focus != "leases",
        readers=0.75 if focus == "leases" else 0.25,
    )
    service = generator(seed, "plan/service")
    return _with_service(plan, service) if service.random() < _SERVED else plan


def _with_service(plan: Plan, draw: random.Random) -> Plan:
    """Add who uses more than single keys."""
    return replace(
        plan,
        # What is told in several turns is interrupted only where these are apart.
        turn_delay=max(plan.turn_delay, draw.choice((0.0, 0.001, 0.01, 0.03))),
        users=draw.choice((1, 2, 2)),
        watchers=draw.choice((1, 2, 5)),
        stream_breaks=draw.choice((0.0, 0.03, 0.2)),
        history_changes_max=draw.choice((5, 20, 100_000)),
        history_ms_max=draw.choice((3_000, 86_400_000)),
        watch_limits=_watch_limits(draw),
    )


def _watch_limits(draw: random.Random) -> WatchLimits:
    """Bounds that are met often, seldom, or never."""
    return WatchLimits(
        unread_bytes_max=draw.choice((100, 1 << 20)),
        body_bytes_max=draw.choice((1, 200, 256 << 10)),
        pending_max=draw.choice((1, 3, 1024)),
        prefix_lengths_max=draw.choice((1, 16)),
        parts_max=draw.choice((1, 16)),
        read_max=draw.choice((1, 3, 1024)),
        matched_max=draw.choice((1, 4, 2048)),
        turn_work=draw.choice((1, 20, 2000)),
        tick_marks=draw.choice((1, 1000)),
        mark_seconds=draw.choice((0.1, 1.0)),
        idle_mark_seconds=2.0,
    )


def focus_of(seed: int) -> str:
    """Of which group of faults a seed has all; empty: of none."""
    chance = generator(seed, "plan/focus").random()
    for name, part in _FOCUSED.items():
        if chance < part:
            return name
        chance -= part
    return ""


def _spares(draw: random.Random, focus: str) -> int:
    count = draw.randint(2, 5)
    return count + 3 if focus == "departures" else count


def _snapshot_log_bytes(draw: random.Random, focus: str) -> int:
    size = draw.choice((600, 3_000, 60_000))
    return 600 if focus == "divergence" else size


def _think_seconds(draw: random.Random, focus: str) -> float:
    seconds = draw.choice((0.02, 0.1, 0.3))
    return 0.02 if focus == "leases" else seconds
