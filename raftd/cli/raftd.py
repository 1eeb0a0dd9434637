"""`raftd`: run a node, try a whole cluster, check the settings."""

import sys
from pathlib import Path

import click

from raftd import settings as settings_package
from raftd.cli.demo import DEMO_NODES_MAX, run_demo
from raftd.cli.output import run_main, warn, write
from raftd.daemon.run import check_files, run
from raftd.errors import ExitCode
from raftd.version import version

DEFAULT_CONFIG = Path("/etc/raftd/raftd.yaml")

_config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    show_default=True,
    envvar="RAFTD_CONFIG",
    help="The cluster's settings, the same file on every node.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version(), prog_name="raftd")
def group() -> None:
    """A Raft-replicated key-value store: the daemon.

    Clients use raftctl; `raftctl --help` says how.
    """


@group.command("run")
@_config_option
@click.option("--node", type=click.IntRange(min=1), required=True, help="Which of the settings' nodes this is.")
def run_command(config: Path, node: int) -> int:
    """Run a node in the foreground, until SIGTERM or Ctrl-C.

    \b
    Example:
      raftd run --config /etc/raftd/raftd.yaml --node 1
    """
    return run(settings_package.load(config), node)


@group.command("check-config")
@_config_option
@click.option(
    "--node",
    type=click.IntRange(min=1),
    help="Check this node's certificates and keys too, as they are on this machine.",
)
def check_config_command(config: Path, node: int | None) -> int:
    """Check the settings, and say everything that is wrong with them.

    \b
    Example:
      raftd check-config --config raftd.yaml --node 1
    """
    loaded = settings_package.load(config)
    for warning in loaded.warnings:
        warn("warning", warning)
    if node is not None and (problems := check_files(loaded.node(node))):
        for problem in problems:
            warn("raftd", problem)
        return ExitCode.TLS
    what = f"node {node} can use it" if node is not None else f"{len(loaded.nodes)} nodes"
    write(f"{config}: cluster {loaded.cluster.name}, {what}\n")
    return ExitCode.OK


@group.command("demo")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("raftd-demo"),
    show_default=True,
    help="Where settings, certificates, data and logs go.",
)
@click.option(
    "--nodes", "node_count", type=click.IntRange(1, DEMO_NODES_MAX), default=3, show_default=True, help="How many."
)
@click.option(
    "--base-port",
    type=click.IntRange(1024, 65_000),
    default=7400,
    show_default=True,
    help="Node N takes three ports from here on, ten times N-1 further.",
)
def demo_command(directory: Path, node_count: int, base_port: int) -> int:
    """Run a whole cluster on this machine, over mutual TLS, until Ctrl-C.

    A directory that holds a demo already is used again, with its data.

    \b
    Example:
      raftd demo --dir /tmp/demo --nodes 3
      raftctl --config /tmp/demo/raftctl.yaml set greeting hello
    """
    return run_demo(directory, node_count, base_port)


def main() -> None:
    """The entry point of `raftd`."""
    sys.exit(run_main(group, "raftd"))
