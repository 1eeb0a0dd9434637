"""`raftd recover`: one node goes on alone when a majority is lost for ever."""

import uuid
from datetime import UTC, datetime
from pathlib import Path

import click

from raftd import settings as settings_package
from raftd.cli.consent import check_consent
from raftd.cli.named_path import PATH
from raftd.cli.output import OutputFormat, show_record, write
from raftd.cli.owner import give_like
from raftd.cli.raftd import DEFAULT_CONFIG
from raftd.cli.whole import Whole
from raftd.daemon.recover import Found, Places, Survivor
from raftd.errors import ExitCode

_WHAT_MAY_BE_LOST = """
Only what this node has can be recovered: writes that were acknowledged by other nodes, and never reached this one, are
lost. And everything that it has becomes committed, also writes whose clients were told that the outcome is unknown.
Run this on each node that is left, and recover the one with the highest LAST TERM, and of those the highest LAST INDEX.
Nodes that can come back should: a majority of them, and nothing is lost and nothing to be recovered.
"""


@click.command("recover", short_help="Go on with one node when a majority is lost.")
@click.option(
    "--config",
    type=PATH,
    default=DEFAULT_CONFIG,
    show_default=True,
    envvar="RAFTD_CONFIG",
    help="The cluster's settings, as the node had them.",
)
@click.option("--node", type=Whole(min=1), required=True, help="The node that is left; it must be stopped.")
@click.option("--force-new-cluster", is_flag=True, help="Do it: make this node the only one of a new cluster.")
@click.option("--yes", "confirmation", metavar="NAME", help="The cluster's name, instead of typing it when asked.")
def recover_command(config: Path, node: int, confirmation: str | None, *, force_new_cluster: bool) -> int:
    """Show what a stopped node has, and, if told to, go on with it alone.

    For when a majority of the voters is lost and will not come back. Without --force-new-cluster nothing is changed.

    \b
    Example:
      raftd recover --config /etc/raftd/raftd.yaml --node 2
      raftd recover --config /etc/raftd/raftd.yaml --node 2 --force-new-cluster
    """
    settings = settings_package.load(config).node(node)
    survivor = Survivor(settings, hand_over=give_like(settings.data_directory))
    try:
        _show(survivor.found)
        if not force_new_cluster:
            return ExitCode.OK
        check_consent(settings.cluster.name, confirmation, f"go on with node {node} alone")
        cluster_id = uuid.uuid4()
        places = Places.beside(settings.data_directory, f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        # Before it happens: should the machine fail just then, this is all that is known of it.
        write(
            f"\nmaking the new cluster {cluster_id} in {settings.data_directory}; "
            f"its old data goes to {places.new} and then to {places.kept}\n"
        )
        survivor.found_cluster(cluster_id, places)
    finally:
        survivor.close()
    write(
        f"node {node} is the only member of the new cluster {cluster_id}; its old data is in {places.kept}\n"
        f"Before it is started, in {config}:\n"
        f"  - set cluster.id to {cluster_id}\n"
        f"  - leave only node {node} under nodes\n"
        "Other nodes are added with ids that were never used, and empty data directories: raftctl member add\n"
    )
    return ExitCode.OK


def _show(found: Found) -> None:
    membership = found.membership
    show_record(
        {
            "node": found.node_id,
            "last term": found.last_term,
            "last index": found.last_index,
            "current term": found.current_term,
            "snapshot index": found.snapshot_index or None,
            "keys": found.keys,
            "voters": ", ".join(map(str, sorted(membership.all_voters))),
            "learners": ", ".join(map(str, sorted(membership.learners))) or None,
        },
        OutputFormat.TABLE,
    )
    write(_WHAT_MAY_BE_LOST)
