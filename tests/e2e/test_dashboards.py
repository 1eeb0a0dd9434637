"""Every panel of every dashboard, asked of a real Prometheus that scrapes a live cluster, through a leader's kill."""

import asyncio
import dataclasses
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
from tests.monitoring.prometheus import JOB, Prometheus, needs_prometheus, nodes_of

pytestmark = [pytest.mark.e2e, needs_prometheus, pytest.mark.timeout(180)]

INTERVAL: Final = "3s"
"""What Grafana would put in the place of $__rate_interval: four scrapes and more."""
LOOKED_BACK_SECONDS: Final = 12.0
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


def test_every_panel_has_data(make_cluster: MakeCluster, prometheus: Prometheus) -> None:
    """No query of any panel is empty, before, during and after the kill of the leader."""

    def small(_: int, document: Document) -> Document:
        return dataclasses.replace(document, limits=dataclasses.replace(document.limits, snapshot_log_bytes=64 << 10))

    cluster = make_cluster(changes=small)
    asked = panels(cluster.document.cluster.name)

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
                    del waiting[where]
            return not waiting

        try:
            await until(is_all_there, f"every panel has data {when}", seconds=PATIENCE_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}; none for:\n" + "\n".join(waiting)) from None

    async def scenario() -> None:
        await cluster.start()
        prometheus.scrape(nodes_of(cluster))
        prometheus.start()
        await until(prometheus.is_ready, "Prometheus answers")
        async with in_use(cluster):
            await all_have_data("at first")
            leader, term = await cluster.leader(), await cluster.term()
            leader.kill()
            await cluster.leader(above_term=term)
            await all_have_data("without the leader that was")
            await cluster.start(leader.id)
            await all_have_data("with all nodes again")

    asyncio.run(scenario())
