"""A cluster that Ansible has made on a lab's hosts, with hosts to spare, as one test after the other finds it."""

import itertools
from pathlib import Path
from typing import Any, Final

from tests.hosts.controller import CLUSTER_NAME, Controller
from tests.hosts.host import Host
from tests.hosts.lab import Lab
from tests.hosts.waiting import until_found

VOTERS: Final = 3
_WELL_SECONDS: Final = 90.0
_BETWEEN_LOOKS_SECONDS: Final = 0.2
"""Each starts a raftctl."""


class Fleet(Controller):
    """The first hosts of a lab as a cluster; `site.yml` is still to be run.

    Args:
        lab: Where the hosts are.
        directory: Where inventory and authorities go.
        deb: What is installed.
        variables: Of the group; over what the controller sets.
    """

    def __init__(self, lab: Lab, directory: Path, deb: Path, **variables: object) -> None:
        names = list(lab.hosts)[:VOTERS]
        nodes = {name: node for node, name in enumerate(names, start=1)}
        super().__init__(lab, directory, nodes, raftd_deb=str(deb), **variables)
        self._ids = itertools.count(VOTERS + 1)

    def new_id(self) -> int:
        """An id that no node ever had."""
        return next(self._ids)

    @property
    def spare(self) -> str:
        """The name of a host without a node."""
        return next(name for name in self.lab.hosts if name not in self.nodes)

    @property
    def any_host(self) -> Host:
        """A host of the cluster."""
        return self.lab[next(iter(self.nodes))]

    def leader(self) -> str:
        """The name of the host whose node leads."""

        def agreed() -> str | None:
            leaders = {status["leader_id"] for status in self.statuses().values()}
            return next((name for name, node in self.nodes.items() if leaders == {node}), None)

        return until_found(agreed, "a leader is agreed on", seconds=_WELL_SECONDS, every=_BETWEEN_LOOKS_SECONDS)

    def followers(self) -> list[str]:
        """The names of the other hosts."""
        leader = self.leader()
        return [name for name in self.nodes if name != leader]

    def statuses(self) -> dict[str, dict[str, Any]]:
        """By the host's name, what each node that answers says of itself."""
        names = {node: name for name, node in self.nodes.items()}
        return {names[each["node_id"]]: each for each in self.status(self.any_host.name) if each["node_id"] in names}

    def retire(self, name: str) -> None:
        """Take a host out of the inventory whose node is no member any more, and make it empty again."""
        self.play("playbooks/destroy.yml", raftd_hosts=name, raftd_confirm=CLUSTER_NAME)
        del self.nodes[name]

    def until_well(self) -> None:
        """Wait until all nodes are well."""
        until_found(
            lambda: self.any_host.run("raftctl", "status", check=False).returncode == 0,
            "the cluster is well",
            seconds=_WELL_SECONDS,
            every=_BETWEEN_LOOKS_SECONDS,
            details=lambda: self.raftctl(self.any_host.name, "status", check=False),
        )

    def mend(self) -> None:
        """Undo what a test may have done to the hosts, and start what it has stopped."""
        for host in self.lab.hosts.values():
            if not host.has_power:
                host.power_on()
            host.until_up()
            host.shell("systemctl reset-failed")  # of nodes that were there before, too
        for name, node in self.nodes.items():
            self.lab[name].shell(f"systemctl start raftd@{node}")
        self.until_well()
