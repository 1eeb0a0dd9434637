"""`raftctl`: what one says to a cluster from a shell."""

import sys
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from raftd.cli import bench, inspect, keys, pki
from raftd.cli.output import run_main, write
from raftd.cli.target import Target
from raftd.version import version


@click.group(context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "RAFTCTL"})
@click.version_option(version(), prog_name="raftctl")
@click.option(
    "--config", type=click.Path(path_type=Path), help="Says all of the following, in a file.", show_envvar=True
)
@click.option("--endpoints", help="Nodes to ask, HOST:PORT,HOST:PORT…; one that answers is enough.", show_envvar=True)
@click.option(
    "--cacert", type=click.Path(path_type=Path), help="The authority of the nodes' certificates.", show_envvar=True
)
@click.option("--cert", type=click.Path(path_type=Path), help="Your certificate.", show_envvar=True)
@click.option("--key", type=click.Path(path_type=Path), help="Its private key.", show_envvar=True)
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds that a request may take.", show_envvar=True
)
@click.pass_context
def group(
    context: click.Context,
    config: Path | None,
    endpoints: str | None,
    cacert: Path | None,
    cert: Path | None,
    key: Path | None,
    timeout: float | None,
) -> None:
    """Read, write and look after a raftd cluster.

    A flag counts more than the environment (RAFTCTL_CONFIG, RAFTCTL_ENDPOINTS, …), and that more than the file.

    \b
    Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 compare failed, 5 unavailable, 6 outcome unknown,
    7 TLS, 8 unhealthy, 78 configuration.

    \b
    Example:
      raftctl --config raftd-demo/raftctl.yaml set greeting hello
      raftctl --config raftd-demo/raftctl.yaml get greeting
    """
    context.obj = Target(config, endpoints, cacert, cert, key, timeout)


@group.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print what makes SHELL complete raftctl's commands and options.

    \b
    Example:
      raftctl completion bash > /etc/bash_completion.d/raftctl
    """
    complete = get_completion_class(shell)
    if complete is None:
        raise click.UsageError(f"no completion for {shell}")
    write(complete(group, {}, "raftctl", "_RAFTCTL_COMPLETE").source() + "\n")


for command in (
    keys.get_command,
    keys.set_command,
    keys.del_command,
    inspect.status_command,
    inspect.log_command,
    bench.bench_command,
    pki.group,
):
    group.add_command(command)


def main() -> None:
    """The entry point of `raftctl`."""
    sys.exit(run_main(group, "raftctl"))
