"""Every panel of every dashboard, asked of a real Prometheus that scrapes a live cluster, through a leader's kill.

The test prints a table of what each query gave; with RAFTD_TABLES=build it is in build/panels.md.
"""

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from raftd.settings import Document
from raftd_build.dashboards import DASHBOARDS
from tests.e2e.cluster import Cluster, until
from tests.e2e.conftest import MakeCluster
from tests.e2e.workload import writing
from tests.monitoring.prometheus import JOB, SCRAPE_SECONDS, Prometheus, needs_prometheus, nodes_of
from tests.monitoring.tables import tell

pytestmark = [pytest.mark.e2e, needs_prometheus, pytest.mark.timeout(180)]

INTERVAL: Final = "3s"
"""What Grafana would put in the place of $__rate_interval: four scrapes and more."""
LOOKED_BACK_SECONDS: Final = 12.0
PHASES: Final = ("at first", "without the leader that was", "with all nodes again")
WATCHED_SCRAPES: Final = 20
"""So often each node is scraped before it is asked whether anything has fired: twice as long as the rules look back."""
OF_THE_MACHINE: Final = {"RaftdDiskSlow", "RaftdWritesSlow", "RaftdLoopLate"}
"""At a test's pace these look at four seconds, and in so few a machine that runs other tests may well be slow."""
PATIENCE_SECONDS: Final = 45.0
"""A node has none of its first snapshot before it has written 64 KiB, which takes a while on a busy machine."""


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus that ends with the test."""
    process = Prometheus(tmp_path)
    try:
        yield process
    finally:
        process.stop()


def panels(cluster: str) -> Mapping[str, tuple[str, bool]]:
    """Each query of each panel, by where it stands, with Grafana's variables put in; and whether it is instant."""
    values = {"$job": JOB, "$cluster": cluster, "$instance": ".*", "$__rate_interval": INTERVAL}
    asked = {}
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for query in panel.queries:
                expression = query.expression
                for variable, value in values.items():
                    expression = expression.replace(variable, value)
                asked[f"{dashboard.uid}: {panel.title}: {query.legend}"] = expression, panel.is_instant
    return asked


@asynccontextmanager
async def in_use(cluster: Cluster) -> AsyncIterator[None]:
    """Writers, a watch and a lease: what the panels of clients and keys are about."""
    async with cluster.client() as client, writing(cluster, 2):
        lease = await client.grant_lease(60.0)
        await client.put("leased", "x", lease=lease.id)
        watch = asyncio.create_task(_read_all(cluster))
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):  # it closes its connections before that
                await watch


async def _read_all(cluster: Cluster) -> None:
    async with cluster.client() as client, client.watch(prefix="own/") as changes:
        async for _ in changes:
            pass


async def nothing_fires(prometheus: Prometheus, nodes: int) -> None:
    """None of raftd's rules has called anybody since Prometheus knows the nodes."""

    def is_watched() -> bool:
        counted = prometheus.query("count_over_time(up[1m])")
        return len([each for each in counted if int(each["value"][1]) >= WATCHED_SCRAPES]) == nodes

    await until(is_watched, "the nodes are watched for a while", seconds=PATIENCE_SECONDS)
    watched_seconds = int(WATCHED_SCRAPES * SCRAPE_SECONDS) - 1  # before that it knew no node, and had to say so
    fired = prometheus.query(f'count_over_time(ALERTS{{alertstate="firing"}}[{watched_seconds}s])')
    assert {each["metric"]["alertname"] for each in fired} <= OF_THE_MACHINE, fired


def test_every_panel_has_data(make_cluster: MakeCluster, prometheus: Prometheus) -> None:
    """No query of any panel is empty, before, during and after the kill of the leader; before that, nothing fires."""

    def small(_: int, document: Document) -> Document:
        return dataclasses.replace(document, limits=dataclasses.replace(document.limits, snapshot_log_bytes=64 << 10))

    cluster = make_cluster(changes=small)
    asked = panels(cluster.document.cluster.name)
    curves: dict[str, list[str]] = {where: [] for where in asked}
    """How many each query gave, in each phase."""

    async def all_have_data(when: str) -> None:
        # Asked one by one, and not again once answered: a busy machine answers slowly.
        waiting = dict(asked)

        def is_all_there() -> bool:
            for where, (expression, is_instant) in list(waiting.items()):
                if is_instant:
                    found = prometheus.query(expression)
                else:
                    found = prometheus.range(expression, seconds=LOOKED_BACK_SECONDS)
                if found:
                    curves[where].append(str(len(found)))
                    del waiting[where]
            return not waiting

        try:
            await until(is_all_there, f"every panel has data {when}", seconds=PATIENCE_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}; none for:\n" + "\n".join(waiting)) from None

    async def scenario() -> None:
        await cluster.start()
        leader = await cluster.leader()
        async with cluster.client() as client:
            await client.report_backup(leader.endpoint, time.time_ns() // 1_000_000)
        prometheus.scrape(nodes_of(cluster))
        prometheus.start()
        await until(prometheus.is_ready, "Prometheus answers")
        async with in_use(cluster):
            await all_have_data(PHASES[0])
            await nothing_fires(prometheus, len(cluster.nodes))
            leader, term = await cluster.leader(), await cluster.term()
            leader.kill()
            await cluster.leader(above_term=term)
            await all_have_data(PHASES[1])
            await cluster.start(leader.id)
            await all_have_data(PHASES[2])

    asyncio.run(scenario())
    head = ("panel", *(f"curves {phase}" for phase in PHASES))
    tell("panels", head, [(where, *counts) for where, counts in curves.items()])
