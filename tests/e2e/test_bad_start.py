"""What a node cannot start with: one clear line, the right exit code, no traceback, and nothing changed or lost."""

import asyncio
import dataclasses
import os
import re
import shutil
import signal
import socket
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from raftd.errors import ExitCode
from raftd.pki import issue_node, node_files
from raftd.settings import Address, Document, render
from tests.e2e.cluster import Cluster, NodeProcess, own_address
from tests.e2e.conftest import MakeCluster

pytestmark = pytest.mark.e2e

_BESIDES = re.compile(r"\S+ (info|warning) |raftd:     ")
"""Lines that are no complaint: what is not wrong, and the excerpt from the settings below what is."""
_CUTS = (1, 64, 511)
"""After how many bytes a write of the log is torn; the smallest write is a sector of 512."""


async def complaint(node: NodeProcess, code: ExitCode) -> str:
    """Start a node that cannot run; returns the one line that it says of it."""
    node.start()
    assert await node.ended() == code, node.recent_log
    lines = [line for line in node.recent_log.splitlines() if not _BESIDES.match(line)]
    assert len(lines) == 1, node.recent_log
    return lines[0]


def single(cluster: Cluster) -> NodeProcess:
    (node,) = cluster.nodes.values()
    return node


@pytest.mark.parametrize(
    ("addition", "said"),
    [("colour: blue\n", "colour"), ("data_directory: elsewhere\n", "data_directory"), ("limits: [\n", "YAML")],
)
def test_settings_that_cannot_be_meant_are_refused(make_cluster: MakeCluster, addition: str, said: str) -> None:
    """A key that does not exist, one that is there twice, what is not YAML: exit code 78, and the place in the file."""
    node = single(make_cluster(1))
    node.settings.write_text(node.settings.read_text() + addition)
    line = asyncio.run(complaint(node, ExitCode.CONFIGURATION))
    assert said in line
    assert f"{node.settings}:" in line


@pytest.mark.parametrize("port", ["client", "peer", "http"])
def test_a_port_in_use_is_named(make_cluster: MakeCluster, port: str) -> None:
    """Whoever holds one of the three ports keeps it, and the message has the address."""
    node = single(make_cluster(1))
    address: Address = getattr(node.addresses, f"{port}_address")
    with socket.create_server((address.host, address.port)):
        assert str(address) in asyncio.run(complaint(node, ExitCode.ERROR))


def spoil_key(pki: Path) -> Path:
    """Make a key that cannot be read: not even by its owner, and for root, whom modes do not stop, not at all."""
    key = node_files(pki, 1, "client").key
    if os.geteuid() == 0:
        key.unlink()
    else:
        key.chmod(0)
    return key


def spoil_time(pki: Path) -> Path:
    """Issue a certificate that expired long ago."""
    long_ago = datetime.now(UTC) - timedelta(days=800)
    return issue_node(pki, 1, [own_address()], overwrite=True, now=long_ago).client.certificate


def spoil_owner(pki: Path) -> Path:
    """Give a node the certificate of another one."""
    for port in ("peer", "client"):
        theirs, ours = node_files(pki, 2, port), node_files(pki, 1, port)
        shutil.copyfile(theirs.certificate, ours.certificate)
        shutil.copyfile(theirs.key, ours.key)
    return node_files(pki, 1, "client").certificate


@pytest.mark.parametrize("spoil", [spoil_key, spoil_time, spoil_owner])
def test_certificates_that_cannot_work_are_refused(
    pki: Path, tmp_path: Path, make_cluster: MakeCluster, spoil: Callable[[Path], Path]
) -> None:
    """An unreadable key, an expired certificate, another node's: exit code 7, and the file's name."""
    own_pki = tmp_path / "pki"
    shutil.copytree(pki, own_pki)
    spoilt = spoil(own_pki)

    def use_own_pki(_: int, document: Document) -> Document:
        return dataclasses.replace(
            document,
            tls=dataclasses.replace(
                document.tls,
                **{
                    port: dataclasses.replace(
                        getattr(document.tls, port),
                        **{
                            name: getattr(getattr(document.tls, port), name).replace(str(pki), str(own_pki))
                            for name in ("authority", "certificate", "key")
                        },
                    )
                    for port in ("peer", "client")
                },
            ),
        )

    node = single(make_cluster(1, changes=use_own_pki))
    assert str(spoilt) in asyncio.run(complaint(node, ExitCode.TLS))


