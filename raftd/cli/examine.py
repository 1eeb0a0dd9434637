"""What can be said of a cluster from what its nodes say: pure functions from documents to findings."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from raftd.cli.findings import Finding, Level
from raftd.cli.output import Styled
from raftd.cli.status import Row

SYNC_SECONDS_MAX: Final = 0.025
"""An fdatasync whose 99th percentile is above this is slow: disks for databases stay below it at their worst."""
CLOCK_SECONDS_MAX: Final = 1.0
"""Clocks further apart make certificates and times of changes doubtful; nothing else depends on them."""
CERTIFICATE_DAYS_MIN: Final = 30
CERTIFICATE_DAYS_BAD: Final = 7
FULL_SHARE: Final = 0.8
ROOM_SHARE: Final = 0.1
"""A disk of which less is free is nearly full, if that is also less than `ROOM_BYTES`."""
ROOM_BYTES: Final = 10e9
ELECTION_ROUNDS: Final = 10
"""So many times what one heartbeat may take at its worst should fit an election timeout (Raft paper, §5.6)."""
DAY_SECONDS: Final = 86_400
_TIMING_STEP_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Examined:
    """One node that answered."""

    status: Mapping[str, Any]
    diagnostics: Mapping[str, Any] | None = None
    """None: it gave none, as a node of an older version does."""
    ping_seconds: tuple[float, ...] = ()
    """Round trips from here."""
    clock_ahead_seconds: float | None = None
    """How far its wall clock is ahead of this machine's, and `clock_error_seconds` how wrong that may be."""
    clock_error_seconds: float = 0.0

    @property
    def name(self) -> str:
        """What it is called in findings."""
        return f"node {self.status['node_id']}"

    @property
    def timing(self) -> Mapping[str, float]:
        """The settings' timing; empty where it is not known."""
        return {} if self.diagnostics is None else self.diagnostics["settings"]["timing"]


@dataclass(frozen=True, slots=True)
class Cluster:
    """All that was asked."""

    nodes: Sequence[Examined]
    rows: Sequence[Row]
    """As of `raftctl status`, with those that did not answer."""
    now_seconds: float
    """Since the epoch, by this machine."""
    measured_sync_seconds: float | None = None
    """An fdatasync's 99th percentile that was measured on this machine, if it was."""


def examine(cluster: Cluster) -> Iterator[Finding]:
    """Everything that can be found, in the order in which one would look."""
    yield from nodes(cluster)
    yield from states(cluster)
    yield from quorum(cluster)
    for node in cluster.nodes:
        yield from disk(node)
    yield from round_trips(cluster)
    yield from timeouts(cluster)
    for node in cluster.nodes:
        yield from clock(node)
        yield from certificates(node, cluster.now_seconds)
        yield from room(node)
    yield from versions(cluster)
    yield from settings(cluster)


def nodes(cluster: Cluster) -> Iterator[Finding]:
    """Whether each node answers and is well, in the words of `raftctl status`."""
    for row in cluster.rows:
        health = row["health"]
        words = str(health.value if isinstance(health, Styled) else health)
        of = f"node {row['node']}" if row["node"] is not None else str(row["endpoint"])
        if row["healthy"]:
            yield Finding("node", of, Level.OK, "answers, and is well")
        elif "status" in row:
            yield Finding("node", of, Level.BAD, words, "look at its page or log: what it says of itself comes first")
        else:
            advice = "does it run (systemctl status there), and is its client port open to this machine?"
            yield Finding("node", of, Level.BAD, words, advice)


def states(cluster: Cluster) -> Iterator[Finding]:
    """Whose state is the wrong one, by what a leader found: nobody else is compared with all others."""
    for node in cluster.nodes:
        peers = node.status["peers"]
        differing = [f"node {peer['node_id']}" for peer in peers if peer.get("diverged")]
        if node.status["role"] != "leader" or not differing:
            continue
        suspect = "one of them"
        if len(peers) > 1:
            suspect = node.name if len(differing) == len(peers) else ", ".join(differing)
        advice = f"{suspect} is suspect; the runbook (RaftdStateDiverged) says how to make sure, and what then"
        yield Finding("state", node.name, Level.BAD, f"not that of {', '.join(differing)}", advice)


