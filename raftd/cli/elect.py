"""`raftctl elect`: be elected, and do something as long as one is; or see who is."""

import click

from raftd.cli import running
from raftd.cli.lock import check_name, kill_after_option, run_fenced, ttl_option, wait_option
from raftd.cli.output import OutputFormat, format_option
from raftd.cli.parameters import as_given, command_argument, given_value
from raftd.cli.running import Command
from raftd.cli.stream import Stream
from raftd.cli.target import Target, pass_target
from raftd.client import Client, Leader, LockLost
from raftd.errors import ExitCode

_COLUMNS = ("token", "leader")


@click.command("elect", short_help="Lead, as one of several candidates.")
@click.argument("name", callback=as_given)
@click.argument("value", callback=as_given, required=False)
@click.option("--observe", is_flag=True, help="Only show who leads, and who does next, until Ctrl-C.")
@ttl_option
@wait_option
@kill_after_option
@format_option
@command_argument
@pass_target
def elect_command(
    target: Target,
    name: bytes,
    value: bytes | None,
    ttl: float,
    wait: float | None,
    kill_after: float,
    command: tuple[bytes, ...],
    output_format: OutputFormat,
    *,
    observe: bool,
) -> int:
    """Wait to be elected in the election NAME, say VALUE of oneself, and lead: while COMMAND runs, or until Ctrl-C.

    COMMAND ends, and finds the fencing token in its environment, as with `raftctl lock`. Without one, a line is printed
    when the election is won; exit code 1 if it is lost afterwards.

    \b
    Example:
      raftctl elect leaders/web web-1 -- ./serve-as-leader
      raftctl elect leaders/web --observe
    """
    check_name(name)
    if observe:
        if value is not None:
            raise click.UsageError("--observe takes neither VALUE nor COMMAND")
        with target.client() as client:
            return _observe(client, name, output_format)
    if value is None:
        raise click.UsageError("what does the candidate say of itself? As in: raftctl elect NAME VALUE")
    if command:
        running.check_runnable(command)
    value = given_value(value)
    with (
        running.ended_by_signals(),
        target.client() as client,
        client.election(name, value, ttl=ttl, wait=wait) as election,
    ):
        if command:
            run = Command(command, target.variables)
            return run_fenced(run, election.fence, election.wait_lost, kill_after, "the leadership")
        try:
            Stream(_COLUMNS, output_format).show([_row(Leader(value, election.token))])
            election.wait_lost()
        except KeyboardInterrupt:  # which is how this is meant to end
            return ExitCode.OK
        raise LockLost("the leadership was lost, or may be")


def _observe(client: Client, name: bytes, output_format: OutputFormat) -> int:
    stream = Stream(_COLUMNS, output_format, widths=(10, 0))
    try:
        for leader in client.election(name).observe():
            stream.show([_row(leader)])
    except KeyboardInterrupt:
        pass
    return ExitCode.OK


def _row(leader: Leader | None) -> dict[str, object]:
    return {"token": None, "leader": None} if leader is None else {"token": leader.token, "leader": leader.value}
