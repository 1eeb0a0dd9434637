"""What scrapes cost a node that is busy: one of them little, and a flood of them not more."""

import asyncio
import math
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.cluster import Cluster, NodeProcess, command_that_dies_with_us
from tests.e2e.conftest import MakeCluster

pytestmark = pytest.mark.e2e

WRITERS = 8
PUTS = 150
"""Of each writer in one phase."""
PHASES = 3
"""Of each kind, by turns, so that a machine that is slow for a while is so for both."""
SCRAPE_SECONDS_MAX = 0.020
SCRAPES_MIN = 10
SLOW_MAX = 0.01
"""The share of the scrapes that may cost more: those into which a long pause of the garbage collector falls."""

_FLOOD = """\
import socket, sys, threading
address = sys.argv[1], int(sys.argv[2])
def scrape():
    while True:
        try:
            with socket.create_connection(address, 5) as connection:
                connection.sendall(b"GET /metrics HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
                while connection.recv(1 << 16):
                    pass
        except OSError:
            pass
threads = [threading.Thread(target=scrape) for _ in range(32)]
[thread.start() for thread in threads]
"""

_SCRAPER = """\
import sys, time, urllib.request
while True:
    began = time.perf_counter()
    assert b"raftd_keys " in urllib.request.urlopen(sys.argv[1], timeout=10).read()
    print(time.perf_counter() - began, flush=True)
    time.sleep(0.1)
"""


@contextmanager
def scraped(node: NodeProcess, scrapes: list[float]) -> Iterator[None]:
    """One client that scrapes the node ten times a second, in a process that does nothing else; and what that took."""
    address = f"http://{node.addresses.http_address}/metrics"
    scraper = subprocess.Popen(
        command_that_dies_with_us(sys.executable, "-c", _SCRAPER, address), stdout=subprocess.PIPE, text=True
    )
    try:
        yield
        assert scraper.poll() is None
    finally:
        scraper.kill()
        told, _ = scraper.communicate()
    scrapes += map(float, told.split())


def cost(node: NodeProcess) -> tuple[int, int]:
    """How many scrapes the node has answered since its start, and how many took 20 ms of its processor or less."""
    with urllib.request.urlopen(f"http://{node.addresses.http_address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    (family,) = (each for each in text_string_to_metric_families(text) if each.name == "raftd_scrape_duration_seconds")
    buckets = {float(each.labels["le"]): int(each.value) for each in family.samples if "le" in each.labels}
    return buckets[math.inf], buckets[max(bound for bound in buckets if bound <= SCRAPE_SECONDS_MAX)]


@contextmanager
def flooded(node: NodeProcess) -> Iterator[None]:
    """Thirty-two clients that scrape the node, each again as soon as it has been answered; by another process."""
    http = node.addresses.http_address
    flood = subprocess.Popen(command_that_dies_with_us(sys.executable, "-c", _FLOOD, http.host, str(http.port)))
    try:
        yield
    finally:
        flood.kill()
        flood.wait()


async def write(cluster: Cluster) -> list[float]:
    """How long each of many puts took, of several writers at a time."""
    clock = asyncio.get_running_loop().time
    took: list[float] = []

    async def puts(number: int) -> None:
        async with cluster.client() as client:
            for each in range(PUTS):
                began = clock()
                await client.put(f"key-{number}", str(each))
                took.append(clock() - began)

    await asyncio.gather(*(puts(number) for number in range(WRITERS)))
    return took


def p99(took: list[float]) -> float:
    return statistics.quantiles(took, n=100)[-1]


@pytest.mark.timeout(240)
def test_a_flood_of_scrapes_is_not_noticed_by_writers(make_cluster: MakeCluster) -> None:
    """Puts take as long while the leader is flooded with scrapes, and a scrape of a busy leader takes 20 ms at most.

    Only so much can be said on a machine whose processors the flood's other end takes too, and perhaps others: the
    puts within a factor of three; the scrape by what it takes of the leader's processor, and of time if it is let run.
    Half of them are answered as soon as three puts, which wait for the same loop: no more than that is the machine's.
    """

    async def scenario() -> tuple[list[float], list[float], list[float], list[float]]:
        cluster = make_cluster()
        await cluster.start()
        leader = await cluster.leader()
        await write(cluster)
        quiet: list[float] = []
        puts: list[float] = []
        loud: list[float] = []
        scrapes: list[float] = []
        for _ in range(PHASES):
            with scraped(leader, scrapes):
                took = await write(cluster)
            puts += took
            quiet.append(p99(took))
            with flooded(leader):
                loud.append(p99(await write(cluster)))
        assert await cluster.leader() is leader
        answered, cheap = await asyncio.to_thread(cost, leader)
        print(f"{answered} scrapes, {answered - cheap} of them for more than 20 ms of the leader's processor")
        assert answered >= SCRAPES_MIN
        assert answered - cheap <= SLOW_MAX * answered
        return quiet, loud, scrapes, puts

    quiet, loud, scrapes, puts = asyncio.run(scenario())
    in_ms = ["/".join(f"{each * 1000:.0f}" for each in phases) for phases in (quiet, loud)]
    print(f"p99 of puts: {in_ms[0]} ms, and {in_ms[1]} ms in a flood of scrapes")
    least, middle, most = (each * 1000 for each in (min(scrapes), statistics.median(scrapes), max(scrapes)))
    print(
        f"{len(scrapes)} scrapes of a busy leader took {least:.1f} to {most:.1f} ms, half of them {middle:.1f} at most"
    )
    assert min(loud) < 3 * max(quiet)
    assert min(scrapes) < SCRAPE_SECONDS_MAX
    assert statistics.median(scrapes) < 3 * statistics.median(puts)
