"""`raftctl`: what one says to a cluster from a shell."""

import os
import sys
from typing import Any

import click

from raftd.cli.commands import LazyGroup, version_option
from raftd.cli.completion import COMPLETE_VARIABLE, end_completion
from raftd.cli.output import run_main, write
from raftd.cli.target import target_of, target_options


@click.group(
    cls=LazyGroup,
    commands_at={
        "bench": "raftd.cli.bench:bench_command",
        "can-stop": "raftd.cli.can_stop:can_stop_command",
        "canary": "raftd.cli.canary:canary_command",
        "cas": "raftd.cli.updates:cas_command",
        "cert": "raftd.cli.cert:group",
        "debug": "raftd.cli.debug:debug_command",
        "del": "raftd.cli.keys:del_command",
        "doctor": "raftd.cli.doctor:doctor_command",
        "elect": "raftd.cli.elect:elect_command",
        "export": "raftd.cli.export:export_command",
        "get": "raftd.cli.keys:get_command",
        "history": "raftd.cli.history:history_command",
        "import": "raftd.cli.restore:import_command",
        "incr": "raftd.cli.updates:incr_command",
        "lease": "raftd.cli.lease:group",
        "list": "raftd.cli.listing:list_command",
        "lock": "raftd.cli.lock:lock_command",
        "log": "raftd.cli.inspect:log_command",
        "member": "raftd.cli.member:group",
        "pki": "raftd.cli.pki:group",
        "reload": "raftd.cli.reload:reload_command",
        "set": "raftd.cli.keys:set_command",
        "snapshot": "raftd.cli.snapshot:group",
        "status": "raftd.cli.inspect:status_command",
        "top": "raftd.cli.top:top_command",
        "transfer-leader": "raftd.cli.member:transfer_command",
        "txn": "raftd.cli.txn:txn_command",
        "wait-ready": "raftd.cli.wait_ready:wait_ready_command",
        "watch": "raftd.cli.watch:watch_command",
    },
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "RAFTCTL"},
)
@version_option
@target_options
@click.pass_context
def group(context: click.Context, /, **options: Any) -> None:
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
    context.obj = target_of(options)


@group.command("completion", short_help="Print a script that completes commands and keys.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print what makes SHELL complete raftctl's commands, options and keys.

    Keys are those of the cluster at this moment, as far as the shell can be told them: what is not printable is left
    out, and so is everything if no node answers within a second.

    \b
    Example:
      raftctl completion bash > /etc/bash_completion.d/raftctl
      raftctl completion fish > ~/.config/fish/completions/raftctl.fish
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - only this command needs it

    if (completion := get_completion_class(shell)) is None:
        raise click.UsageError(f"no completion for {shell}")
    complete = completion(group, {}, "raftctl", COMPLETE_VARIABLE)
    # Not source(): for bash, that would run whatever bash is here to see how old it is.
    write(complete.source_template % complete.source_vars())


def main() -> None:
    """The entry point of `raftctl`."""
    try:
        code = run_main(group, "raftctl")
    finally:
        if COMPLETE_VARIABLE in os.environ:
            end_completion()
    sys.exit(code)
