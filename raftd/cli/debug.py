"""`raftctl debug`: everything that a bug report needs, in one archive, without secrets or values.

What goes in is chosen, and nothing is filtered out afterwards: documents that nodes give to administrators, of which
the log's lose their keys, and the journal, into which raftd writes neither keys nor values. No file of a node and no
environment is read.
"""

import platform
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from raftd.cli.archive import pack, write_new
from raftd.cli.examine import Examined, examine
from raftd.cli.findings import rows
from raftd.cli.inquiry import inquire
from raftd.cli.named_path import FILE
from raftd.cli.output import OutputFormat, document, write
from raftd.cli.status import look, with_patience
from raftd.cli.target import Target, pass_target
from raftd.client import Client, ClientError
from raftd.errors import ExitCode
from raftd.version import version
from raftd.wire.limits import LOG_ENTRIES_MAX

_JOURNAL_SECONDS_MAX: Final = 20
_JOURNAL_LINES: Final = 20_000
_WITH_KEYS: Final = frozenset({"key", "key_hex", "keys"})
_README: Final = """\
What raftctl debug gathered of the cluster {cluster} at {time}, with raftctl {version}.

  status.json           how each node is, or why it did not answer
  doctor.json           what raftctl doctor finds
  node-N/settings.json  what the node goes by; keys and certificates are not in it, only where they are
  node-N/events.json    its newest events
  node-N/metrics.txt    its metrics
  node-N/log.json       its newest log entries: sizes, users and times, neither keys nor values
  journal.txt           what raftd has written to the journal of the machine that this was made on, if it has one
  machine.json          that machine

Names of users and nodes, the prefixes that users are granted, addresses and paths are in it. Keys, values,
certificates and private keys are not.
"""


@click.command("debug", short_help="Gather everything for a bug report.")
@click.option(
    "--file",
    type=FILE,
    help="Write it here, instead of into a new file in this directory.",
)
@pass_target
def debug_command(target: Target, file: Path | None) -> int:
    """Gather status, findings, settings, events, metrics and log headers of all nodes, and this machine's journal.

    All of it goes into one archive that only you may read. Keys, values, certificates and private keys are not in it;
    names of users, addresses and paths are: its README.txt says what is where. Exit code 5 if no node answers; what is
    known then is in the archive all the same.

    \b
    Example:
      raftctl debug
      raftctl debug --file report.tar.gz
    """
    config = with_patience(target.resolve())
    now = int(time.time())
    with Client.from_config(config) as client:
        overview = look(client, config.endpoints)
        cluster = inquire(client, overview)
        name = str(cluster.nodes[0].status["cluster"]) if cluster.nodes else "unknown"
        files = {
            "README.txt": _README.format(cluster=name, time=_moment(now), version=version()).encode(),
            "status.json": _json(overview.rows),
            "doctor.json": _json(rows(examine(cluster))),
            "machine.json": _json({"platform": platform.platform(), "python": platform.python_version()}),
        }
        endpoints = {answer["node_id"]: each for each, answer in overview.answers.items() if isinstance(answer, dict)}
        for node in cluster.nodes:
            files |= _files_of(node, client, endpoints[node.status["node_id"]])
    if journal := _journal():
        files["journal.txt"] = journal
    directory = f"raftd-debug-{name}-{_moment(now)}"
    path = file or Path(f"{directory}.tar.gz")
    write_new(path, pack(directory, files, now))
    write(f"{path}\n")
    return ExitCode.OK if cluster.nodes else overview.exit_code


def _files_of(node: Examined, client: Client, endpoint: str) -> dict[str, bytes]:
    """What one node has told and still tells, as far as it does."""
    place = f"node-{node.status['node_id']}"
    files: dict[str, bytes] = {}
    if node.diagnostics is not None:
        told = dict(node.diagnostics)
        files[f"{place}/metrics.txt"] = str(told.pop("metrics")).encode()
        files[f"{place}/events.json"] = _json(told.pop("events"))
        files[f"{place}/settings.json"] = _json(told)
    try:
        entries = client.log(endpoint, LOG_ENTRIES_MAX)["entries"]
    except ClientError as error:
        files[f"{place}/log.txt"] = f"{error}\n".encode()
    else:
        files[f"{place}/log.json"] = _json([_without_keys(entry) for entry in entries])
    return files


def _without_keys(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in _WITH_KEYS}


def _journal() -> bytes:
    """What raftd has written to this machine's journal since the boot; empty where none is there or may be read."""
    program = shutil.which("journalctl")
    if program is None:
        return b""
    command = [program, "--boot", "--output=short-iso-precise", "--no-pager", "--quiet", f"--lines={_JOURNAL_LINES}"]
    try:
        ended = subprocess.run(  # noqa: S603 - a fixed command of the system's
            [*command, "--unit=raftd@*.service"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_JOURNAL_SECONDS_MAX,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return ended.stdout


def _json(value: object) -> bytes:
    return document(value, OutputFormat.JSON).encode()


def _moment(seconds: int) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))
