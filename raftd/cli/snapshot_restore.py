"""`raftctl snapshot restore`: the keys of a backup into a cluster that runs, or a node of a new one."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from raftd import settings as settings_package
from raftd.cli import backup_file
from raftd.cli.backup_file import BackupFile
from raftd.cli.consent import check_consent
from raftd.cli.merging import MARKER, Counts, Restore, differences, keys_of
from raftd.cli.named_path import FILE_OR_STREAM, PATH
from raftd.cli.output import OutputFormat, format_option, show_record, warn
from raftd.cli.owner import hand_over, owner_of
from raftd.cli.progress import Progress
from raftd.cli.status import look
from raftd.cli.target import Target, pass_target
from raftd.cli.whole import Whole
from raftd.client import Client, ClientError, OutcomeUnknown
from raftd.daemon.restore import check_place, found_node
from raftd.errors import ExitCode
from raftd.kv.machine import StateMachine
from raftd.kv.types import Record
from raftd.settings.model import NodeSettings
from raftd.storage.backup_format import BackupHeader


class RestoreError(click.ClickException):
    """A backup is not restored, and nothing was changed."""


@dataclass(frozen=True, slots=True)
class Consent:
    """What the user has said so that no question need be asked."""

    name: str | None
    """Of the cluster whose keys are replaced."""
    from_cluster: UUID | None
    """The id of the one that the backup is of, if that is another one."""


@click.command("restore", short_help="Restore a backup.")
@click.argument("file", type=FILE_OR_STREAM)
@click.option("--dry-run", is_flag=True, help="Only show what would be changed in the cluster that runs.")
@click.option(
    "--yes", "name", metavar="NAME", help="The name of the cluster that runs, instead of typing it when asked."
)
@click.option("--from-cluster", type=click.UUID, metavar="ID", help="Yes, the backup is of this other cluster.")
@click.option(
    "--data-dir",
    type=PATH,
    metavar="DIR",
    help="Make this node's data instead, of a new cluster.",
)
@click.option("--config", type=PATH, metavar="FILE", help="With --data-dir: the new raftd.yaml.")
@click.option("--node", type=Whole(min=1), metavar="N", help="With --data-dir: which node of it.")
@click.option("--owner", metavar="USER", help="With --data-dir, as root: whom the node runs as; otherwise raftd.")
@format_option
@pass_target
def restore_command(
    target: Target,
    file: str,
    name: str | None,
    from_cluster: UUID | None,
    data_dir: Path | None,
    config: Path | None,
    node: int | None,
    owner: str | None,
    output_format: OutputFormat,
    *,
    dry_run: bool,
) -> int:
    """Restore the backup FILE: its keys into the cluster that runs, or with --data-dir as a node of a new one.

    Into a cluster that runs: its keys become those of the backup. What differs is written or deleted, as any user does
    it, so revisions go forward and watches are told; keys with a lease stay as they are. Up to 127 changes, of 512 KiB
    together, happen at once. If there are more, others may see some of them before the rest, and the key raftd-restore
    as long; if it is interrupted, the same command finishes it. The backup's sessions and leases are not restored.

    As a new cluster: give the same FILE, and a raftd.yaml with a new cluster.id, on each host, before any node starts.
    Everything comes back, sessions and leases too, and revisions go on 10^12 above the backup's.

    The whole file is checked before anything is changed. FILE `-` is standard input; then --yes must say the name.

    \b
    Example:
      raftctl snapshot restore monday.backup --dry-run
      raftctl snapshot restore monday.backup
      raftctl snapshot restore monday.backup --data-dir /var/lib/raftd/1 --config /etc/raftd/raftd.yaml --node 1
    """
    offline = {"--config": config, "--node": node, "--owner": owner}
    if data_dir is None:
        if given := [option for option, value in offline.items() if value is not None]:
            raise click.UsageError(f"{given[0]} goes with --data-dir only")
        return _into_running(target, file, Consent(name, from_cluster), output_format, dry_run=dry_run)
    if config is None or node is None:
        raise click.UsageError("--data-dir needs --config, the new cluster's raftd.yaml, and --node")
    if dry_run or name is not None or from_cluster is not None:
        raise click.UsageError("--dry-run, --yes and --from-cluster are for a cluster that runs")
    return _as_node(file, settings_package.load(config).node(node), data_dir, owner, output_format)


# As a node of a new cluster.


def _as_node(
    file: str, settings: NodeSettings, data_dir: Path, owner_name: str | None, output_format: OutputFormat
) -> int:
    data_dir = data_dir.absolute()
    place = replace(settings, data_directory=data_dir)
    owner = owner_of(owner_name)
    with backup_file.opened(file) as backup:
        check_place(backup.inspect().header, place)
        header, machine = _load(backup)
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    give = (lambda _: None) if owner is None else partial(hand_over, owner=owner)
    found_node(header, machine, place, stamp, hand_over=give)
    if settings.data_directory != data_dir:
        warn("raftctl", f"raftd.yaml says {settings.data_directory}, and there the node will look for it")
    show_record(
        {
            "node": settings.node_id,
            "cluster": settings.cluster.name,
            "cluster_id": str(settings.cluster.id),
            "data_directory": str(data_dir),
            "voters": ", ".join(map(str, sorted(settings.bootstrap_voters))),
            "keys": machine.key_count,
            "revision": machine.revision,
        },
        output_format,
    )
    return ExitCode.OK


# Into a cluster that runs.


def _into_running(target: Target, file: str, consent: Consent, output_format: OutputFormat, *, dry_run: bool) -> int:
    config = target.resolve()
    if config.namespace:
        raise click.UsageError("a backup is of all keys: restore it without a namespace")
    started = time.monotonic()
    with backup_file.opened(file) as backup:
        header, machine = _load(backup)
    with Client.from_config(config) as client:
        cluster = _cluster(client, config.endpoints)
        _check_origin(header, cluster, consent)
        counts = Counts()
        if dry_run:
            with Progress("compare", machine.key_count) as progress:
                for _ in differences(_followed(machine.items(), progress), keys_of(client), counts):
                    pass
        else:
            _confirm(header, cluster, consent)
            code = _merge(client, header, machine, counts)
            if code != ExitCode.OK:
                return code
    show_record(
        {
            "written": counts.written,
            "deleted": counts.deleted,
            "unchanged": counts.unchanged,
            "leased": counts.leased,
            "seconds": round(time.monotonic() - started, 3),
        },
        output_format,
    )
    return ExitCode.OK


def _merge(client: Client, header: BackupHeader, machine: StateMachine, counts: Counts) -> int:
    """Do it; returns an exit code, and has said why if it is not 0."""
    restore = Restore(client, header)
    restore.resume()
    failure: ClientError | KeyboardInterrupt
    with Progress("restore", machine.key_count) as progress:
        try:
            for _ in restore.run(differences(_followed(machine.items(), progress), keys_of(client), counts)):
                pass
        except (ClientError, KeyboardInterrupt) as error:
            failure = error
        else:
            return ExitCode.OK
    if str(failure):
        warn("raftctl", str(failure))
    in_doubt = " and perhaps the next few" if isinstance(failure, OutcomeUnknown | KeyboardInterrupt) else ""
    if restore.is_marked:
        warn(
            "raftctl",
            f"{restore.done} changes are made{in_doubt}, and the key {MARKER.decode()} is there: "
            "the same command finishes it",
        )
    elif restore.is_marking and in_doubt:
        warn(
            "raftctl",
            f"nothing was changed, but the key {MARKER.decode()} may be there now: the same command does it all; "
            "to leave things as they are, delete that key",
        )
    else:
        warn("raftctl", "all changes are made, or none" if in_doubt else "nothing was changed")
    if isinstance(failure, KeyboardInterrupt):
        raise failure
    return failure.exit_code


def _load(backup: BackupFile) -> tuple[BackupHeader, StateMachine]:
    length = backup.inspect().header.file_length
    with Progress("load", length) as progress:
        header, machine = backup.load(progress.advance)
    if machine.get(MARKER) is not None:
        warn(
            "raftctl",
            f"{backup.name}: this was taken while a restore went on: it is half of one state and half of another",
        )
    return header, machine


def _followed(records: Iterable[tuple[bytes, Record]], progress: Progress) -> Iterator[tuple[bytes, Record]]:
    for record in records:
        progress.advance(1)
        yield record


def _cluster(client: Client, endpoints: tuple[str, ...]) -> tuple[str, UUID]:
    """Name and id of the cluster that runs. Raises: ClientError: no node says so."""
    overview = look(client, endpoints)
    documents: list[dict[str, Any]] = [answer for answer in overview.answers.values() if isinstance(answer, dict)]
    if not documents:
        overview.endpoint_of(None)
    try:
        return str(documents[0]["cluster"]), UUID(documents[0]["cluster_id"])
    except (KeyError, ValueError):
        raise ClientError("the nodes do not say which cluster they are: they are of an older version") from None


def _check_origin(header: BackupHeader, cluster: tuple[str, UUID], consent: Consent) -> None:
    """A backup of another cluster takes more than a yes. Raises: RestoreError."""
    origin = UUID(bytes=header.cluster_id)
    name, cluster_id = cluster
    if consent.from_cluster not in {None, origin}:
        raise RestoreError(f"the backup is of cluster {origin}, and not of {consent.from_cluster}; nothing was changed")
    if origin != cluster_id and consent.from_cluster is None:
        raise RestoreError(
            f"the backup is of cluster {header.cluster_name!r} with the id {origin}, and the one that runs is {name!r} "
            f"with the id {cluster_id}; nothing was changed. If that is meant: --from-cluster {origin}"
        )


def _confirm(header: BackupHeader, cluster: tuple[str, UUID], consent: Consent) -> None:
    """Let the user type the name of what is about to be overwritten. Raises: as `check_consent`."""
    name, when = cluster[0], backup_file.time_of(header).isoformat(timespec="seconds")
    check_consent(name, consent.name, f"give cluster {name!r} the keys of {when}, revision {header.revision}")
