"""What snapshots cost one node: `python -m tests.bench.snapshot --keys 1000000`.

One raftd process, and a client that puts all keys, then overwrites them at a steady rate, first while no snapshot is
made and then while there is always one. The loop's stalls are seen from outside: a second client reads stale, which
waits for nothing but the loop, again and again, and the longest answer is about as long as the longest stall.
"""

import asyncio
import re
import sys
import time

import click

from raftd import events
from raftd.cli.output import run_main
from raftd.client import AsyncClient
from raftd.settings import Limits
from tests.bench.nodes import new_cluster, patient_client, run, set_limits
from tests.e2e.cluster import Cluster, NodeProcess, until

_MADE = re.compile(r"snapshot of entry \d+ made in ([\d.]+) s")
_READY = events.NODE_READY.text.partition("%")[0]
_FILLERS = 200
_PATIENCE_SECONDS = 900.0


class Latencies:
    """Seconds, of one kind of request."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def quantile(self, part: float) -> float:
        """In milliseconds; 0 if there are none."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(int(part * len(ordered)), len(ordered) - 1)] if ordered else 0.0

    def __str__(self) -> str:
        return (
            f"{len(self.seconds)} requests, p50 {self.quantile(0.5):.2f} ms, p99 {self.quantile(0.99):.2f} ms, "
            f"longest {self.quantile(1.0):.1f} ms"
        )


@click.command()
@click.option("--keys", type=click.IntRange(min=100), default=1_000_000, show_default=True, help="How many.")
@click.option("--value-bytes", type=click.IntRange(min=1), default=256, show_default=True, help="Of each value.")
@click.option("--per-second", type=click.IntRange(min=1), default=500, show_default=True, help="Puts while measuring.")
@click.option("--seconds", type=click.FloatRange(min=1), default=10.0, show_default=True, help="Without a snapshot.")
def bench(keys: int, value_bytes: int, per_second: int, seconds: float) -> None:
    """Measure puts with and without a snapshot, and a restart."""
    run(_measure(keys, value_bytes, per_second, seconds))


async def _measure(keys: int, value_bytes: int, per_second: int, seconds: float) -> None:
    with new_cluster(1) as cluster:
        node, value = cluster.nodes[1], bytes(value_bytes)
        set_limits(cluster, Limits(snapshot_log_bytes=64 << 30))
        await _start(cluster, "new")
        async with patient_client(cluster) as client, patient_client(cluster) as prober:
            began = time.monotonic()
            await _fill(client, keys, value)
            click.echo(f"{keys} keys of {value_bytes} bytes put in {time.monotonic() - began:.1f} s")
            await _steady("without a snapshot", client, prober, node, (keys, value, per_second, seconds))
        node.kill()
        # From now on there is always a snapshot being made.
        set_limits(cluster, Limits(snapshot_log_bytes=64 << 10))
        await _start(cluster, "with the log only")
        async with patient_client(cluster) as client, patient_client(cluster) as prober:
            await _steady("while snapshots are made", client, prober, node, (keys, value, per_second, 2 * seconds))
        click.echo(f"snapshots took: {', '.join(_MADE.findall(node.log))} s")
        node.kill()
        await _start(cluster, "with a snapshot")


async def _start(cluster: Cluster, title: str) -> None:
    began = time.monotonic()
    node = cluster.nodes[1]
    node.start()
    # Longer than a test would wait.
    await until(lambda: _READY in node.recent_log, "the node is ready", seconds=_PATIENCE_SECONDS)
    ready = time.monotonic() - began
    async with patient_client(cluster) as client:
        await client.get("key 0")
    click.echo(f"start, {title}: ready after {ready:.2f} s, answers after {time.monotonic() - began:.2f} s")


async def _fill(client: AsyncClient, keys: int, value: bytes) -> None:
    numbers = iter(range(keys))

    async def put_on() -> None:
        for number in numbers:
            await client.put(f"key {number}", value)

    await asyncio.gather(*(put_on() for _ in range(_FILLERS)))


async def _steady(
    title: str, client: AsyncClient, prober: AsyncClient, node: NodeProcess, load: tuple[int, bytes, int, float]
) -> None:
    """Overwrite keys at a steady rate, and ask the loop all the time how it is."""
    keys, value, per_second, seconds = load
    puts, probes, ended = Latencies(), Latencies(), asyncio.Event()

    async def put(number: int) -> None:
        began = time.monotonic()
        await client.put(f"key {number * 7919 % keys}", value)
        puts.seconds.append(time.monotonic() - began)

    async def probe() -> None:
        while not ended.is_set():
            began = time.monotonic()
            await prober.get("key 0", stale=True)
            probes.seconds.append(time.monotonic() - began)
            await asyncio.sleep(0.002)

    probing = asyncio.create_task(probe())
    began, tasks = time.monotonic(), list[asyncio.Task[None]]()
    for number in range(int(per_second * seconds)):
        tasks.append(asyncio.create_task(put(number)))
        await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
    await asyncio.gather(*tasks)
    ended.set()
    await probing
    click.echo(f"{title}: puts: {puts}\n{title}: stale gets: {probes}")
    click.echo(f"{title}: {node.resident_bytes >> 20} MiB")


if __name__ == "__main__":
    sys.exit(run_main(bench, "bench"))
