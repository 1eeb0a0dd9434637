"""`raftd`: run a node, try a whole cluster, check the settings."""

import sys
from pathlib import Path

import click

from raftd.cli.commands import LazyGroup, version_option
from raftd.cli.named_path import PATH
from raftd.cli.output import run_main, warn, write
from raftd.cli.whole import Whole
from raftd.errors import ExitCode

DEFAULT_CONFIG = Path("/etc/raftd/raftd.yaml")

_config_option = click.option(
    "--config",
    type=PATH,
    default=DEFAULT_CONFIG,
    show_default=True,
    envvar="RAFTD_CONFIG",
    help="The cluster's settings, the same file on every node.",
)


@click.group(
    cls=LazyGroup,
    commands_at={"demo": "raftd.cli.demo:demo_command", "recover": "raftd.cli.recover:recover_command"},
    context_settings={"help_option_names": ["-h", "--help"]},
)
@version_option
def group() -> None:
    """A Raft-replicated key-value store: the daemon.

    Clients use raftctl; `raftctl --help` says how.

    \b
    Example:
      raftd demo
      raftd run --config /etc/raftd/raftd.yaml --node 1
    """


@group.command("run", short_help="Run a node.")
@_config_option
@click.option("--node", type=Whole(min=1), required=True, help="Which of the settings' nodes this is.")
@click.option(
    "--log-format",
    type=click.Choice(["auto", "text", "json", "journal"]),
    help="How lines of the log look, whatever log.format says.",
)
def run_command(config: Path, node: int, log_format: str | None) -> int:
    """Run a node in the foreground, until SIGTERM or Ctrl-C.

    \b
    Example:
      raftd run --config /etc/raftd/raftd.yaml --node 1
    """
    from raftd.daemon.run import run  # noqa: PLC0415 - the whole daemon, which only this command needs
    from raftd.settings import load  # noqa: PLC0415 - half of the time that `raftd --version` took

    return run(load(config), node, log_format)


@group.command("check-config", short_help="Say what is wrong with the settings.")
@_config_option
@click.option(
    "--node",
    type=Whole(min=1),
    help="Check this node's certificates, keys and data directory too, as they are on this machine.",
)
def check_config_command(config: Path, node: int | None) -> int:
    """Check the settings, and say everything that is wrong with them.

    \b
    Example:
      raftd check-config --config raftd.yaml --node 1
    """
    from raftd.daemon.credentials import check_files  # noqa: PLC0415 - as above
    from raftd.settings import load  # noqa: PLC0415 - as above
    from raftd.storage.data_directory import check_place  # noqa: PLC0415 - as above

    loaded = load(config)
    for warning in loaded.warnings:
        warn("warning", warning)
    if node is not None:
        used = loaded.node(node)
        problems, misplaced = check_files(used), check_place(used.data_directory)
        for problem in (*problems, *misplaced):
            warn("raftd", problem)
        if problems or misplaced:
            return ExitCode.TLS if problems else ExitCode.CONFIGURATION
    what = f"node {node} can use it" if node is not None else f"{len(loaded.nodes)} nodes"
    write(f"{config}: cluster {loaded.cluster.name}, {what}\n")
    return ExitCode.OK


def main() -> None:
    """The entry point of `raftd`."""
    sys.exit(run_main(group, "raftd"))
