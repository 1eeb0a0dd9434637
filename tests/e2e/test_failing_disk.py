"""Disks that fail: nothing that was acknowledged is lost, and nothing is acknowledged that could be.

A file system in a sparse file on a tmpfs that is too small for it takes writes, and fails when they are to become
durable: fdatasync(2) says EIO, as it does on a disk that dies. It takes root, loop devices and mkfs.ext4.
"""

import asyncio
import contextlib
import dataclasses
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raftd.client import ClientError
from raftd.errors import ExitCode
from raftd.settings import Document
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import MakeCluster

_TOOLS = ("mkfs.ext4", "mount", "umount")
_IMAGE_MIB = 112
"""Room for a node's reserve of 64 MiB, its journal, and several segments of 4 MiB."""
_WHOLE_TMPFS_MIB = 2 * _IMAGE_MIB
_SEARCH_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_VALUE_BYTES = 256 << 10


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, env={**os.environ, "PATH": _SEARCH_PATH}
    )


@contextmanager
def mounted(what: Path | str, where: Path, *options: str) -> Iterator[Path]:
    """A file system that is mounted while the block runs."""
    where.mkdir(exist_ok=True)
    run("mount", *options, str(what), str(where))
    try:
        yield where
    finally:
        # Lazily if it must be: whatever still holds it, the tree must not keep it.
        with contextlib.suppress(subprocess.CalledProcessError):
            try:
                run("umount", str(where))
            except subprocess.CalledProcessError:
                run("umount", "--lazy", str(where))


def why_not(directory: Path) -> str:
    """What keeps these tests from running here; empty if nothing does."""
    if os.geteuid() != 0:
        return "only root may mount file systems"
    missing = [tool for tool in _TOOLS if shutil.which(tool, path=_SEARCH_PATH) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    try:
        with mounted("tmpfs", directory / "probe", "-t", "tmpfs", "-o", "size=8m") as probe:
            image = make_image(probe, 4)
            with mounted(image, directory / "probe-image", "-o", "loop"):
                return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"file systems cannot be mounted here: {getattr(error, 'stderr', '') or error}"


def make_image(directory: Path, mebibytes: int) -> Path:
    """An ext4 file system in a sparse file."""
    image = directory / "image"
    with image.open("wb") as file:
        file.truncate(mebibytes << 20)
    journal = ("-J", "size=4") if mebibytes == _IMAGE_MIB else ("-O", "^has_journal")
    run("mkfs.ext4", "-q", "-F", *journal, str(image))
    return image


@pytest.fixture
def disks(tmp_path: Path) -> Path:
    """Where file systems can be mounted."""
    if reason := why_not(tmp_path):
        print(f"skipped: {reason}")
        pytest.skip(reason)
    return tmp_path


def with_data_below(directory: Path) -> Callable[[int, Document], Document]:
    return lambda _, document: dataclasses.replace(document, data_directory=f"{directory}/data-{{node}}")


async def write_until_refused(cluster: Cluster) -> dict[str, bytes]:
    """Write large values until nothing is acknowledged any more; returns those that were."""
    acknowledged: dict[str, bytes] = {}
    async with cluster.client(timeout=3.0) as client:
        for number in range(1000):
            value = number.to_bytes(4, "little") * (_VALUE_BYTES // 4)
            try:
                await client.put(f"key-{number}", value)
            except ClientError:
                print(f"{len(acknowledged)} writes were acknowledged")
                assert acknowledged
                return acknowledged
            acknowledged[f"key-{number}"] = value
    raise AssertionError("the disk never failed")


async def check_there(cluster: Cluster, expected: dict[str, bytes]) -> None:
    async with cluster.client() as client:
        for key, value in expected.items():
            found = await client.get(key)
            assert found is not None, f"{key} is lost"
            assert found.value == value
        assert (await client.put("after", "all")).version == 1


@pytest.mark.e2e
def test_a_disk_that_cannot_sync_ends_the_node_before_it_answers(disks: Path, make_cluster: MakeCluster) -> None:
    """EIO from fdatasync: the process ends with one line, and once the disk works nothing acknowledged is lost."""

    async def scenario() -> None:
        with mounted("tmpfs", disks / "small", "-t", "tmpfs", "-o", "size=24m") as small:
            image = make_image(small, _IMAGE_MIB)
            cluster = make_cluster(1, changes=with_data_below(disks / "disk"))
            (node,) = cluster.nodes.values()
            with mounted(image, disks / "disk", "-o", "loop"):
                await cluster.start()
                acknowledged = await write_until_refused(cluster)
                assert await node.ended() == ExitCode.ERROR
                (line,) = [line for line in node.recent_log.splitlines() if " critical " in line]
                assert "cannot sync the log" in line
            run("mount", "-o", f"remount,size={_WHOLE_TMPFS_MIB}m", str(small))
            with mounted(image, disks / "disk", "-o", "loop"):
                try:
                    await cluster.start()
                    await check_there(cluster, acknowledged)
                finally:
                    cluster.kill()

    asyncio.run(scenario())


@pytest.mark.e2e
def test_a_full_disk_refuses_what_grows_and_loses_nothing(disks: Path, make_cluster: MakeCluster) -> None:
    """ENOSPC: puts are refused, deletes and reads go on; with space again puts do too, and everything is there."""

    async def scenario() -> None:
        with mounted("tmpfs", disks / "large", "-t", "tmpfs", "-o", f"size={_WHOLE_TMPFS_MIB}m") as large:
            image = make_image(large, _IMAGE_MIB)
            with mounted(image, disks / "disk", "-o", "loop") as disk:
                cluster = make_cluster(1, changes=with_data_below(disk))
                (node,) = cluster.nodes.values()
                try:
                    await cluster.start()
                    filler = disk / "filler"
                    fill(filler)
                    acknowledged = await write_until_refused(cluster)
                    async with cluster.client() as client:
                        assert (await client.delete("key-0")).deleted
                        del acknowledged["key-0"]
                        filler.unlink()
                        assert (await client.put("with space", "again")).version == 1
                    assert " critical " not in node.recent_log
                    cluster.kill()
                    await cluster.start()
                    await check_there(cluster, acknowledged)
                finally:
                    cluster.kill()

    asyncio.run(scenario())


def fill(filler: Path) -> None:
    """Take all the space that there is."""
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 20))
