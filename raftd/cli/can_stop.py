"""`raftctl can-stop`: whether a node may be stopped now, decided from what all nodes say of themselves."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import click

from raftd.cli.output import OutputFormat, format_option, show_record, write
from raftd.cli.status import STORING_SECONDS_MAX, Answer, leader_of, look, with_patience
from raftd.cli.target import Target, pass_target
from raftd.cli.whole import Whole
from raftd.client import Client, ClientError, Members
from raftd.errors import ExitCode

LAG_ENTRIES_MAX: Final = 1000
"""Nodes are not asked at the same moment, so some entries of difference mean nothing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a node may be stopped."""

    node: int
    can_stop: bool
    reasons: tuple[str, ...]
    """Why not."""
    is_leader: bool
    """Whether it leads: of several nodes that are to be stopped, it should be the last."""
    leader: int | None
    voters: tuple[int, ...]
    commit_index: int
    """As of now; a node that starts again has caught up when it has applied this (`raftctl wait-ready`)."""


@click.command("can-stop", short_help="Say whether a node may be stopped.")
@click.argument("node", type=Whole(min=1))
@click.option(
    "--max-lag",
    type=Whole(min=0),
    default=LAG_ENTRIES_MAX,
    show_default=True,
    help="How many entries another voter may be behind.",
)
@format_option
@pass_target
def can_stop_command(target: Target, node: int, max_lag: int, output_format: OutputFormat) -> int:
    """Say whether NODE may be stopped now: whether all others are well, and enough of them.

    Exit code 8 and the reasons if not; 5 if nobody answers.

    \b
    Example:
      raftctl can-stop 2 && ssh n2 systemctl restart raftd@2
    """
    config = target.resolve()
    with Client.from_config(with_patience(config)) as client:
        overview = look(client, config.endpoints)
    if not any(isinstance(answer, dict) for answer in overview.answers.values()):
        raise next(answer for answer in overview.answers.values() if isinstance(answer, ClientError))
    verdict = judge(overview.answers, node, max_lag)
    if output_format is not OutputFormat.TABLE:
        show_record(asdict(verdict), output_format)
    elif verdict.can_stop:
        write(f"node {node} can be stopped{'; it leads' if verdict.is_leader else ''}\n")
    else:
        write("".join(f"node {node} must not be stopped: {reason}\n" for reason in verdict.reasons))
    return ExitCode.OK if verdict.can_stop else ExitCode.UNHEALTHY


def judge(answers: Mapping[str, Answer], node: int, max_lag: int) -> Verdict:
    """Decide by the answers of all nodes, by endpoint."""
    documents = {answer["node_id"]: answer for answer in answers.values() if isinstance(answer, dict)}
    leader = leader_of(answers)
    if leader is None:
        known = max((int(each["commit_index"]) for each in documents.values()), default=0)
        return Verdict(node, False, ("no node leads",), False, None, (), known)
    members = Members.of_status(leader)
    others = members.voters - {node}
    troubles = {
        other: list(_troubles(other, node, documents, leader, members, max_lag))
        for other in sorted(members.voters | members.outgoing)
        if other != node
    }
    reasons = [reason for each in troubles.values() for reason in each]
    if node not in members.all:
        reasons.insert(0, f"it is no member of the cluster; members are {', '.join(map(str, sorted(members.all)))}")
    if not members.committed or members.outgoing or members.joining:
        reasons.insert(0, "a change of members is under way")
    left, needed = sum(not troubles[other] for other in others), len(members.voters) // 2 + 1
    if left < needed:
        reasons.insert(0, f"the quorum would be lost: {left} voters would be left, and {needed} are needed")
    return Verdict(
        node,
        can_stop=not reasons,
        reasons=tuple(dict.fromkeys(reasons)),
        is_leader=leader["node_id"] == node,
        leader=leader["node_id"],
        voters=tuple(sorted(members.voters)),
        commit_index=int(leader["commit_index"]),
    )


def _troubles(
    other: int,
    node: int,
    documents: Mapping[int, Mapping[str, Any]],
    leader: Mapping[str, Any],
    members: Members,
    max_lag: int,
) -> Iterator[str]:
    """What keeps another voter from carrying on without the node."""
    status = documents.get(other)
    if status is None:
        yield f"node {other} does not answer"
        return
    lag = max(int(leader["commit_index"]) - int(status["last_applied"]), 0)
    if other != leader["node_id"]:
        lag = max(lag, members.lag_entries.get(other, 0))
    if lag > max_lag:
        yield f"node {other} is {lag} entries behind"
    if status["leader_id"] != leader["node_id"]:
        yield f"node {other} does not follow node {leader['node_id']}"
    if status["draining"]:
        yield f"node {other} is stopping"
    if not status["replayed"]:
        yield f"node {other} has started and not caught up yet"
    if not status.get("proven", True):
        yield f"node {other} has a new disk and has not caught up yet"
    if status["storing_seconds"] > STORING_SECONDS_MAX:
        yield f"the disk of node {other} has been busy for {status['storing_seconds']:.0f} s"
    # One that does not answer is a reason of its own.
    for peer in status["peers"]:
        if peer["node_id"] in (members.voters & documents.keys()) - {node} and not peer["connected"]:
            yield f"node {other} cannot reach node {peer['node_id']}"
