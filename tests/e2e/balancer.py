"""A real HAProxy in front of a cluster: TLS goes through it untouched, and health checks say where to."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from raftd.settings import Address
from tests.e2e.cluster import NodeProcess, command_that_dies_with_us, next_address

CHECK_MILLISECONDS: Final = 100
"""Between two checks of a node."""

_CONFIGURATION: Final = """\
defaults
    mode tcp
    timeout connect 1s
    timeout client 30s
    timeout server 30s
    timeout check 1s
    default-server check inter {interval}ms fall 1 rise 1 on-marked-down shutdown-sessions
    option httpchk
    http-check expect status 200

listen writes
    bind {writes}
    http-check send meth GET uri /leader
{servers}

listen reads
    bind {reads}
    http-check send meth GET uri /follower?max_lag=1000
{servers}
"""


class Balancer:
    """One HAProxy process with an address for the leader and one for the followers."""

    def __init__(self, directory: Path, nodes: Iterable[NodeProcess]) -> None:
        self.writes, self.reads = next_address(), next_address()
        self.log = directory / "haproxy.log"
        configuration = directory / "haproxy.cfg"
        servers = "\n".join(
            _server(node.id, node.addresses.client_address, node.addresses.http_address) for node in nodes
        )
        configuration.write_text(
            _CONFIGURATION.format(interval=CHECK_MILLISECONDS, writes=self.writes, reads=self.reads, servers=servers)
        )
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command_that_dies_with_us("/usr/sbin/haproxy", "-db", "-f", str(configuration)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def _server(node_id: int, client: Address, http: Address) -> str:
    return f"    server n{node_id} {client} addr {http.host} port {http.port}"
