"""One real `raftd run`, with a supervisor that listens to what it says of itself."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Self

from raftd import settings as settings_package
from raftd.pki import create_authorities, issue_node, issue_user
from raftd.settings import AccessLine, Cluster, Document, Limits, Node, Timing, Tls, TlsTemplate
from tests.e2e.cluster import command_that_dies_with_us, next_address, own_address

PATIENCE_SECONDS: Final = 20.0
"""How long anything may take before the test gives up on it; a machine that is busy otherwise is not a bug."""


def document_of(size: int = 1) -> Document:
    """Settings of a cluster on addresses that nobody else uses."""
    return Document(
        cluster=Cluster("test", uuid.uuid4()),
        nodes=tuple(Node(node_id, next_address(), next_address(), next_address()) for node_id in range(1, size + 1)),
        tls=Tls(
            peer=TlsTemplate("pki/peer-ca.crt", "pki/node-{node}.peer.crt", "pki/node-{node}.peer.key"),
            client=TlsTemplate("pki/client-ca.crt", "pki/node-{node}.client.crt", "pki/node-{node}.client.key"),
        ),
        data_directory="data/{node}",
        access=(AccessLine("admin", "", ("read", "write", "admin")), AccessLine("reader", "public/", ("read",))),
        # Alone, a node need not be patient.
        timing=Timing() if size > 1 else Timing(0.01, 0.02, 0.05),
        limits=Limits(segment_bytes=4 << 20),
    )


def write_files(directory: Path, document: Document | None = None) -> Path:
    """Write certificates, `raftctl.yaml` (of admin) and `raftd.yaml` into `directory`; returns the last."""
    document = document or document_of()
    pki = directory / "pki"
    create_authorities(pki, document.cluster.name)
    for node in document.nodes:
        issue_node(pki, node.id, [own_address()])
    for user in ("admin", "reader"):
        issue_user(pki, user)
    endpoints = ", ".join(str(node.client_address) for node in document.nodes)
    (directory / "raftctl.yaml").write_text(
        f"endpoints: [{endpoints}]\ncacert: pki/client-ca.crt\ncert: pki/user-admin.crt\nkey: pki/user-admin.key\n"
    )
    (directory / "data").mkdir()
    settings = directory / "raftd.yaml"
    settings.write_text(settings_package.render(document))
    return settings


class Daemon:
    """`raftd run` as a supervisor starts it; ends with the `with`."""

    def __init__(self, settings: Path, node_id: int = 1, environment: Mapping[str, str] | None = None) -> None:
        name = f"raftd-test-{os.getpid()}-{secrets.token_hex(8)}"
        self._supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._supervisor.bind(f"\0{name}")
        self._supervisor.settimeout(PATIENCE_SECONDS)
        self._log = settings.parent / f"node-{node_id}.log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command_that_dies_with_us(
                    sys.executable, "-m", "raftd", "run", "--config", str(settings), "--node", str(node_id)
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": f"@{name}", **(environment or {})},
            )

    @property
    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text(errors="replace")

    def told(self) -> dict[str, str]:
        """The next thing that it says to its supervisor."""
        lines = self._supervisor.recv(4096).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    def until_told(self, name: str, value: str = "1") -> dict[str, str]:
        """Listen until it says this, and return all that came with it."""
        while True:
            told = self.told()
            if told.get(name) == value:
                return told

    def ready(self) -> Self:
        """Wait until it has started."""
        self.until_told("READY")
        return self

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        """End it, however it is."""
        self.process.kill()
        self.process.wait()
        self._supervisor.close()


@contextlib.contextmanager
def running(settings: Path, node_id: int = 1, environment: Mapping[str, str] | None = None) -> Iterator[Daemon]:
    """A node, from before it is ready."""
    daemon = Daemon(settings, node_id, environment)
    try:
        yield daemon
    finally:
        daemon.close()
