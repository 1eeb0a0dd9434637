import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from raftd.client import Client
from raftd.errors import ExitCode

Raftctl = Callable[..., bytes]


@pytest.fixture(autouse=True)
def _collector() -> Iterator[None]:
    """The command switches it off for its process, which here is the tests' own."""
    yield
    gc.enable()


def test_puts_are_counted_and_timed(raftctl: Raftctl) -> None:
    """Rate and latencies on a line that a person can read."""
    first, second = raftctl("bench", "--requests", "20", "--connections", "2", "--keys", "5").decode().splitlines()
    assert first.startswith("2 connections, pipeline 1, values of 256 bytes: 20 puts in ")
    assert all(word in second for word in ("puts/s", "p50", "p99 ", "p99.9", "max"))


def test_gets_as_json(raftctl_json: Callable[..., Any]) -> None:
    """Numbers in base units; nothing was lost or tried again."""
    report = raftctl_json("bench", "--mode", "get", "--requests", "40", "--connections", "2", "--pipeline", "4")
    assert (report["mode"], report["answered"], report["errors"], report["reconnects"]) == ("get", 40, {}, 0)
    assert 0 < report["p50_seconds"] <= report["p99_seconds"] <= report["p999_seconds"] <= report["max_seconds"]
    assert report["per_second"] == pytest.approx(40 / report["seconds"])


def test_its_keys_are_in_the_namespace(raftctl: Raftctl, client: Client) -> None:
    """Where a user who may write nothing else is granted them."""
    client.delete_range(prefix="bench/")
    raftctl("--namespace", "load/", "bench", "--requests", "5", "--connections", "1", "--keys", "1")
    assert [item.key for item in client.items(prefix="load/")] == [b"load/bench/000000000000"]
    assert client.count(prefix="bench/") == 0


def test_it_ends_by_time_too(raftctl_json: Callable[..., Any]) -> None:
    """--seconds without --requests."""
    assert raftctl_json("bench", "--seconds", "0.1", "--connections", "1")["seconds"] < 5


@pytest.mark.parametrize(
    "arguments", [["--connections", "0"], ["--pipeline", "0"], ["--seconds", "0"], ["--value-size", "1048577"]]
)
def test_what_makes_no_sense_is_refused(raftctl: Raftctl, arguments: list[str]) -> None:
    """Before anything is sent."""
    raftctl("bench", *arguments, code=ExitCode.USAGE)


def test_a_cluster_that_is_not_there(raftctl: Raftctl) -> None:
    """The --timeout counts for finding a leader."""
    raftctl("--endpoints", "127.0.0.1:1", "--timeout", "200ms", "bench", code=ExitCode.UNAVAILABLE)
