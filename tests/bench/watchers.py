"""What watches cost: `python -m tests.bench.watchers`.

Three nodes, and a thousand watches of one prefix on the leader, while writers put into it as fast as they are answered.
What all together were told is counted, and must be all that was written, once for each. Then, on a node of its own each
time, what many watches hold in memory to which nothing happens.
"""

import asyncio
import sys
import time
from typing import Final

import click

from raftd.cli.output import OutputFormat, format_option, run_main
from raftd.client.connection import Connection
from raftd.kv.ranges import prefix_end
from raftd.wire.client import RequestKind, ResponseKind, decode_refusal
from raftd.wire.watch import WatchFlag, WatchRequest, decode_changes_head, encode_watch_body
from tests.bench.figures import Figure, show_figures
from tests.bench.nodes import connections, new_cluster, patient_client, run
from tests.bench.processes import cpu_seconds
from tests.bench.subjects import NODES, BenchError
from tests.e2e.cluster import Cluster, until

EVENTS_PER_SECOND_MIN: Final = 50_000.0
IDLE_MIB_MAX: Final = 100.0
IDLE_WATCHES: Final = 10_000

_PREFIX: Final = b"watched/"
_VALUE: Final = bytes(256)
_PATIENCE_SECONDS: Final = 120.0


class Tally:
    """What all watches together were told; a stream of each takes it in."""

    def __init__(self) -> None:
        self.begun = 0
        self.changes = 0
        self.ended: str | None = None
        self.last_at = 0.0

    def received(self, kind: ResponseKind, payload: bytes) -> None:
        """Count a frame of any watch."""
        if kind is ResponseKind.CHANGES:
            self.changes += decode_changes_head(payload).change_count
            self.last_at = time.monotonic()
        elif kind is ResponseKind.WATCHING:
            self.begun += 1
        elif kind is ResponseKind.REFUSED:
            self.ended = str(decode_refusal(payload))
        else:
            self.ended = kind.name

    def lost(self, reason: str) -> None:
        """Note the end of a connection."""
        self.ended = reason

    async def reach(self, *, begun: int, changes: int) -> None:
        """Wait until so many watches have begun and so many changes were told, and see that these are not more."""

        def is_there() -> bool:
            if self.ended is not None:
                raise BenchError(f"a watch has ended: {self.ended}")
            return self.begun >= begun and self.changes >= changes

        await until(is_there, f"{begun} watches are told {changes} changes", seconds=_PATIENCE_SECONDS)
        if (self.begun, self.changes) != (begun, changes):
            raise BenchError(f"{self.changes} changes were told, and {changes} were to be")


@click.command()
@click.option("--watchers", type=click.IntRange(min=1), default=1000, show_default=True, help="Of one prefix.")
@click.option("--writers", type=click.IntRange(min=1), default=100, show_default=True, help="That put at once.")
@click.option("--seconds", type=click.FloatRange(min=0.5), default=5.0, show_default=True, help="How long they put.")
@click.option("--many", type=click.IntRange(min=1), default=500, show_default=True, help="Connections, if many.")
@format_option
def bench(watchers: int, writers: int, seconds: float, many: int, output_format: OutputFormat) -> None:
    """Measure how much watches are told in a second, and what idle ones hold."""
    show_figures(run(_measure(watchers, writers, seconds, many)), output_format)


async def _measure(watchers: int, writers: int, seconds: float, many: int) -> list[Figure]:
    figures: list[Figure] = []
    with new_cluster(NODES) as cluster:
        await cluster.start()
        for connection_count in (min(100, watchers), min(many, watchers)):
            figures += await _delivery(cluster, watchers, connection_count, writers, seconds)
    for what, number_of_prefixes in (("of one prefix", 1), ("of a prefix each", IDLE_WATCHES)):
        with new_cluster(1) as cluster:
            await cluster.start()
            figures += await _idle(cluster, what, number_of_prefixes)
    return figures


async def _delivery(
    cluster: Cluster, watchers: int, connection_count: int, writers: int, seconds: float
) -> list[Figure]:
    leader, tally = await cluster.leader(), Tally()
    async with (
        connections(cluster, leader.endpoint, connection_count) as opened,
        patient_client(cluster, leader.endpoint) as client,
    ):
        for number in range(watchers):
            await _watch(opened[number % connection_count], _PREFIX, tally)
        await tally.reach(begun=watchers, changes=0)
        began, cpu_began = time.monotonic(), cpu_seconds(leader.pid)

        async def write(writer: int) -> int:
            puts = 0
            while time.monotonic() < began + seconds:
                await client.put(_PREFIX + b"%d" % writer, _VALUE)
                puts += 1
            return puts

        puts = sum(await asyncio.gather(*map(write, range(writers))))
        answered_at = time.monotonic()
        await tally.reach(begun=watchers, changes=watchers * puts)
        taken = tally.last_at - began
        share = (cpu_seconds(leader.pid) - cpu_began) / taken
    where = f"{watchers} watches on {connection_count} connections"
    return [
        Figure(f"{where}: told in all", tally.changes / taken, "events/s", at_least=EVENTS_PER_SECOND_MIN),
        Figure(f"{where}: puts", puts / (answered_at - began), "puts/s"),
        Figure(f"{where}: told after the last put", max(0.0, tally.last_at - answered_at) * 1e3, "ms"),
        Figure(f"{where}: leader", 100 * share, "% of a core"),
    ]


async def _idle(cluster: Cluster, what: str, number_of_prefixes: int) -> list[Figure]:
    node = await cluster.leader()  # until it leads, it refuses watches
    tally = Tally()
    before = node.resident_bytes
    async with connections(cluster, node.endpoint, 100) as opened:
        between = node.resident_bytes
        for number in range(IDLE_WATCHES):
            prefix = b"%s%05d/" % (_PREFIX, number % number_of_prefixes)
            await _watch(opened[number % len(opened)], prefix, tally)
        await tally.reach(begun=IDLE_WATCHES, changes=0)
        after = node.resident_bytes
    title = f"{IDLE_WATCHES} idle watches {what}"
    return [
        Figure(title, (after - between) / (1 << 20), "MiB", at_most=IDLE_MIB_MAX),
        Figure(f"{title}: their 100 connections", (between - before) / (1 << 20), "MiB"),
    ]


async def _watch(connection: Connection, prefix: bytes, tally: Tally) -> None:
    request = WatchRequest(WatchFlag(0), 0, prefix, prefix_end(prefix))
    await connection.reserve()
    connection.open_stream(RequestKind.WATCH, encode_watch_body(request), tally)


if __name__ == "__main__":
    sys.exit(run_main(bench, "bench"))
