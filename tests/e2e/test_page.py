"""The status page in a real browser, through what it is there for: a leader that dies."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.e2e.browser import CHROMIUM, Browser, browsing
from tests.e2e.cluster import Cluster, until, until_found
from tests.e2e.conftest import MakeCluster
from tests.e2e.workload import writing

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
    pytest.mark.timeout(180),
]

PICTURES = os.environ.get("RAFTD_PICTURES")
"""A directory for pictures of what the tests look at; without it none are taken."""
SECONDS_OF_PULSE = 12


def address_of(cluster: Cluster, node_id: int) -> str:
    return f"http://{cluster.nodes[node_id].addresses.http_address}/"


async def take_pictures(browser: Browser, name: str) -> None:
    if PICTURES is None:
        return
    for look, width, dark in (("light", 1100, False), ("dark", 1100, True), ("narrow", 390, False)):
        await browser.picture(Path(PICTURES) / f"{name}-{look}.png", width=width, dark=dark)


def test_the_page_follows_a_leader_kill(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """A page that is open shows the new leader by itself, and the dead node's that it is dead, and that it is back."""

    async def scenario() -> None:
        cluster = make_cluster()
        await cluster.start()
        leader = await cluster.leader()
        other = next(node for node in cluster.nodes.values() if node.id != leader.id)
        (tmp_path / "other").mkdir()
        async with browsing(tmp_path) as at_leader, browsing(tmp_path / "other") as at_other, writing(cluster):
            await at_leader.open(address_of(cluster, leader.id))
            await at_other.open(address_of(cluster, other.id))
            await at_leader.shows("leader in term", "header")
            await at_leader.shows("ok", ".members tbody tr:not(.self)")
            await at_other.shows(f"node {leader.id} leads", "header")

            async def plotted() -> bool:
                line = await at_leader.value("document.querySelector('.line.write').getAttribute('d')")
                return str(line).count("L") > SECONDS_OF_PULSE

            await at_leader.shows("leader_elected", ".events")
            await until_found(plotted, "some seconds are plotted", seconds=60)
            await take_pictures(at_leader, "leader")
            await take_pictures(at_other, "follower")
            leader.kill()
            new = await cluster.leader(above_term=1)
            await at_other.shows(f"node {new.id} leads", "header")
            await at_other.shows("no link from here", ".members")
            await at_leader.shows("has not answered", "#stale")
            await take_pictures(at_leader, "killed")
            await cluster.start(leader.id)
            await at_leader.shows(f"node {new.id} leads", "header")
            assert await at_leader.value("document.getElementById('stale').hidden")
            for browser, node_id in ((at_leader, leader.id), (at_other, other.id)):
                assert browser.complaints == []
                assert browser.requested - {"data:,"} == {
                    address_of(cluster, node_id)
                }  # not each version asks for the icon
                assert browser.loads == 1

    asyncio.run(scenario())


def test_the_page_without_scripts(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """Everything is there as tables and pictures, and the browser loads it anew by itself."""

    async def scenario() -> None:
        cluster = make_cluster(1)
        await cluster.start()
        async with browsing(tmp_path) as browser:
            await browser.call("Emulation.setScriptExecutionDisabled", value=True)
            await browser.open(address_of(cluster, 1))
            await browser.shows("node 1 leads", "header")
            await browser.shows("leader_elected", ".events")
            loads = browser.loads
            await until(lambda: browser.loads > loads, "it loads itself anew")
            assert browser.complaints == []

    asyncio.run(scenario())
