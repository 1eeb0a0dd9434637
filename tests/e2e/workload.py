"""Clients that write while things happen to the cluster, and what must be true of what they wrote."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from raftd.client import AsyncClient, CompareFailed
from tests.e2e.cluster import Cluster, until

COUNTER = "shared/counter"
_THINKING_SECONDS = 0.005
"""Between two rounds of a writer: enough load to always have writes under way, and time left for the nodes' work."""


@dataclass
class Writer:
    """One client, with a key of its own and a part in a counter that all writers share.

    Its deadline is far off, so whatever error a call ends in fails the test.
    """

    client: AsyncClient
    name: str
    puts: int = 0
    """Acknowledged puts to its own key; each has a value that no other has."""
    increments: int = 0
    """Acknowledged increments of the shared counter."""
    revisions: list[int] = field(default_factory=list)
    """Of all acknowledged writes."""

    @property
    def key(self) -> str:
        return f"own/{self.name}"

    @property
    def value(self) -> str:
        """What its own key must hold now."""
        return f"{self.name} {self.puts}"

    async def run(self, stopping: asyncio.Event) -> None:
        """Write until told to stop."""
        while not stopping.is_set():
            await self.put()
            await self.increment()
            await asyncio.sleep(_THINKING_SECONDS)

    async def put(self) -> None:
        """Write the next value; the version tells how many puts were applied to the key."""
        result = await self.client.put(self.key, f"{self.name} {self.puts + 1}")
        self.puts += 1
        assert result.version == self.puts, f"{self.key}: put {self.puts} made version {result.version}"
        self.revisions.append(result.revision)

    async def increment(self) -> None:
        """Add one to the counter, unless another writer has been faster."""
        found = await self.client.get(COUNTER)
        count, revision = (0, 0) if found is None else (int(found.value), found.modify_revision)
        try:
            result = await self.client.put(COUNTER, str(count + 1), expected_revision=revision)
        except CompareFailed as error:
            # Otherwise a repeated sending has failed, and the counter's check at the end shows it.
            if error.current_revision > revision:
                return
            raise
        self.increments += 1
        self.revisions.append(result.revision)


@asynccontextmanager
async def writing(cluster: Cluster, count: int = 8) -> AsyncIterator[list[Writer]]:
    """Writers that write until the block ends, and whose failure fails the block."""
    stopping = asyncio.Event()
    writers = [Writer(cluster.client(), f"writer-{number}") for number in range(1, count + 1)]
    try:
        async with asyncio.TaskGroup() as tasks:
            for writer in writers:
                tasks.create_task(writer.run(stopping))
            try:
                yield writers
            finally:
                stopping.set()
    finally:
        await asyncio.gather(*(writer.client.close() for writer in writers))


def acknowledged(writers: Sequence[Writer]) -> int:
    """How many writes of all writers were acknowledged."""
    return sum(writer.puts + writer.increments for writer in writers)


async def more_writes(writers: Sequence[Writer], count: int) -> None:
    """Wait until so many writes more have been acknowledged."""
    goal = acknowledged(writers) + count
    await until(lambda: acknowledged(writers) >= goal, f"{count} more writes")


async def check_exactly_once(cluster: Cluster, writers: Sequence[Writer], *, other_writes: int = 0) -> None:
    """Every acknowledged write is there, and none was applied twice.

    Args:
        cluster: Asked for what is there.
        writers: All that wrote.
        other_writes: How many writes besides theirs were acknowledged.
    """
    async with cluster.client() as client:
        for writer in writers:
            found = await client.get(writer.key)
            assert found is not None, f"{writer.key} is lost"
            assert (found.value.decode(), found.version) == (writer.value, writer.puts)
        counter = await client.get(COUNTER)
    increments = sum(writer.increments for writer in writers)
    assert counter is not None
    assert (int(counter.value), counter.version) == (increments, increments)
    revisions = [revision for writer in writers for revision in writer.revisions]
    assert len(set(revisions)) == len(revisions)
    # Each write that was applied took a revision, so a second application would show here.
    assert counter.revision == len(revisions) + other_writes


class Operation(NamedTuple):
    """One read or write of a register: when it was under way, and the number that it read or wrote."""

    start: float
    end: float
    number: int


@dataclass
class Register:
    """A key to which one client writes 1, 2, 3, … while others read it.

    With one writer and growing numbers, a history is linearizable if and only if no read gives a number that was
    overwritten by an acknowledged write before the read began, or not yet begun to be written when it ended, and no
    read gives a number below that of a read that ended before it began.
    """

    key: str = "register"
    writes: list[Operation] = field(default_factory=list)
    reads: list[Operation] = field(default_factory=list)

    async def write_on(self, client: AsyncClient, stopping: asyncio.Event) -> None:
        """Write number after number."""
        time = asyncio.get_running_loop().time
        while not stopping.is_set():
            number = len(self.writes) + 1
            start = time()
            await client.put(self.key, str(number))
            self.writes.append(Operation(start, time(), number))
            await asyncio.sleep(_THINKING_SECONDS)

    async def read_on(self, client: AsyncClient, stopping: asyncio.Event) -> None:
        """Read again and again."""
        time = asyncio.get_running_loop().time
        while not stopping.is_set():
            start = time()
            found = await client.get(self.key)
            self.reads.append(Operation(start, time(), 0 if found is None else int(found.value)))
            await asyncio.sleep(_THINKING_SECONDS)

    def check(self) -> None:
        """Fail unless the history is linearizable."""
        stale = [
            (read, low, high)
            for read in self.reads
            for low in [max((write.number for write in self.writes if write.end < read.start), default=0)]
            for high in [sum(write.start < read.end for write in self.writes) + 1]
            if not low <= read.number <= high
        ]
        assert not stale, f"reads outside of what was possible: {stale[:5]}"
        newest_ended, by_end = 0, iter(sorted(self.reads, key=lambda read: read.end))
        ended = next(by_end, None)
        for read in sorted(self.reads):
            while ended is not None and ended.end < read.start:
                newest_ended = max(newest_ended, ended.number)
                ended = next(by_end, None)
            assert read.number >= newest_ended, f"{read} goes back behind {newest_ended}, which was read before"
