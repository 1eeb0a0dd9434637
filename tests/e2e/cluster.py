"""A cluster of real raftd processes on loopback, and what can be done to them: started, stopped, killed, paused.

Whatever is started here ends with the test: `Cluster.close` kills it, and should this process be killed itself, the
kernel does (PR_SET_PDEATHSIG). Nothing waits by the clock: `until` asks again until something is so, or a deadline says
that it never will be.
"""

import asyncio
import dataclasses
import itertools
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from raftd import events
from raftd.client import AsyncClient, ClientError, ClientTls
from raftd.pki import authority_files, user_files
from raftd.settings import AccessLine, Address, Document, Limits, Node, Tls, TlsTemplate, render
from raftd.settings import Cluster as ClusterSettings

T = TypeVar("T")

CLUSTER_NAME: Final = "e2e"
USER: Final = "admin"
PATIENCE_SECONDS: Final = 20.0
"""How long anything may take before the test gives up on it; a machine that is busy otherwise is not a bug."""
STATUS_SECONDS: Final = 2.0
"""How long a node may take to say how it is; a paused one never does."""
RAFTD: Final = ("-m", "raftd")
"""What Python runs as a node."""
_SEGMENT_BYTES: Final = 4 << 20
"""The smallest there is, so that tests see logs of several segments."""
_READY_TEXT: Final = events.NODE_READY.text.partition("%")[0]
_EXECUTE_AND_DIE_WITH_PARENT: Final = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL); os.execv(sys.argv[1], sys.argv[1:])"
)
_ports = itertools.count(20_000)


def own_address() -> str:
    """A loopback address that this process has for itself.

    All of 127/8 is this machine's, and what dials comes from 127.0.0.1. So no other run and no outgoing connection can
    take a port that a killed node needs again.
    """
    process_id = os.getpid()
    return f"127.{10 + process_id // 62_500}.{process_id // 250 % 250}.{process_id % 250 + 1}"


def next_address() -> Address:
    """An address that no test has used before."""
    return Address(own_address(), next(_ports))


def command_that_dies_with_us(*command: str) -> list[str]:
    """`command`, to be killed by the kernel as soon as the thread that starts it is gone."""
    return [sys.executable, "-I", "-S", "-c", _EXECUTE_AND_DIE_WITH_PARENT, *command]