def quorum(cluster: Cluster) -> Iterator[Finding]:
    """How many voters may still fail."""
    memberships = [node.status["membership"] for node in cluster.nodes]
    if not memberships:
        return
    newest = max(memberships, key=lambda each: int(each["index"]))
    voters = set(newest["voters"])
    answering = voters & {node.status["node_id"] for node in cluster.nodes}
    majority = len(voters) // 2 + 1
    spare = len(answering) - majority
    found = f"{len(answering)} of {len(voters)} voters answer, and {majority} must"
    if spare < 0:
        yield Finding("quorum", "cluster", Level.BAD, found, "start the others; nothing can be written until then")
    elif len(answering) < len(voters):
        yield Finding("quorum", "cluster", Level.WARNING, found, "bring the missing voters back before anything else")
    elif spare == 0:
        advice = "one failure stops the cluster: add voters (raftctl member add), up to three or five"
        yield Finding("quorum", "cluster", Level.WARNING, found, advice)
    elif len(voters) % 2 == 0:
        advice = "an even number tolerates no more failures than one less: add or remove one"
        yield Finding("quorum", "cluster", Level.WARNING, found, advice)
    else:
        yield Finding("quorum", "cluster", Level.OK, f"{found}: {spare} more may fail")


def disk(node: Examined) -> Iterator[Finding]:
    """How long its fdatasyncs took in the last minutes, and whether there is room."""
    if node.status["disk_low"]:
        advice = "make room on its disk: until then only deletes are accepted where it leads"
        yield Finding("disk", node.name, Level.BAD, "the disk was found full", advice)
    else:
        yield from _room(node)
    seconds = node.status.get("pulse", {}).get("sync_p99_seconds")
    if seconds is None:
        advice = "write something, or run this on its host with --node, which measures the disk"
        yield Finding("disk", node.name, Level.UNKNOWN, "no fdatasync in the last minutes", advice)
        return
    yield sync_finding(node.name, seconds, node.timing.get("election_timeout_seconds"))


def _room(node: Examined) -> Iterator[Finding]:
    # By the rule of the alert RaftdDiskSpaceLow.
    free, of_all = node.status.get("disk_free_bytes", 0), node.status.get("disk_size_bytes", 0)
    if free < min(ROOM_SHARE * of_all, ROOM_BYTES):
        advice = "make room on its disk: a snapshot needs as much as the keys, and the log has to go on"
        yield Finding(
            "disk", node.name, Level.WARNING, f"{free / of_all:.1%} of {of_all / 1e9:.0f} GB are free", advice
        )


def sync_finding(of: str, seconds: float, election_timeout_seconds: float | None) -> Finding:
    """What the 99th percentile of an fdatasync means.

    Args:
        of: Whose.
        seconds: The percentile.
        election_timeout_seconds: After which a leader whose disk stands still hands over; None: not known.
    """
    found = f"99 % of fdatasyncs within {shown(seconds)}"
    advice = "find out what else uses the disk (iostat -x 1), or give the log a faster one: each write waits for it"
    if election_timeout_seconds is not None and seconds > election_timeout_seconds:
        return Finding("disk", of, Level.BAD, f"{found}, longer than election_timeout: it cannot lead", advice)
    if seconds > SYNC_SECONDS_MAX:
        return Finding("disk", of, Level.WARNING, found, advice)
    return Finding("disk", of, Level.OK, found)


