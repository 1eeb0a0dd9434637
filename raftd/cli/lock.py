"""`raftctl lock`: run a command while a lock is held."""

from collections.abc import Callable
from dataclasses import replace

import click

from raftd.cli import running
from raftd.cli.parameters import FENCE_KEY_VARIABLE, FENCE_VARIABLE, as_given, command_argument, duration
from raftd.cli.running import Command
from raftd.cli.target import Target, pass_target
from raftd.client import Fence, LockLost

ttl_option = click.option(
    "--ttl",
    metavar="DURATION",
    default="10s",
    show_default=True,
    callback=duration(),
    help="How long after raftctl is heard of no more another may have it.",
)
wait_option = click.option(
    "--wait",
    metavar="DURATION",
    callback=duration(or_none=True),
    help="How long to wait for it, 0s: not at all; as long as it takes otherwise.",
)
kill_after_option = click.option(
    "--kill-after",
    metavar="DURATION",
    default="5s",
    show_default=True,
    callback=duration(or_none=True),
    help="How long COMMAND may take to end, once it is lost, before it is killed.",
)


@click.command("lock", short_help="Run a command while a lock is held.")
@click.argument("name", callback=as_given)
@ttl_option
@wait_option
@kill_after_option
@command_argument
@pass_target
def lock_command(
    target: Target, name: bytes, ttl: float, wait: float | None, kill_after: float, command: tuple[bytes, ...]
) -> int:
    """Wait for the lock NAME, run COMMAND while it is held, and end with its exit code.

    COMMAND is sent SIGTERM if the lock is lost, since the cluster could not be reached in time; that is before another
    can have it, but a command may be slow to end. What must not happen without the lock is to use the fencing token,
    which grows from holder to holder: it is in RAFTCTL_FENCE, the key behind it in RAFTCTL_FENCE_KEY, and `raftctl set
    --fenced` (or del, incr, cas, txn) writes only while they hold. What your flags say of the cluster and the namespace
    is in its environment too, so that raftctl there means the same.

    Exit code 4 if --wait is over, 1 if the lock was lost, 126 or 127 if COMMAND cannot be run.

    \b
    Example:
      raftctl lock locks/backup -- ./backup.sh
      raftctl lock locks/deploy --wait 0s -- sh -c 'raftctl set --fenced deployed v2'
    """
    check_name(name)
    if not command:
        raise click.UsageError("which command is to be run? As in: raftctl lock NAME -- COMMAND")
    running.check_runnable(command)
    with running.ended_by_signals(), target.client() as client, client.lock(name, ttl=ttl, wait=wait) as lock:
        return run_fenced(Command(command, target.variables), lock.fence, lock.wait_lost, kill_after, "the lock")


def check_name(name: bytes) -> None:
    """See that a lock or an election has one: an empty one is a variable that is not set. Raises: click.UsageError."""
    if not name:
        raise click.UsageError("NAME is empty")


def run_fenced(command: Command, fence: Fence, wait_lost: Callable[[float], bool], kill_after: float, what: str) -> int:
    """Run a command with a fence in its environment, and return the exit code.

    Args:
        command: what is run.
        fence: of what is held.
        wait_lost: as for `raftd.cli.running.run`.
        kill_after: as there.
        what: is held, for a message.

    Raises:
        raftd.cli.running.CannotRunError: it cannot be run.
        LockLost: the command was stopped.
    """
    fenced = {**command.variables, FENCE_VARIABLE: b"%d" % fence.revision, FENCE_KEY_VARIABLE: bytes(fence.key)}
    ended = running.run(replace(command, variables=fenced), wait_lost, kill_after=kill_after)
    if ended.is_stopped:
        raise LockLost(f"{what} was lost, or may be, and so the command was stopped")
    return ended.exit_code