async def until_found(
    find: Callable[[], Awaitable[T | None]], what: str, *, seconds: float = PATIENCE_SECONDS, every: float = 0.02
) -> T:
    """Look again and again until something is there, and return it; fail after `seconds`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not (found := await find()):
        assert loop.time() < deadline, f"{what}: not within {seconds:g} s"
        await asyncio.sleep(every)
    return found


async def until(condition: Callable[[], object], what: str, *, seconds: float = PATIENCE_SECONDS) -> None:
    """Ask again and again until the answer is truthy; fail after `seconds`."""

    async def find() -> object:
        return condition()

    await until_found(find, what, seconds=seconds)


class NodeProcess:
    """One node: its process, while there is one, and its log."""

    def __init__(self, node: Node, settings: Path, log: Path, program: Sequence[str] = RAFTD) -> None:
        self.id = node.id
        self.addresses = node
        self.endpoint = str(node.client_address)
        self.settings = settings
        self._log = log
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._paused = False

    @property
    def pid(self) -> int:
        assert self._process is not None, f"node {self.id} does not run"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is there and not paused."""
        return self._process is not None and not self._paused and self._process.poll() is None

    @property
    def log(self) -> str:
        """Everything that all of its processes have said."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def recent_log(self) -> str:
        """What the latest process has said."""
        return self._log.read_bytes()[self._log_start :].decode(errors="replace")

    @property
    def resident_bytes(self) -> int:
        """How much memory the process holds (proc(5), statm)."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    def start(self) -> None:
        """Start the process; it is not ready yet."""
        assert not self.is_running
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                command_that_dies_with_us(
                    *(sys.executable, *self._program),
                    *("run", "--config", str(self.settings), "--node", str(self.id)),
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, and remember what it does."""
        os.kill(self.pid, number)
        if number in {signal.SIGSTOP, signal.SIGCONT}:
            self._paused = number is signal.SIGSTOP

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone; nothing happens if it is."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None
        self._paused = False

    def pause(self) -> None:
        """SIGSTOP."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    async def ready(self) -> None:
        """Wait until its ports listen; fail at once if the process ends."""

        def is_ready() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, f"node {self.id} has ended with {self._process.returncode}"
            return _READY_TEXT in self.recent_log

        await until(is_ready, f"node {self.id} is ready")

    async def ended(self, *, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for the process's end, and return its exit code."""
        process = self._process
        assert process is not None
        await until(lambda: process.poll() is not None, f"node {self.id} ends", seconds=seconds)
        self._process = None
        return process.returncode


class Cluster:
    """N nodes of one cluster, in a directory of their own."""

    def __init__(
        self,
        directory: Path,
        pki: Path,
        size: int,
        *,
        changes: Callable[[int, Document], Document] | None = None,
        program: Sequence[str] = RAFTD,
    ) -> None:
        """Write the settings; nothing is started.

        Args:
            directory: For settings, data and logs.
            pki: Certificates of the nodes 1 to `size` and of the user.
            size: How many nodes.
            changes: Makes of the settings those of one node, which otherwise are the same for all.
            program: What Python is to run as the daemon.
        """
        self.directory = directory
        self.pki = pki
        self.document = _document(directory, pki, size)
        self.nodes: dict[int, NodeProcess] = {}
        for node in self.document.nodes:
            path = directory / f"raftd-{node.id}.yaml"
            path.write_text(render(changes(node.id, self.document) if changes is not None else self.document))
            self.nodes[node.id] = NodeProcess(node, path, directory / f"node-{node.id}.log", program)

    @property
    def endpoints(self) -> list[str]:
        return [node.endpoint for node in self.nodes.values()]

    @property
    def tls(self) -> ClientTls:
        """The user's files."""
        user = user_files(self.pki, USER)
        return ClientTls(authority_files(self.pki, "client").certificate, user.certificate, user.key)

    def client(self, *endpoints: str, timeout: float = 30.0, dead_after: float = 1.0) -> AsyncClient:
        """A client whose deadline is far off: whatever error it reports is one too many, if a leader can be had."""
        return AsyncClient(endpoints or self.endpoints, tls=self.tls, timeout=timeout, dead_after=dead_after)

    async def start(self, *node_ids: int) -> None:
        """Start these nodes, or all, and wait until they listen."""
        chosen = [self.nodes[node_id] for node_id in node_ids or self.nodes]
        for node in chosen:
            node.start()
        await asyncio.gather(*(node.ready() for node in chosen))

    def kill(self, *node_ids: int) -> None:
        """SIGKILL these nodes, or all."""
        for node_id in node_ids or self.nodes:
            self.nodes[node_id].kill()

    async def statuses(self) -> dict[int, dict[str, Any]]:
        """What each node that runs says of itself, by its id; those that say nothing are left out."""

        async def ask(client: AsyncClient, node: NodeProcess) -> dict[str, Any] | None:
            try:
                return await client.status(node.endpoint)
            except ClientError:
                return None

        running = [node for node in self.nodes.values() if node.is_running]
        async with self.client(timeout=STATUS_SECONDS) as client:
            answers = await asyncio.gather(*(ask(client, node) for node in running))
        return {node.id: answer for node, answer in zip(running, answers, strict=True) if answer is not None}

    async def leader(self, *, above_term: int = 0, seconds: float = PATIENCE_SECONDS) -> NodeProcess:
        """Wait for a leader of a term above the given one, among the nodes that run."""

        async def find() -> NodeProcess | None:
            for node_id, status in (await self.statuses()).items():
                if status["role"] == "leader" and status["current_term"] > above_term:
                    return self.nodes[node_id]
            return None

        return await until_found(find, f"a leader above term {above_term}", seconds=seconds)

    async def until_proven(self) -> None:
        """Wait until each node that runs can vouch for itself, as `raftctl can-stop` does.

        A new cluster that is harmed before that may need one of those that are down to elect anybody
        (`raftd.consensus.proof`).
        """

        async def are_proven() -> bool:
            return all(status["proven"] for status in (await self.statuses()).values())

        await until_found(are_proven, "all nodes are proven")

    async def term(self) -> int:
        """The highest term that any node knows."""
        return max(int(status["current_term"]) for status in (await self.statuses()).values())

    async def agreement(self) -> dict[str, Any]:
        """Wait until all nodes have applied the same entries; fail if that gave them different states."""

        async def find() -> dict[str, Any] | None:
            statuses = list((await self.statuses()).values())
            states: dict[int, set[str]] = {}
            for status in statuses:
                states.setdefault(status["last_applied"], set()).add(status["state_hash"])
            assert all(len(hashes) == 1 for hashes in states.values()), f"states differ: {states}"
            return statuses[0] if len(statuses) == len(self.nodes) and len(states) == 1 else None

        return await until_found(find, "all nodes have applied the same")

    def close(self) -> None:
        """End whatever runs."""
        self.kill()

    def logs(self) -> Iterable[tuple[str, str]]:
        """Each node's name and log, for whoever must find out what went wrong."""
        return ((f"node {node.id}", node.log) for node in self.nodes.values())


def is_listened_on(address: Address) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((address.host, address.port)) == 0


def _document(directory: Path, pki: Path, size: int) -> Document:
    def node(node_id: int) -> Node:
        return Node(node_id, next_address(), next_address(), next_address())

    (directory / "data").mkdir(mode=0o700)
    return Document(
        cluster=ClusterSettings(CLUSTER_NAME, uuid.uuid4()),
        nodes=tuple(node(node_id) for node_id in range(1, size + 1)),
        tls=Tls(
            peer=TlsTemplate(f"{pki}/peer-ca.crt", f"{pki}/node-{{node}}.peer.crt", f"{pki}/node-{{node}}.peer.key"),
            client=TlsTemplate(
                f"{pki}/client-ca.crt", f"{pki}/node-{{node}}.client.crt", f"{pki}/node-{{node}}.client.key"
            ),
        ),
        data_directory="data/{node}",
        access=(AccessLine(USER, "", ("read", "write", "admin")),),
        limits=dataclasses.replace(Limits(), segment_bytes=_SEGMENT_BYTES),
    )
