"""What many keys cost: `python -m tests.bench.keys --keys 1000000`.

Two clusters of one node each, the second with a tenth of the keys of the first. The first tells how much memory a node
holds and how fast a prefix is listed. Both, asked in turn, tell whether a small prefix is read and counted as fast
whatever other keys there are.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final

import click

from raftd.cli.output import OutputFormat, format_option, run_main, warn
from raftd.client import AsyncClient
from raftd.client.load import LoadMode, LoadPlan, run_load
from tests.bench.figures import Figure, show_figures
from tests.bench.nodes import new_cluster, patient_client, run
from tests.bench.processes import cpu_seconds, resident_bytes_max
from tests.bench.subjects import BenchError
from tests.e2e.cluster import Cluster, NodeProcess

RESIDENT_GIB_MAX: Final = 1.0
LISTED_PER_SECOND_MIN: Final = 100_000.0
RATIO_MAX: Final = 1.25
"""Ten times as many other keys may make so much of a difference: a search of sorted keys has a few steps more."""

_VALUE_BYTES: Final = 256
_ALL: Final = b"bench/"
_FEW: Final = b"few/"
_FEW_COUNT: Final = 100
_LISTINGS: Final = 3

Question = Callable[[AsyncClient], Awaitable[object]]


@click.command()
@click.option("--keys", type=click.IntRange(min=10_000), default=1_000_000, show_default=True, help="How many.")
@click.option(
    "--questions", type=click.IntRange(min=10), default=2000, show_default=True, help="Of each kind, to each."
)
@format_option
def bench(keys: int, questions: int, output_format: OutputFormat) -> None:
    """Put many keys, and measure memory, listing, ranges and counts."""
    show_figures(run(_measure(keys, questions)), output_format)


async def _measure(keys: int, questions: int) -> list[Figure]:
    with new_cluster(1) as large, new_cluster(1) as small:
        await asyncio.gather(large.start(), small.start())
        await _fill(small, keys // 10)
        await _fill(large, keys)
        figures = [_resident(large, "after the puts")]
        async with patient_client(large) as of_large, patient_client(small) as of_small:
            for keys_only in (True, False):
                figures += await _listing(of_large, large.nodes[1], keys, keys_only=keys_only)
            figures += await _independence((of_large, of_small), questions)
        await _put(large, keys // 10, keys)
        figures.append(_resident(large, "after a tenth was put again"))
        figures.append(Figure("resident, at most so far", resident_bytes_max(large.nodes[1].pid) / (1 << 30), "GiB"))
        return figures


async def _fill(cluster: Cluster, keys: int) -> None:
    """Put all keys, and some of another prefix."""
    began = time.monotonic()
    await _put(cluster, keys, keys)
    async with patient_client(cluster) as client:
        await asyncio.gather(
            *(client.put(_FEW + b"%03d" % number, bytes(_VALUE_BYTES)) for number in range(_FEW_COUNT))
        )
        found = await client.count(prefix=_ALL)
    if found != keys:
        raise BenchError(f"there are {found} keys, and {keys} were put")
    warn("bench", f"{keys} keys of {_VALUE_BYTES} bytes put in {time.monotonic() - began:.1f} s")


async def _put(cluster: Cluster, puts: int, keys: int) -> None:
    """Puts of keys that the load generator spreads over `keys`; as many puts as keys are one for each."""
    plan = LoadPlan(LoadMode.PUT, 10, 50, requests=puts, value_bytes=_VALUE_BYTES, key_count=keys)
    await run_load(cluster.endpoints, cluster.tls, plan)


def _resident(cluster: Cluster, when: str) -> Figure:
    gibibytes = cluster.nodes[1].resident_bytes / (1 << 30)
    return Figure(f"resident, {when}", gibibytes, "GiB", at_most=RESIDENT_GIB_MAX)


async def _listing(client: AsyncClient, node: NodeProcess, keys: int, *, keys_only: bool) -> list[Figure]:
    """All pages of the large prefix, one after the other, each decoded into objects as a program gets them."""
    node_began, client_began = cpu_seconds(node.pid), time.process_time()
    rates: list[float] = []
    for _ in range(_LISTINGS):
        began, listed = time.monotonic(), 0
        async for _item in client.items(prefix=_ALL, keys_only=keys_only):
            listed += 1
        rates.append(listed / (time.monotonic() - began))
        if listed != keys:
            raise BenchError(f"{listed} keys were listed, and there are {keys}")
    what = "listed, keys only" if keys_only else "listed, with values"
    parts = {"the node's part": cpu_seconds(node.pid) - node_began, "the client's": time.process_time() - client_began}
    return [
        Figure(what, statistics.median(rates), "keys/s", at_least=LISTED_PER_SECOND_MIN),
        *(
            Figure(f"{what}: {part}", taken / (_LISTINGS * keys) * 1e6, "us of CPU/key")
            for part, taken in parts.items()
        ),
    ]


async def _independence(clients: tuple[AsyncClient, AsyncClient], questions: int) -> list[Figure]:
    """Ask both about the small prefix, in turn, and compare the medians."""
    kinds: dict[str, Question] = {
        f"a range of {_FEW_COUNT} keys": lambda client: client.range(prefix=_FEW),
        f"a count of {_FEW_COUNT} keys": lambda client: client.count(prefix=_FEW),
    }
    figures: list[Figure] = []
    for what, ask in kinds.items():
        seconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(questions):
            for client, taken in zip(clients, seconds, strict=True):
                began = time.perf_counter()
                await ask(client)
                taken.append(time.perf_counter() - began)
        large, small = map(statistics.median, seconds)
        figures.append(Figure(f"{what}, with all others", large * 1e3, "ms"))
        figures.append(Figure(f"{what}, to that with a tenth", large / small, "ratio", at_most=RATIO_MAX))
    return figures


if __name__ == "__main__":
    sys.exit(run_main(bench, "bench"))
