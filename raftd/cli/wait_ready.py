"""`raftctl wait-ready`: the gate after a restart, before the next node may be touched."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import click

from raftd.cli.output import OutputFormat, format_option, show_record, warn
from raftd.cli.parameters import duration
from raftd.cli.status import Answer, leader_of, look, with_patience
from raftd.cli.target import Target, pass_target
from raftd.cli.whole import Whole
from raftd.client import Client, Members
from raftd.errors import ExitCode

_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Goal:
    """What a node must come to."""

    node: int
    commit_index: int | None = None
    """It has applied at least this; None: what is committed when somebody can say so first."""
    voters: int | None = None
    """So many voters there are; None: as many as when somebody can say so first."""

    def noted(self, answers: Mapping[str, Answer]) -> "Goal":
        """This goal, with what was not known and can be said by these answers, if there is a leader."""
        leader = leader_of(answers)
        if leader is None:
            return self
        return Goal(
            self.node,
            int(leader["commit_index"]) if self.commit_index is None else self.commit_index,
            len(leader["membership"]["voters"]) if self.voters is None else self.voters,
        )

    def missing(self, answers: Mapping[str, Answer]) -> str | None:
        """What is not so yet, in a few words; None: nothing."""
        leader, status = leader_of(answers), _status(answers, self.node)
        if status is None:
            return "it does not answer"
        if self.commit_index is None or leader is None:
            return "no node leads"
        members = Members.of_status(leader)
        checks = {
            "it is no member": self.node not in members.all,
            "it is stopping": status["draining"],
            "it follows no leader, or another one": status["leader_id"] != leader["node_id"],
            "it has not applied yet what it had before": not status["replayed"],
            f"it has applied {status['last_applied']} of {self.commit_index} entries": (
                int(status["last_applied"]) < self.commit_index
            ),
            "its disk is new, and it has not caught up yet": not status.get("proven", True),
            f"there are {len(members.voters)} voters, and {self.voters} are expected": (
                len(members.voters) != self.voters
            ),
            "a change of members is under way": not members.committed or members.outgoing,
            "the leader cannot reach it": any(
                peer["node_id"] == self.node and not peer["connected"] for peer in leader["peers"]
            ),
        }
        return next((text for text, is_so in checks.items() if is_so), None)


@click.command("wait-ready", short_help="Wait until a node is ready after a restart.")
@click.argument("node", type=Whole(min=1))
@click.option(
    "--timeout",
    "wait_seconds",
    metavar="DURATION",
    default="60s",
    show_default=True,
    callback=duration(),
    help="How long to wait.",
)
@click.option("--commit-index", type=Whole(min=0), help="What it must have applied; what is committed now otherwise.")
@click.option("--voters", type=Whole(min=1), help="How many voters there must be; as many as now otherwise.")
@format_option
@pass_target
def wait_ready_command(
    target: Target,
    node: int,
    wait_seconds: float,
    commit_index: int | None,
    voters: int | None,
    output_format: OutputFormat,
) -> int:
    """Wait until NODE is ready: follows a leader, has caught up, and the cluster has as many voters as it should.

    Exit code 8, and what is missing, if that has not come in time.

    \b
    Example:
      raftctl wait-ready 2 --timeout 2m
    """
    config = target.resolve()
    with Client.from_config(with_patience(config)) as client:
        goal, missing = wait(
            lambda: look(client, config.endpoints).answers, Goal(node, commit_index, voters), wait_seconds
        )
    if missing is not None:
        warn("raftctl", f"node {node} is not ready within {wait_seconds:g} s: {missing}")
        return ExitCode.UNHEALTHY
    show_record({"node": node, "ready": True, "commit_index": goal.commit_index, "voters": goal.voters}, output_format)
    return ExitCode.OK


def wait(
    ask: Callable[[], Mapping[str, Answer]],
    goal: Goal,
    seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Goal, str | None]:
    """Ask all nodes again and again, until nothing is missing or the time is over; returns what was, at last."""
    deadline = clock() + seconds
    while True:
        answers = ask()
        goal = goal.noted(answers)
        missing = goal.missing(answers)
        if missing is None or clock() >= deadline:
            return goal, missing
        sleep(_POLL_SECONDS)


def _status(answers: Mapping[str, Answer], node: int) -> Mapping[str, Any] | None:
    return next((each for each in answers.values() if isinstance(each, dict) and each["node_id"] == node), None)