def round_trips(cluster: Cluster) -> Iterator[Finding]:
    """From this machine to the nodes, and from the leader to the others."""
    for node in cluster.nodes:
        if node.ping_seconds:
            best, worst = min(node.ping_seconds), max(node.ping_seconds)
            yield Finding("round trip", node.name, Level.OK, f"{shown(best)} to {shown(worst)} from here")
        heartbeat = node.timing.get("heartbeat_seconds")
        for peer in node.status["peers"]:
            seconds = peer.get("round_trip_seconds")
            if seconds is None or node.status["role"] != "leader":
                continue
            found = f"{shown(seconds)} to node {peer['node_id']} and back"
            if heartbeat is not None and seconds > heartbeat:
                advice = "longer than a heartbeat: look at the network between them, and at both machines' load"
                yield Finding("round trip", node.name, Level.WARNING, found, advice)
            else:
                yield Finding("round trip", node.name, Level.OK, found)


def timeouts(cluster: Cluster) -> Iterator[Finding]:
    """Whether the election timeout suits what was measured, and what would."""
    timing = next((node.timing for node in cluster.nodes if node.timing), None)
    if timing is None:
        return
    heartbeat, election = timing["heartbeat_seconds"], timing["election_timeout_seconds"]
    slowest = slowest_seconds(cluster)
    needed = max(_rounded_up(2 * heartbeat + _TIMING_STEP_SECONDS), _rounded_up(ELECTION_ROUNDS * slowest))
    found = f"election_timeout {shown(election)}; a slow round took {shown(slowest)}"
    if election < needed:
        advice = (
            f"set timing.election_timeout to {shown(needed)} at least, on all nodes: healthy leaders may be deposed"
        )
        yield Finding("timeouts", "cluster", Level.WARNING, found, advice)
    else:
        enough = f"{shown(needed)} would be enough" if needed < election else "just enough"
        yield Finding("timeouts", "cluster", Level.OK, f"{found}: {enough}")


def slowest_seconds(cluster: Cluster) -> float:
    """What a message to a node, its fdatasync and the answer took at their worst, by what was measured."""
    syncs = [node.status.get("pulse", {}).get("sync_p99_seconds") for node in cluster.nodes]
    trips = [peer.get("round_trip_seconds") for node in cluster.nodes for peer in node.status["peers"]]
    lags = [node.status["loop_lag_seconds"] for node in cluster.nodes]
    return _worst([*syncs, cluster.measured_sync_seconds]) + _worst(trips) + _worst(lags)


def _worst(values: Sequence[float | None]) -> float:
    return max((value for value in values if value is not None), default=0.0)


def clock(node: Examined) -> Iterator[Finding]:
    """How far its clock is from this machine's."""
    if node.clock_ahead_seconds is None:
        return
    ahead, error = node.clock_ahead_seconds, node.clock_error_seconds
    if abs(ahead) <= error:
        yield Finding("clock", node.name, Level.OK, f"as here, give or take {shown(error)}")
        return
    found = f"{shown(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} this machine's"
    if abs(ahead) - error <= CLOCK_SECONDS_MAX:
        yield Finding("clock", node.name, Level.OK, found)
    else:
        advice = "set up time synchronisation (timedatectl there and here): certificates and histories go by clocks"
        yield Finding("clock", node.name, Level.WARNING, found, advice)


def certificates(node: Examined, now_seconds: float) -> Iterator[Finding]:
    """When what the node shows and trusts expires."""
    told = node.status.get("configuration", {}).get("certificates", ())
    if not told:
        advice = "run this on its host with --node, which reads the files"
        yield Finding("certificates", node.name, Level.UNKNOWN, "the node does not say when they expire", advice)
    for each in told:
        what = f"{each['kind']} of the {each['port']} port"
        advice = renewal("authority" if each["kind"] == "authority" else "node", str(node.status["node_id"]))
        yield expiry_finding(node.name, what, (each["not_after_seconds"] - now_seconds) / DAY_SECONDS, advice)


