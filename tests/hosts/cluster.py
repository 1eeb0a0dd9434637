"""A raftd cluster on the lab's hosts, installed from the package and run by systemd, as its users would have it."""

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from raftd.pki import create_authorities, issue_node, issue_user
from raftd.settings import AccessLine, Address, Document, Node, Tls, TlsTemplate, render
from raftd.settings import Cluster as ClusterSettings
from tests.hosts.host import Host
from tests.hosts.lab import Lab
from tests.hosts.waiting import until_found

CLUSTER_NAME: Final = "hosts"
USER: Final = "admin"
CLIENT_PORT: Final = 7400
PEER_PORT: Final = 7401
HTTP_PORT: Final = 7402
RECOVERY_SECONDS: Final = 60.0
"""How long a cluster may take to be well again, without anybody's help."""
_BETWEEN_QUESTIONS_SECONDS: Final = 0.2
"""Each question costs a third of a second of processor time, which the nodes need too."""
_CLIENT_TIMEOUT: Final = "30s"


def install(host: Host, deb: Path) -> str:
    """Install the package as an administrator would, and return what apt said."""
    place = f"/var/tmp/{deb.name}"  # noqa: S108 - the host's, and nobody else is on it
    host.put(place, deb.read_bytes())
    return host.shell(f"DEBIAN_FRONTEND=noninteractive apt-get install --yes --reinstall {place} 2>&1")


class HostCluster:
    """Nodes 1 to N of a cluster, on one host each, and a host for its users.

    Args:
        lab: Where the hosts are.
        nodes: The hosts' names; the first becomes node 1.
        client: The name of the host that raftctl runs on; it may have a node too.
        pki: A directory that is not there yet, for authorities and certificates.
    """

    def __init__(self, lab: Lab, nodes: Sequence[str], client: str, pki: Path) -> None:
        self.lab = lab
        self.nodes = {number: lab[name] for number, name in enumerate(nodes, start=1)}
        self.client = lab[client]
        self.document = _document(self.nodes)
        self._pki = pki
        create_authorities(pki, CLUSTER_NAME)
        issue_user(pki, USER)
        for number, host in self.nodes.items():
            issue_node(pki, number, [host.name, str(host.address)])

    def deploy(self, deb: Path) -> None:
        """Install the package on all hosts, write settings and certificates, and start the nodes."""
        for host in {*self.nodes.values(), self.client}:
            install(host, deb)
            self.configure(host)
        for number, host in self.nodes.items():
            host.shell(f"systemctl enable --now raftd@{number}")
        self.until_well()

    def configure(self, host: Host) -> None:
        """Write what a host of the cluster needs into /etc/raftd: nothing there is anybody's but root's to write."""
        files: dict[str, bytes] = {"pki/client-ca.crt": (self._pki / "client-ca.crt").read_bytes()}
        for number in (number for number, other in self.nodes.items() if other is host):
            files["raftd.yaml"] = render(self.document).encode()
            names = ["peer-ca.crt", *(path.name for path in self._pki.glob(f"node-{number}.*"))]
            files |= {f"pki/{name}": (self._pki / name).read_bytes() for name in names}
        if host is self.client:
            endpoints = ", ".join(node.name for node in self.nodes.values())
            files["raftctl.yaml"] = (
                f"endpoints: [{endpoints}]\ntimeout: {_CLIENT_TIMEOUT}\n"
                f"cacert: pki/client-ca.crt\ncert: pki/user-{USER}.crt\nkey: pki/user-{USER}.key\n"
            ).encode()
            files |= {f"pki/{path.name}": path.read_bytes() for path in self._pki.glob(f"user-{USER}.*")}
        for name, content in files.items():
            host.put(f"/etc/raftd/{name}", content, mode=0o640)
        host.shell("chown -R root:raftd /etc/raftd && chmod 0750 /etc/raftd/pki")

    # What it is like.

    def raftctl(self, *arguments: str, check: bool = True) -> str:
        """Run the package's raftctl as the cluster's user."""
        return self.client.run("raftctl", *arguments, check=check).stdout

    def status(self) -> dict[int, dict[str, Any]]:
        """What each node says of itself, by its number; nodes that do not answer are not there."""
        ended = self.client.run("raftctl", "status", "--output", "json", check=False)
        rows = json.loads(ended.stdout) if ended.stdout else []
        return {int(row["node"]): row["status"] for row in rows if "status" in row}

    def leader(self) -> int:
        """The number of the node that leads, which all that answer agree on."""

        def agreed() -> int | None:
            leaders = {status["leader_id"] for status in self.status().values()}
            return leaders.pop() if len(leaders) == 1 else None

        return until_found(agreed, "a leader is agreed on", seconds=RECOVERY_SECONDS)

    def followers(self) -> list[int]:
        """The numbers of the other nodes."""
        leader = self.leader()
        return [number for number in self.nodes if number != leader]

    def until_well(self) -> None:
        """Wait until every node answers and is well, all follow one leader, and none lags."""

        def is_well() -> bool:
            ended = self.client.run("raftctl", "status", "--output", "json", check=False)
            if ended.returncode != 0:
                return False
            rows = json.loads(ended.stdout)
            return len(rows) == len(self.nodes) and all(row["lag"] == 0 for row in rows)

        until_found(
            is_well,
            "the cluster is well",
            seconds=RECOVERY_SECONDS,
            every=_BETWEEN_QUESTIONS_SECONDS,
            details=lambda: self.raftctl("status", check=False),
        )

    def mend(self) -> None:
        """Undo what a test may have done to the hosts, and start what it has stopped."""
        self.lab.heal()
        for host in {*self.nodes.values(), self.client}:
            if host.has_power:
                host.thaw()
                host.plug()
            else:
                host.power_on()
        for number, host in self.nodes.items():
            host.until_up()
            host.shell(f"systemctl reset-failed; systemctl start raftd@{number}")
        self.client.until_up()
        self.until_well()


def unit_property(host: Host, unit: str, name: str) -> str:
    """What systemd knows of a unit."""
    return host.shell(f"systemctl show --property={name} --value {unit}")


def _document(nodes: dict[int, Host]) -> Document:
    def pair(kind: str) -> TlsTemplate:
        return TlsTemplate(f"pki/{kind}-ca.crt", f"pki/node-{{node}}.{kind}.crt", f"pki/node-{{node}}.{kind}.key")

    return Document(
        cluster=ClusterSettings(CLUSTER_NAME, uuid.uuid4()),
        nodes=tuple(
            Node(number, Address(host.name, CLIENT_PORT), Address(host.name, PEER_PORT), Address(host.name, HTTP_PORT))
            for number, host in nodes.items()
        ),
        tls=Tls(peer=pair("peer"), client=pair("client")),
        access=(AccessLine(USER, "", ("read", "write", "admin")),),
    )
