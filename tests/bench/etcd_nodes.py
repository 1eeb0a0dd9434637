"""A cluster of etcd, where that is installed: three nodes on loopback over mutual TLS, with certificates of raftd's."""

import contextlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from raftd.pki import authority_files, node_files, user_files
from tests.bench.processes import PATIENCE_SECONDS, ProgramError, run_program
from tests.bench.subjects import NODES, BenchError
from tests.e2e.cluster import USER, command_that_dies_with_us, next_address

_PAUSE_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class EtcdCluster:
    """A cluster that runs."""

    version: str
    leader: str
    """The leader's `host:port`."""
    process_ids: list[int]
    certificates: list[str]
    """Options `--cacert`, `--cert` and `--key` of a client."""


@contextlib.contextmanager
def etcd_cluster(directory: Path, pki: Path) -> Iterator[EtcdCluster]:
    """Start it with data in `directory`, which is there, with the certificates of nodes and of the user in `pki`.

    Raises:
        BenchError: etcd or etcdctl is not installed, or it does not start.
    """
    for tool in ("etcd", "etcdctl"):
        if shutil.which(tool) is None:
            raise BenchError(f"{tool} is not installed; on Debian: apt-get install etcd-server etcd-client")
    user = user_files(pki, USER)
    authority = authority_files(pki, "client").certificate
    certificates = [f"--cacert={authority}", f"--cert={user.certificate}", f"--key={user.key}"]
    clients = {node: str(next_address()) for node in range(1, NODES + 1)}
    peers = {node: str(next_address()) for node in range(1, NODES + 1)}
    with contextlib.ExitStack() as stack:
        processes: list[subprocess.Popen[bytes]] = []
        for node in range(1, NODES + 1):
            log = stack.enter_context((directory / f"etcd-{node}.log").open("wb"))
            command = command_that_dies_with_us(*_command(node, directory, pki, clients, peers))
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            processes.append(process)
            stack.callback(process.wait)
            stack.callback(process.kill)
        leader = _wait_for_leader(list(clients.values()), certificates, processes)
        version = run_program(["etcd", "--version"]).splitlines()[0].rpartition(" ")[2]
        yield EtcdCluster(version, leader, [process.pid for process in processes], certificates)


def _command(node: int, directory: Path, pki: Path, clients: dict[int, str], peers: dict[int, str]) -> list[str]:
    """Its defaults, but for the gateway for JSON, which would dial with a server's certificate."""
    peer, client = node_files(pki, node, "peer"), node_files(pki, node, "client")
    etcd = shutil.which("etcd") or "etcd"
    return [
        etcd,
        f"--name=n{node}",
        f"--data-dir={directory / f'etcd-{node}'}",
        f"--listen-client-urls=https://{clients[node]}",
        f"--advertise-client-urls=https://{clients[node]}",
        f"--listen-peer-urls=https://{peers[node]}",
        f"--initial-advertise-peer-urls=https://{peers[node]}",
        f"--initial-cluster={','.join(f'n{each}=https://{address}' for each, address in peers.items())}",
        "--client-cert-auth",
        f"--trusted-ca-file={authority_files(pki, 'client').certificate}",
        f"--cert-file={client.certificate}",
        f"--key-file={client.key}",
        "--peer-client-cert-auth",
        f"--peer-trusted-ca-file={authority_files(pki, 'peer').certificate}",
        f"--peer-cert-file={peer.certificate}",
        f"--peer-key-file={peer.key}",
        "--enable-grpc-gateway=false",
    ]


def _wait_for_leader(endpoints: list[str], certificates: list[str], processes: list["subprocess.Popen[bytes]"]) -> str:
    deadline, pause = time.monotonic() + PATIENCE_SECONDS, threading.Event()
    command = ["etcdctl", f"--endpoints={','.join(endpoints)}", *certificates, "endpoint", "status", "-w", "json"]
    while True:
        with contextlib.suppress(ProgramError):
            leader = leader_of(run_program(command))
            if leader is not None:
                return leader
        if any(process.poll() is not None for process in processes) or time.monotonic() > deadline:
            raise BenchError("etcd did not start")
        pause.wait(_PAUSE_SECONDS)


def leader_of(statuses: str) -> str | None:
    """The endpoint that leads, by what `etcdctl endpoint status -w json` says; None: not all of them know of one."""
    found = json.loads(statuses)
    leading = [each["Endpoint"] for each in found if each["Status"]["header"]["member_id"] == each["Status"]["leader"]]
    return leading[0] if len(found) == NODES and len(leading) == 1 else None
