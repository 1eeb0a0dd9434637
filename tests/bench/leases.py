"""What leases cost: `python -m tests.bench.leases`.

Three nodes and ten thousand leases, which are kept alive every five seconds: first each by a request of its own, evenly
spread, as by ten thousand programs; then as one program does that has them all, with few requests. What it costs is the
CPU time of the leader, of which it must be no more than a part; and no lease may be lost.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Final

import click

from raftd.cli.output import OutputFormat, format_option, run_main
from raftd.client.connection import Connection, Response
from raftd.kv import answers
from raftd.kv.answers import Outcome
from raftd.wire.client import BODY_OFFSET, RequestKind, ResponseKind
from raftd.wire.watch import LEASES_KEPT_ALIVE_MAX, decode_keep_alive_answer, encode_keep_alive_body
from tests.bench.figures import Figure, show_figures
from tests.bench.nodes import connections, new_cluster, patient_client, run
from tests.bench.processes import cpu_seconds
from tests.bench.subjects import NODES, BenchError
from tests.e2e.cluster import Cluster, NodeProcess

SHARE_MAX: Final = 20.0
"""Per cent of a core."""

_TTL_SECONDS: Final = 60.0
"""Long enough for all to be granted, where a machine has much else to do, before the first is kept alive."""
_EVERY_SECONDS: Final = 5.0
_CONNECTIONS: Final = 100
_GRANTERS: Final = 100
_STEP_SECONDS: Final = 0.01


@click.command()
@click.option("--leases", type=click.IntRange(min=1), default=10_000, show_default=True, help="How many.")
@click.option("--rounds", type=click.IntRange(min=1), default=4, show_default=True, help="Of five seconds, each time.")
@format_option
def bench(leases: int, rounds: int, output_format: OutputFormat) -> None:
    """Measure what it costs a leader to keep leases alive."""
    show_figures(run(_measure(leases, rounds)), output_format)


async def _measure(count: int, rounds: int) -> list[Figure]:
    seconds = rounds * _EVERY_SECONDS
    with new_cluster(NODES) as cluster:
        await cluster.start()
        leader = await cluster.leader()
        before = cpu_seconds(leader.pid)
        await asyncio.sleep(_EVERY_SECONDS)
        idle = 100 * (cpu_seconds(leader.pid) - before) / _EVERY_SECONDS
        granting = time.monotonic()
        leases = await _grant(cluster, count)
        granted = count / (time.monotonic() - granting)
        async with connections(cluster, leader.endpoint, _CONNECTIONS) as opened:
            each, lost_each = await _share(leader, opened, [[lease] for lease in leases], seconds)
            batches = [
                leases[start : start + LEASES_KEPT_ALIVE_MAX] for start in range(0, count, LEASES_KEPT_ALIVE_MAX)
            ]
            together, lost_together = await _share(leader, opened, batches, seconds)
    return [
        Figure(f"{count} leases, a request each", each, "% of a core", at_most=SHARE_MAX),
        Figure(f"{count} leases, {len(batches)} requests", together, "% of a core", at_most=SHARE_MAX),
        Figure("an idle leader", idle, "% of a core"),
        Figure("granted", granted, "leases/s"),
        Figure("answered that it is lost", lost_each + lost_together, "leases", at_most=0),
    ]


async def _grant(cluster: Cluster, count: int) -> list[int]:
    """Grant leases; their first time to live is long enough for all to be there."""
    leases: list[int] = []
    async with patient_client(cluster) as client:

        async def grant_on() -> None:
            while len(leases) + _GRANTERS <= count:
                leases.append((await client.grant_lease(_TTL_SECONDS)).id)

        await asyncio.gather(*(grant_on() for _ in range(_GRANTERS)))
        while len(leases) < count:
            leases.append((await client.grant_lease(_TTL_SECONDS)).id)
    return leases[:count]


async def _share(
    leader: NodeProcess, opened: Sequence[Connection], batches: Sequence[Sequence[int]], seconds: float
) -> tuple[float, int]:
    """Keep all batches alive every five seconds, evenly spread.

    Returns:
        Per cent of a core that the leader takes, and how often a lease was answered to be lost.
    """
    began, cpu_began = time.monotonic(), cpu_seconds(leader.pid)
    tasks: list[asyncio.Task[int]] = []
    while (elapsed := time.monotonic() - began) < seconds:
        due = int(elapsed / _EVERY_SECONDS * len(batches)) + 1
        for number in range(len(tasks), due):
            batch = batches[number % len(batches)]
            tasks.append(asyncio.create_task(_keep_alive(opened[number % len(opened)], batch)))
        await asyncio.sleep(_STEP_SECONDS)
    lost = sum(await asyncio.gather(*tasks))
    return 100 * (cpu_seconds(leader.pid) - cpu_began) / (time.monotonic() - began), lost


async def _keep_alive(connection: Connection, batch: Sequence[int]) -> int:
    """Returns how many of the batch are lost."""
    response = await connection.request(RequestKind.LEASE_KEEP_ALIVE, encode_keep_alive_body(batch))
    return remaining_of(response).count(0)


def remaining_of(response: Response) -> Sequence[int]:
    """The milliseconds that are left of each lease."""
    kind, payload = response
    if kind is not ResponseKind.ANSWER:
        raise BenchError(f"{kind.name} came to a keep-alive")
    answer = answers.decode(payload[BODY_OFFSET:])
    if answer.outcome is not Outcome.OK:
        raise BenchError(f"{answer.outcome.name} came to a keep-alive")
    return decode_keep_alive_answer(answer.body)


if __name__ == "__main__":
    sys.exit(run_main(bench, "bench"))