def renewal(kind: str, name: str) -> str:
    """What is to be done about a certificate that ends.

    Args:
        kind: As in `raftd.pki.CertificateInfo`.
        name: The node's id or the user's name.
    """
    match kind:
        case "node":
            return f"issue it anew (raftctl pki issue-node --node {name} --renew), copy it, and raftctl reload"
        case "user":
            return f"issue it anew: raftctl pki issue-user {name} --renew"
        case "authority":
            return "let another one take over from it, in three steps: raftctl pki rotate-ca"
        case _:
            return "issue it anew where it was made"


def expiry_finding(of: str, what: str, days: float, advice: str) -> Finding:
    """What it means that a certificate holds for so many days more; `advice` is its `renewal`."""
    if days < 0:
        return Finding("certificates", of, Level.BAD, f"{what}: expired", advice)
    found = f"{what}: {days:.0f} days left"
    if days < CERTIFICATE_DAYS_BAD:
        return Finding("certificates", of, Level.BAD, found, advice)
    if days < CERTIFICATE_DAYS_MIN:
        return Finding("certificates", of, Level.WARNING, found, advice)
    return Finding("certificates", of, Level.OK, found)


def room(node: Examined) -> Iterator[Finding]:
    """How full the store is."""
    for name, bound in (("keys", "keys_max"), ("data_bytes", "bytes_max")):
        most = node.status["keys_max" if name == "keys" else "data_bytes_max"]
        share = node.status[name] / most if most else 0.0
        if share >= FULL_SHARE:
            advice = f"delete what is not needed, or raise limits.{bound} on all nodes if their memory allows"
            level = Level.BAD if share >= 1 else Level.WARNING
            yield Finding("room", node.name, level, f"{share:.0%} of {bound} used", advice)


def versions(cluster: Cluster) -> Iterator[Finding]:
    """Whether all nodes run the same."""
    found = {str(node.status["version"]) for node in cluster.nodes}
    if len(found) > 1:
        told = "; ".join(f"{node.name}: {node.status['version']}" for node in cluster.nodes)
        yield Finding(
            "versions", "cluster", Level.WARNING, told, "finish the upgrade; two versions next to each other work"
        )
    elif found:
        yield Finding("versions", "cluster", Level.OK, f"all run {found.pop()}")


def settings(cluster: Cluster) -> Iterator[Finding]:
    """Whether all go by the same file, whether it is the membership's, and whether a part waits for a restart."""
    hashes = {node.status.get("configuration", {}).get("settings_hash") for node in cluster.nodes}
    if len(hashes) > 1:
        advice = "copy one raftd.yaml to all nodes, and reload or restart them one by one"
        yield Finding("settings", "cluster", Level.WARNING, "nodes go by different raftd.yaml", advice)
    elif hashes - {None, ""}:
        yield Finding("settings", "cluster", Level.OK, "all go by the same raftd.yaml")
    for node in cluster.nodes:
        for each in node.status["settings_differ"]:
            found = f"node {each['node_id']}: {each['difference']}"
            yield Finding("settings", node.name, Level.WARNING, found, "write into raftd.yaml what the membership says")
        configuration = node.status.get("configuration", {})
        if configuration.get("is_refused"):
            advice = "its log says why; raftd check-config finds it too"
            yield Finding("settings", node.name, Level.WARNING, "the latest reload was refused", advice)
        if waiting := configuration.get("waiting"):
            yield Finding(
                "settings", node.name, Level.WARNING, f"wait for a restart: {', '.join(waiting)}", "restart it"
            )


def shown(seconds: float) -> str:
    """A time in milliseconds or seconds, as raftd.yaml would have it."""
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _rounded_up(seconds: float) -> float:
    """The next of the steps in which one sets a timeout, without what binary fractions leave over."""
    return round(math.ceil(seconds / _TIMING_STEP_SECONDS - 1e-9) * _TIMING_STEP_SECONDS, 3)
