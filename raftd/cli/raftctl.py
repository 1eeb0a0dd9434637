"""`raftctl`: what one says to a cluster from a shell."""

import sys
from pathlib import Path

import click

from raftd.cli.commands import LazyGroup, version_option
from raftd.cli.output import run_main, write
from raftd.cli.target import Target, target_options
from raftd.client.config import PartialConfig


@click.group(
    cls=LazyGroup,
    commands_at={
        "bench": "raftd.cli.bench:bench_command",
        "can-stop": "raftd.cli.can_stop:can_stop_command",
        "canary": "raftd.cli.canary:canary_command",
        "cert": "raftd.cli.cert:group",
        "del": "raftd.cli.keys:del_command",
        "get": "raftd.cli.keys:get_command",
        "log": "raftd.cli.inspect:log_command",
        "member": "raftd.cli.member:group",
        "pki": "raftd.cli.pki:group",
        "reload": "raftd.cli.reload:reload_command",
        "set": "raftd.cli.keys:set_command",
        "status": "raftd.cli.inspect:status_command",
        "transfer-leader": "raftd.cli.member:transfer_command",
        "wait-ready": "raftd.cli.wait_ready:wait_ready_command",
    },
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "RAFTCTL"},
)
@version_option
@target_options
@click.pass_context
def group(
    context: click.Context,
    config: Path | None,
    endpoints: tuple[str, ...] | None,
    cacert: Path | None,
    cert: Path | None,
    key: Path | None,
    timeout: float | None,
) -> None:
    """Read, write and look after a raftd cluster.

    A flag counts more than the environment (RAFTCTL_CONFIG, RAFTCTL_ENDPOINTS, …), and that more than the file. Without
    --config, the file is ~/.config/raftd/raftctl.yaml or else /etc/raftd/raftctl.yaml.

    \b
    Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 compare failed,
    5 unavailable, 6 outcome unknown, 7 TLS, 8 unhealthy, 78 configuration.

    \b
    Example:
      raftctl --config raftd-demo/raftctl.yaml set greeting hello
      raftctl --config raftd-demo/raftctl.yaml get greeting
    """
    context.obj = Target(config, PartialConfig(endpoints, cacert, cert, key, timeout))


@group.command("completion", short_help="Print a script that completes commands.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print what makes SHELL complete raftctl's commands and options.

    \b
    Example:
      raftctl completion bash > /etc/bash_completion.d/raftctl
      raftctl completion fish > ~/.config/fish/completions/raftctl.fish
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - only this command needs it

    if (completion := get_completion_class(shell)) is None:
        raise click.UsageError(f"no completion for {shell}")
    complete = completion(group, {}, "raftctl", "_RAFTCTL_COMPLETE")
    # Not source(): for bash, that would run whatever bash is here to see how old it is.
    write(complete.source_template % complete.source_vars())


def main() -> None:
    """The entry point of `raftctl`."""
    sys.exit(run_main(group, "raftctl"))
