"""Each key command of `raftctl`, in processes of its own, while a cluster of three loses its leader."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from raftd.client import AsyncClient, KeyValue, Put
from tests.e2e.cluster import PATIENCE_SECONDS, Cluster, until, until_found
from tests.e2e.conftest import MakeCluster

pytestmark = pytest.mark.e2e

PROGRAM: Final = (sys.executable, "-c", "from raftd.cli.raftctl import main; main()")
INCREMENTS: Final = 5


class Raftctl:
    """Runs `raftctl` against a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.directory = cluster.directory
        self.config = cluster.directory / "raftctl.yaml"
        tls = cluster.tls
        self.config.write_text(
            f"endpoints: [{', '.join(cluster.endpoints)}]\n"
            f"cacert: {tls.cacert}\ncert: {tls.cert}\nkey: {tls.key}\ntimeout: {PATIENCE_SECONDS:g}s\n"
        )

    @property
    def command(self) -> str:
        """For a shell that one of these starts."""
        return " ".join(f"'{word}'" for word in (*PROGRAM, "--config", self.config))

    async def start(self, *arguments: str, stdin: int = asyncio.subprocess.DEVNULL) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(*PROGRAM, "--config", str(self.config), *arguments),
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )

    async def run(self, *arguments: str, code: int = 0, given: bytes | None = None) -> bytes:
        """Run it to its end, and return what it printed."""
        process = await self.start(*arguments, stdin=asyncio.subprocess.PIPE)
        async with asyncio.timeout(2 * PATIENCE_SECONDS):
            output, error = await process.communicate(given)
        assert process.returncode == code, (arguments, process.returncode, output[-1000:], error)
        assert b"Traceback" not in error
        return output

    async def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(await self.run(*arguments, "-o", "json", code=code))

    @contextlib.asynccontextmanager
    async def running(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run it for the length of a block; Ctrl-C must end it well."""
        process = await self.start(*arguments)
        try:
            yield process
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
            async with asyncio.timeout(PATIENCE_SECONDS):
                error = await process.stderr.read() if process.stderr is not None else b""
                await process.wait()
            assert (process.returncode, error) == (0, b""), arguments
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def line_of(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await process.stdout.readline()


async def kill_leader(cluster: Cluster) -> int:
    """Kill it, and return which node that was."""
    await cluster.until_proven()
    leader = await cluster.leader()
    leader.kill()
    return leader.id


async def prepare(client: AsyncClient) -> int:
    """Give each command what it works on; returns a lease."""
    await (
        client.transaction()
        .then(
            *(Put(f"page/{number}", f"{number}") for number in range(100)),
            Put("state", "old"),
            Put("gone", "1"),
            Put("many/1", ""),
            Put("many/2", ""),
        )
        .commit()
    )
    lease = await client.grant_lease(60)
    await client.put("leased", "1", lease=lease.id)
    return lease.id


def test_single_commands_while_the_leader_is_killed(make_cluster: MakeCluster) -> None:
    """All of them at once, begun around the kill: each does what it says, and exactly once."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        await cluster.leader()
        raftctl = Raftctl(cluster)
        async with cluster.client() as client:
            lease = str(await prepare(client))

            async def counting() -> KeyValue | None:
                return await client.get("count")

            text = b"if\n value state != x\nthen\n put txn 1\n increment txn-count\nelse\n get state\n"
            async with asyncio.TaskGroup() as tasks:

                def begin(*arguments: str, **options: Any) -> "asyncio.Task[bytes]":
                    return tasks.create_task(raftctl.run(*arguments, **options))

                got = begin("get", "state", "--stale")
                listed = begin("list", "page/", "--keys-only")
                written = begin("set", "from-stdin", "-", given=b"a\xff\n")
                begin("set", "only-once", "1", "--if-absent")
                begin("cas", "state", "old", "new")
                begin("del", "gone")
                begin("del", "many/", "--prefix")
                begin("txn", given=text)
                increments = [begin("incr", "count") for _ in range(INCREMENTS)]
                await until_found(counting, "some are done already", every=0.001)
                await kill_leader(cluster)
                counted = begin("get", "page/", "--prefix", "--count")
                shown = begin("lease", "show", lease)
                leases = begin("lease", "list")
                granted = begin("lease", "grant", "30s", "-o", "json")
                history = begin("history", "page/1", "-o", "json", "--values")
                exported = begin("export", "page/")
                begin("lock", "locks/a", "--", "true")
                begin("elect", "leaders/a", "me", "--", "sh", "-c", "exit 7", code=7)
                begin("get", "no-such-key", code=3)
            assert got.result() in {b"old\n", b"new\n"}
            assert listed.result().count(b"\n") == 100
            assert b"version   1" in written.result()
            assert counted.result() == b"100\n"
            assert b"leased" in shown.result()
            assert lease.encode() in leases.result()
            assert json.loads(granted.result())["ttl_seconds"] == 30
            assert [each["value"] for each in json.loads(history.result())] == ["1"]
            assert exported.result().count(b"\n") == 102
            assert all(b"revision" in each.result() for each in increments)
            assert await raftctl.run("get", "count") == b"%d\n" % INCREMENTS
            assert await raftctl.run("get", "--raw", "from-stdin") == b"a\xff\n"
            assert await raftctl.run("get", "txn-count") == b"1\n"
            assert await raftctl.run("get", "state") == b"new\n"
            assert (await raftctl.json("lease", "revoke", lease))["deleted"] == 1
            assert await client.get("leased") is None
            for key in ("gone", "many/1", "many/2"):
                assert await client.get(key) is None

    asyncio.run(scenario())


def test_what_goes_on_while_the_leader_is_killed(make_cluster: MakeCluster) -> None:
    """A watch, its command, a lock, an election and a lease: none ends, and no change is missing or comes twice."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        await cluster.leader()
        raftctl = Raftctl(cluster)
        out, done = cluster.directory / "seen", cluster.directory / "done"
        async with cluster.client() as client, contextlib.AsyncExitStack() as stack:
            lease = (await client.grant_lease(8)).id
            kept = await stack.enter_async_context(raftctl.running("lease", "keep-alive", str(lease)))
            assert b"lease" in await line_of(kept)
            start = str((await client.put("w/0", "0")).revision)
            watching = ("watch", "w/", "--prefix", "--revision", start)
            watch = await stack.enter_async_context(raftctl.running(*watching, "-o", "json"))
            script = f'echo "$RAFTCTL_CHANGE_KEY" >> {out}'
            await stack.enter_async_context(raftctl.running(*watching, "--", "sh", "-c", script))
            elected = await stack.enter_async_context(raftctl.running("elect", "leaders/e", "me", "-o", "json"))
            observer = await stack.enter_async_context(raftctl.running("elect", "leaders/e", "--observe", "-o", "json"))
            script = f"echo held; while [ ! -e {done} ]; do sleep 0.05; done; {raftctl.command} incr --fenced fenced"
            locked = await raftctl.start("lock", "locks/b", "--", "sh", "-c", script)
            assert json.loads(await line_of(watch))["key"] == "w/0"
            token = json.loads(await line_of(elected))["token"]
            assert await line_of(locked) == b"held\n"
            waiting = asyncio.create_task(raftctl.run("lock", "locks/b", "--", f"{sys.executable}", "-c", "print(1)"))
            before = asyncio.create_task(write(client, range(1, 200)))
            killed = await kill_leader(cluster)
            await before
            await cluster.start(killed)
            await write(client, range(200, 250))
            keys = [json.loads(await line_of(watch))["key"] for _ in range(249)]
            assert keys == [f"w/{number}" for number in range(1, 250)]
            done.touch()
            async with asyncio.timeout(PATIENCE_SECONDS):
                output, error = await locked.communicate()
            assert (locked.returncode, error) == (0, b""), output
            assert await waiting == b"1\n"
            assert b"fenced" in output
            seen: list[dict[str, Any]] = []
            while not seen or seen[-1] != {"token": token, "leader": "me"}:
                seen.append(json.loads(await line_of(observer)))
            assert len(seen) <= 2, "the leader changed"
            await until(lambda: out.read_bytes().count(b"\n") >= 250, "the command has seen all changes")
            assert out.read_text().split() == [f"w/{number}" for number in range(250)]
            assert (await client.lease_info(lease)).remaining > 0
        await cluster.agreement()

    asyncio.run(scenario())


async def write(client: AsyncClient, numbers: Sequence[int]) -> None:
    for number in numbers:
        await client.put(f"w/{number}", f"{number}")


def test_import_and_export_through_a_kill(make_cluster: MakeCluster) -> None:
    """An import that loses its leader in the middle goes on by itself; what is exported then is what was imported."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        await cluster.leader()
        raftctl = Raftctl(cluster)
        async with cluster.client() as client:
            for first in range(0, 1_000, 100):
                keys = (Put(f"from/{number:05}", os.urandom(8)) for number in range(first, first + 100))
                await client.transaction().then(*keys).commit()
            paths = [cluster.directory / name for name in ("a.jsonl", "b.jsonl")]
            await raftctl.run("--namespace", "from/", "export", "--file", str(paths[0]))

            async def has_begun() -> bool | None:
                return await client.count(prefix="copy/") >= 128 or None

            importing = asyncio.create_task(raftctl.json("--namespace", "copy/", "import", str(paths[0])))
            await until_found(has_begun, "the import has begun", every=0.001)
            await kill_leader(cluster)
            assert (await importing)["written"] == 1_000
            await raftctl.run("--namespace", "copy/", "export", "--file", str(paths[1]))
            assert entries(paths[0]) == entries(paths[1])
            listed = await raftctl.run("--namespace", "copy/", "list", "--values", "-o", "json")
            assert len(listed.splitlines()) == 1_000

    asyncio.run(scenario())


def entries(path: Path) -> list[bytes]:
    """What a file has between its first and its last line, which tell of the revision."""
    return path.read_bytes().splitlines()[1:-1]
