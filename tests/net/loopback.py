"""What the tests of the network share: both event loops, certificates of every kind, and a plain other end."""

import asyncio
import contextlib
import gc
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import uvloop
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from raftd.consensus.types import NodeId
from raftd.net.channel import Channel
from raftd.net.tls import TlsFiles, client_context
from raftd.pki import (
    AuthorityName,
    KeyPairFiles,
    authority_files,
    create_authorities,
    issue,
    issue_node,
    issue_user,
    node_files,
    user_files,
)
from raftd.wire.frames import FrameReader
from raftd.wire.handshake import ConnectionRole, Hello, Listener
from raftd.wire.identity import Identity, IdentityKind

CLUSTER_ID = bytes(range(16))
PEER_LISTENER = Listener(ConnectionRole.PEER, CLUSTER_ID, NodeId(1), 1 << 20, 0)
CLIENT_LISTENER = Listener(ConnectionRole.CLIENT, CLUSTER_ID, NodeId(1), 1 << 20, 8)
CLIENT_HELLO = Hello(ConnectionRole.CLIENT)
PEER_HELLO = Hello(ConnectionRole.PEER, CLUSTER_ID, NodeId(2), NodeId(1))

Run: TypeAlias = Callable[[Coroutine[Any, Any, None]], None]

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def run_on(loop_name: str, main: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine; nothing may go to the loop's exception handler, and no task may be left."""
    complaints: list[str] = []

    async def bounded() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(repr(context)))
        async with asyncio.timeout(20):
            await main
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks are left behind: {left}"

    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        runner.run(bounded())
        gc.collect()
    gc.collect()
    assert not complaints, complaints


async def until(condition: Callable[[], object]) -> None:
    """Let the loop go on until something is true; the test's own deadline ends a wait in vain."""
    while not condition():  # noqa: ASYNC110 - what is waited for is often the state of code that knows no event
        await asyncio.sleep(0.001)


@dataclass(frozen=True)
class Certificates:
    """The authorities of one cluster and what they have issued."""

    directory: Path
    cluster: str = "demo"

    def __post_init__(self) -> None:
        create_authorities(self.directory, self.cluster)
        for node_id in (1, 2, 3):
            issue_node(self.directory, node_id, ["127.0.0.1"])
        issue_user(self.directory, "alice")
        issue_user(self.directory, "root")
        issue_user(self.directory, "late", days=1, now=datetime.now(UTC) - timedelta(days=2))

    def node(self, node_id: int, name: AuthorityName = "peer") -> TlsFiles:
        return self._of(name, node_files(self.directory, node_id, name))

    def user(self, name: str = "alice") -> TlsFiles:
        return self._of("client", user_files(self.directory, name))

    def odd(self, name: AuthorityName, kind: IdentityKind, named: str, cluster: str = "demo") -> TlsFiles:
        """A certificate for both ends that no command of raftd would issue, under an authority that is trusted."""
        moment = datetime.now(UTC)
        stem = self.directory / f"odd-{cluster}-{kind.value}-{named}"
        files = KeyPairFiles(certificate=stem.with_suffix(".crt"), key=stem.with_suffix(".key"))
        usages = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
        names: list[x509.GeneralName] = []
        authority = issue._load_authority(self.directory, name, moment)
        identity = Identity(cluster, kind, named)
        issue._issue(authority, identity, names, usages, files, days=1, now=moment, overwrite=True)
        return self._of(name, files)

    def _of(self, name: AuthorityName, files: KeyPairFiles) -> TlsFiles:
        return TlsFiles(authority_files(self.directory, name).certificate, files.certificate, files.key)


@dataclass
class Remote:
    """The other end of a connection, which does what a test wants."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    frames: FrameReader = field(default_factory=lambda: FrameReader(1 << 22))
    payloads: list[bytes] = field(default_factory=list)

    async def payload(self) -> bytes:
        """The next frame's payload."""
        while not self.payloads:
            data = await self.reader.read(1 << 16)
            if not data:
                raise EOFError
            self.payloads += self.frames.feed(data)
        return self.payloads.pop(0)

    async def is_ended(self) -> bool:
        """Wait for the end of the connection, however it ends."""
        with contextlib.suppress(OSError):
            while await self.reader.read(1 << 16):
                pass
        await self.close()
        return True

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


async def dial(port: int, files: TlsFiles | ssl.SSLContext) -> Remote:
    context = files if isinstance(files, ssl.SSLContext) else client_context(files)
    return Remote(*await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=""))


@dataclass
class Owner:
    """A channel's owner that writes down what it hears."""

    on_frames: Callable[[Channel, list[bytes]], None] = lambda _, __: None
    opened: list[Channel] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    closed: list[Channel] = field(default_factory=list)

    def channel_opened(self, channel: Channel) -> None:
        self.opened.append(channel)

    def channel_frames(self, channel: Channel, payloads: list[bytes]) -> None:
        self.frames += payloads
        self.on_frames(channel, payloads)

    def channel_closed(self, channel: Channel) -> None:
        self.closed.append(channel)
