"""A canary on a cluster that does what it should, and on ones that lose or repeat writes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from raftd.client import AsyncClient, Denied, InvalidRequest, KeyValue, OutcomeUnknown, PutResult, Unavailable
from raftd.client.canary import CanaryPlan, CanaryReport, run_canary
from tests.client.fake import FakeCluster, Pki

PLAN = CanaryPlan(rate=200.0, seconds=0.5)


class Store:
    """As much of a client as a canary uses, on a dict; `before` may spoil a put, `lie` what a get finds."""

    def __init__(self) -> None:
        self.keys: dict[str, KeyValue] = {}
        self.puts = 0
        self.before: Callable[[int, str, bytes], Awaitable[None]] | None = None
        self.lie: Callable[[KeyValue], KeyValue | None] = lambda found: found

    async def put(self, key: str, value: bytes) -> PutResult:
        self.puts += 1
        if self.before is not None:
            await self.before(self.puts, key, value)
        return self.apply(key, value)

    def apply(self, key: str, value: bytes) -> PutResult:
        old = self.keys.get(key)
        version = 1 if old is None else old.version + 1
        self.keys[key] = KeyValue(key.encode(), value, 1, 1, version, 1)
        return PutResult(1, version, 1)

    async def get(self, key: str) -> KeyValue | None:
        found = self.keys.get(key)
        return None if found is None else self.lie(found)

    async def delete(self, key: str) -> None:
        self.keys.pop(key, None)


def fly(store: Any, plan: CanaryPlan = PLAN, stopping: asyncio.Event | None = None) -> CanaryReport:
    async def run() -> CanaryReport:
        async with asyncio.timeout(20):
            return await run_canary(store, plan, stopping or asyncio.Event())

    return asyncio.run(run())


def test_on_a_good_cluster_nothing_is_missing(pki: Pki) -> None:
    """As many writes as the rate says, all acknowledged and read back, and no key is left."""

    async def run() -> tuple[CanaryReport, FakeCluster]:
        async with pki.cluster() as cluster, AsyncClient(cluster.endpoints, tls=pki.user) as client:
            return await run_canary(client, PLAN, asyncio.Event()), cluster

    report, cluster = asyncio.run(run())
    assert report.tried == report.acknowledged == 100
    assert (report.failed, report.unknown, report.missing, report.unverified) == (0, 0, 0, 0)
    assert 0 < report.p50_seconds <= report.p99_seconds <= report.max_seconds
    assert 0 < report.longest_stall_seconds < report.seconds
    assert cluster.machine.key_count == 0


def test_it_ends_when_told_to() -> None:
    """With everything reported that was done by then."""
    store, stopping = Store(), asyncio.Event()

    async def stop(count: int, _: str, __: bytes) -> None:
        if count == 30:
            stopping.set()

    store.before = stop
    report = fly(store, replace(PLAN, seconds=None), stopping)
    assert 30 <= report.acknowledged == report.tried < 30 + PLAN.lanes
    assert store.keys == {}


def test_a_lost_write_is_missing() -> None:
    """The next answer of its key, or the last look, has a version that is too low."""
    store = Store()

    async def lose(count: int, key: str, _: bytes) -> None:
        if count == 60:
            found = store.keys[key]
            store.keys[key] = found._replace(version=found.version - 1)

    store.before = lose
    report = fly(store)
    assert report.missing == 1
    assert "1 acknowledged writes are missing" in report.complaints[0]


def test_a_write_that_is_applied_twice_is_missing_too() -> None:
    """Exactly once is what was promised."""
    store = Store()

    async def repeat(count: int, key: str, value: bytes) -> None:
        if count == 60:
            store.apply(key, value)

    store.before = repeat
    report = fly(store)
    assert report.missing == 1
    assert "1 writes were applied twice" in report.complaints[0]


def test_a_value_that_nobody_wrote_last_is_noticed() -> None:
    """A stale read has an older value at the same version."""
    store = Store()
    store.lie = lambda found: found._replace(value=b"old")
    report = fly(store)
    assert report.missing > report.acknowledged
    assert len(report.complaints) == 20
    assert "was acknowledged" in report.complaints[0]


def test_a_key_that_is_gone_counts_with_all_its_writes() -> None:
    """All that were acknowledged for it are missing, and come back one too many each if it does."""
    store = Store()
    store.lie = lambda found: None if found.version == 2 else found
    report = fly(store)
    assert report.missing == 4 * PLAN.lanes


@pytest.mark.parametrize("is_applied", [True, False])
def test_an_unknown_outcome_is_no_loss(is_applied: bool) -> None:
    """Whether it was written or not: both are right, and several in a row are."""
    store = Store()

    async def lose_answer(count: int, key: str, value: bytes) -> None:
        if count % 3:
            if is_applied:
                store.apply(key, value)
            raise OutcomeUnknown("no answer")

    store.before = lose_answer
    report = fly(store)
    assert report.unknown > report.acknowledged > 10
    assert (report.missing, report.failed) == (0, 0)
    assert report.errors == {"OutcomeUnknown": report.unknown}


def test_failures_are_counted_and_stalls_measured() -> None:
    """A cluster that stands still for a while; what was due meanwhile is made up for, and late by the clock."""
    store = Store()

    async def stall(count: int, _: str, __: bytes) -> None:
        if 40 <= count < 40 + PLAN.lanes:
            await asyncio.sleep(0.3)
        if count in (50, 51):
            raise Unavailable("nobody leads")

    store.before = stall
    report = fly(store, replace(PLAN, seconds=1.0))
    assert (report.failed, report.errors) == (2, {"Unavailable": 2})
    assert report.tried == report.acknowledged + 2 == 200
    assert report.longest_stall_seconds > 0.2
    assert report.max_seconds >= 0.3


@pytest.mark.parametrize("error", [Denied("no"), InvalidRequest("no")])
def test_what_will_never_work_ends_it_at_once(error: Exception) -> None:
    """A user who may not write the prefix is told so, instead of counting failures."""
    store = Store()

    async def refuse(_: int, __: str, ___: bytes) -> None:
        raise error

    store.before = refuse
    with pytest.raises(type(error)):
        fly(store)


@pytest.mark.parametrize("plan", [CanaryPlan(rate=0), CanaryPlan(rate=1e9), CanaryPlan(seconds=0)])
def test_a_plan_makes_sense(plan: CanaryPlan) -> None:
    """Or is refused before anything is written."""
    with pytest.raises(InvalidRequest):
        fly(Store(), plan)
