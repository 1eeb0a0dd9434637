"""Connections that no well-behaved client or node makes, byte by byte."""

import asyncio
import contextlib
import dataclasses
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeAlias

from raftd.pki import KeyPairFiles
from raftd.settings import Address
from raftd.wire.frames import FrameReader, encode_frame
from raftd.wire.handshake import HandshakeReply, Hello, decode_reply, encode_hello

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]

LINGER_NOT = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: closing resets the connection (socket(7))."""


@dataclasses.dataclass(frozen=True)
class Credentials:
    """What somebody shows, and whom they trust."""

    authority: Path
    pair: KeyPairFiles | None

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.authority)
        if self.pair is not None:
            context.load_cert_chain(self.pair.certificate, self.pair.key)
        return context


@contextlib.asynccontextmanager
async def dialled(address: Address, credentials: Credentials | None = None) -> AsyncIterator[Streams]:
    """A connection, with TLS if there are credentials; it is gone after the block, by whatever side."""
    context = None if credentials is None else credentials.context()
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def ended_by_other_side(reader: asyncio.StreamReader, *, seconds: float = 10.0) -> bytes:
    """Read until the other side ends the connection, however it does; returns what it said before."""
    said = bytearray()
    async with asyncio.timeout(seconds):
        with contextlib.suppress(OSError):  # a reset, or a TLS alert
            while data := await reader.read(1 << 16):
                said += data
    return bytes(said)


async def say_hello(streams: Streams, hello: Hello) -> HandshakeReply:
    """Send a Hello and read the answer."""
    reader, writer = streams
    writer.write(encode_frame(encode_hello(hello)))
    frames = FrameReader(1 << 12)
    while not (payloads := frames.feed(await reader.read(1 << 12))):
        pass
    return decode_reply(payloads[0])


def silent_connection(address: Address) -> socket.socket:
    """A TCP connection on which nothing is said."""
    connection = socket.create_connection((address.host, address.port), timeout=5.0)
    connection.setblocking(False)
    return connection


def client_hello(credentials: Credentials) -> bytes:
    """The first flight of a TLS handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        credentials.context().wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()