async def write_some(cluster: Cluster, *, prefix: str = "key", count: int = 20) -> dict[str, bytes]:
    """Write keys one after the other, so that the log has as many batches."""
    async with cluster.client() as client:
        for number in range(count):
            await client.put(f"{prefix}-{number}", f"{prefix} {number}")
    return {f"{prefix}-{number}": f"{prefix} {number}".encode() for number in range(count)}


async def check_there(cluster: Cluster, expected: dict[str, bytes]) -> None:
    async with cluster.client() as client:
        for key, value in expected.items():
            found = await client.get(key)
            assert found is not None, f"{key} is lost"
            assert found.value == value


def test_data_of_others_is_refused(make_cluster: MakeCluster) -> None:
    """Another node's or cluster's data directory: exit code 78, and the data is as it was for whom it belongs to."""

    async def scenario() -> None:
        cluster = make_cluster(1)
        node = single(cluster)
        await cluster.start()
        written = await write_some(cluster)
        cluster.kill()
        stranger = make_cluster(2)
        data = cluster.directory / "data" / "1"
        own_settings = node.settings.read_text()

        shutil.copytree(data, stranger.directory / "data" / "2")
        stranger.nodes[2].settings.write_text(
            render(dataclasses.replace(stranger.document, cluster=cluster.document.cluster))
        )
        assert "belongs to node 1" in await complaint(stranger.nodes[2], ExitCode.CONFIGURATION)

        other = dataclasses.replace(cluster.document.cluster, id=uuid.uuid4())
        node.settings.write_text(render(dataclasses.replace(cluster.document, cluster=other)))
        assert "belongs to cluster" in await complaint(node, ExitCode.CONFIGURATION)

        node.settings.write_text(own_settings)
        await cluster.start()
        await check_there(cluster, written)

    asyncio.run(scenario())


def test_a_data_directory_has_one_process(make_cluster: MakeCluster) -> None:
    """A second process for the same node: exit code 78, and the first goes on; a dead one's lock holds up nobody."""

    async def scenario() -> None:
        cluster = make_cluster(1)
        node = single(cluster)
        await cluster.start()
        written = await write_some(cluster)
        second = NodeProcess(node.addresses, node.settings, cluster.directory / "second.log")
        assert "in use" in await complaint(second, ExitCode.CONFIGURATION)
        await check_there(cluster, written)
        cluster.kill()
        await cluster.start()
        await check_there(cluster, written)

    asyncio.run(scenario())


def newest_segment(cluster: Cluster) -> Path:
    return max((cluster.directory / "data" / "1" / "wal").glob("*.wal"))


def test_a_half_written_end_of_the_log_is_cut_off(make_cluster: MakeCluster) -> None:
    """A write that the crash tore is forgotten, for nobody was told of it; everything before it is there."""

    async def scenario() -> None:
        cluster = make_cluster(1)
        node = single(cluster)
        await cluster.start()
        written = await write_some(cluster)
        node.signal(signal.SIGTERM)
        assert await node.ended() == ExitCode.OK
        segment = newest_segment(cluster)
        before = segment.read_bytes()
        end = -(-len(before.rstrip(b"\0")) // 512) * 512
        await cluster.start()
        await write_some(cluster, prefix="later", count=1)
        cluster.kill()
        after = segment.read_bytes()
        assert after[:end] == before[:end]
        for cut in _CUTS:
            torn = bytearray(before)
            torn[end : end + cut] = after[end : end + cut]
            segment.write_bytes(torn)
            await cluster.start()
            await check_there(cluster, written)
            cluster.kill()

    asyncio.run(scenario())


def test_damage_in_the_middle_of_the_log_is_refused(make_cluster: MakeCluster) -> None:
    """One flipped bit among what was acknowledged: exit code 9 with file and offset, and nothing is cut off."""

    async def scenario() -> None:
        cluster = make_cluster(1)
        node = single(cluster)
        await cluster.start()
        written = await write_some(cluster)
        cluster.kill()
        segment = newest_segment(cluster)
        good = segment.read_bytes()
        place = good.index(b"key 10")
        segment.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        line = await complaint(node, ExitCode.CORRUPTION)
        assert str(segment) in line
        assert str(place // 512 * 512) in line
        segment.write_bytes(good)
        await cluster.start()
        await check_there(cluster, written)

    asyncio.run(scenario())
