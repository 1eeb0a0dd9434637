import asyncio
import dataclasses

import pytest

from raftd.client import InvalidRequest, TooLarge, Unavailable
from raftd.client.load import FrameTemplate, LoadMode, LoadPlan, percentile, run_load
from raftd.kv import commands
from raftd.kv.commands import SessionId
from raftd.wire.client import (
    Consistency,
    QueryOpcode,
    Refusal,
    RefusalCode,
    RequestKind,
    encode_read_body,
    encode_request,
)
from tests.client.fake import Cut, Pki, Refuse


@pytest.mark.parametrize("value", [b"", b"v" * 300, bytes(64)])
def test_put_template_is_what_the_encoders_make(value: bytes) -> None:
    """A filled template is, byte for byte, the frame that the protocol's encoders make."""
    template = FrameTemplate(LoadMode.PUT, SessionId(9), value)
    for request_id, key_number, sequence, first_unanswered in ((0, 0, 1, 1), (7, 123_456, 1 << 40, 99)):
        body = commands.put(SessionId(9), sequence, first_unanswered, b"bench/%012d" % key_number, value)
        frame = encode_request(RequestKind.WRITE, request_id, body)
        assert template.fill(request_id, key_number, sequence, first_unanswered) == frame


def test_get_template_is_what_the_encoders_make() -> None:
    """The same for a get."""
    template = FrameTemplate(LoadMode.GET, SessionId(0), b"")
    body = encode_read_body(Consistency.LINEARIZABLE, QueryOpcode.GET, b"bench/000000000042")
    assert template.fill(3, 42, 1, 1) == encode_request(RequestKind.READ, 3, body)


def test_percentiles_are_nearest_rank() -> None:
    """Of 1 to 100, the 50th percentile is 50, the 99th 99, and that of everything 100."""
    ordered = [float(number) for number in range(1, 101)]
    assert [percentile(ordered, share) for share in (0.5, 0.99, 0.999, 1.0)] == [50, 99, 100, 100]
    assert percentile([], 0.5) == 0.0


@pytest.mark.parametrize(
    "plan",
    [
        LoadPlan(),
        LoadPlan(requests=0),
        LoadPlan(seconds=0.0),
        LoadPlan(requests=1, pipeline=0),
        LoadPlan(requests=1, connections=0),
        LoadPlan(requests=1, key_count=10**13),
        LoadPlan(requests=1, value_bytes=(1 << 20) + 1),
        LoadPlan(requests=1, namespace=bytes(4096 - 17)),
    ],
)
def test_senseless_plans_are_refused(plan: LoadPlan) -> None:
    """A plan without an end or out of bounds never starts."""
    with pytest.raises((InvalidRequest, TooLarge)):
        plan.check()


@pytest.mark.parametrize(("mode", "not_found"), [(LoadMode.PUT, 0), (LoadMode.GET, 500)])
def test_exactly_so_many_requests(pki: Pki, mode: LoadMode, not_found: int) -> None:
    """A plan of 500 requests is 500 requests, each answered and measured."""

    async def scenario() -> None:
        async with pki.cluster() as cluster:
            plan = LoadPlan(mode, connections=3, pipeline=7, requests=500, value_bytes=10, key_count=50)
            report = await run_load(cluster.endpoints, pki.user, plan)
            assert (report.answered, report.not_found, report.errors, report.reconnects) == (500, not_found, {}, 0)
            assert 0 < report.p50_seconds <= report.p99_seconds <= report.p999_seconds <= report.max_seconds
            assert report.per_second > 0
            assert len(cluster.nodes[0].data_requests) == 500
            if mode is LoadMode.PUT:
                assert (cluster.machine.revision, cluster.machine.key_count) == (500, 50)

    asyncio.run(scenario())


def test_answers_of_any_size(pki: Pki) -> None:
    """Answers longer than what is received at once are put together, also where several are under way."""

    async def scenario() -> None:
        async with pki.cluster() as cluster:
            plan = LoadPlan(LoadMode.PUT, connections=1, pipeline=2, requests=4, value_bytes=200_000, key_count=2)
            assert (await run_load(cluster.endpoints, pki.user, plan)).answered == 4
            report = await run_load(cluster.endpoints, pki.user, dataclasses.replace(plan, mode=LoadMode.GET))
            assert (report.answered, report.not_found, report.errors) == (4, 0, {})

    asyncio.run(scenario())


def test_ends_after_the_seconds(pki: Pki) -> None:
    """A plan of a tenth of a second ends soon after, with everything that was sent answered."""

    async def scenario() -> None:
        async with pki.cluster() as cluster:
            report = await run_load(cluster.endpoints, pki.user, LoadPlan(connections=2, pipeline=2, seconds=0.1))
            assert 0.1 <= report.seconds < 2
            assert report.answered == cluster.machine.revision > 0

    asyncio.run(scenario())


def test_survives_leader_changes_without_writing_twice(pki: Pki) -> None:
    """A reset after applying, then a new leader: each put is repeated there and applied once."""

    async def scenario() -> None:
        async with pki.cluster() as cluster:
            first, second, _ = cluster.nodes
            first.plan.extend([Cut(0)] * 2)
            plan = LoadPlan(connections=2, pipeline=3, requests=200, value_bytes=1)
            running = asyncio.create_task(run_load(cluster.endpoints, pki.user, plan))
            while first.plan:  # noqa: ASYNC110 - the fake tells nobody
                await asyncio.sleep(0.001)
            cluster.leader = second
            report = await running
            assert report.answered == 200
            assert cluster.machine.revision == 200
            assert report.reconnects >= 2

    asyncio.run(scenario())


def test_refused_for_good(pki: Pki) -> None:
    """A user without the right to write is told, and the load ends."""

    async def scenario() -> None:
        async with pki.cluster() as cluster:
            cluster.nodes[0].plan.append(Refuse(Refusal(RefusalCode.DENIED, "alice may not write")))
            with pytest.raises(Exception, match="DENIED"):
                await run_load(cluster.endpoints, pki.user, LoadPlan(connections=1, requests=10))

    asyncio.run(scenario())


def test_more_in_flight_than_allowed(pki: Pki) -> None:
    """A pipeline that the nodes do not allow is refused before anything is sent."""

    async def scenario() -> None:
        async with pki.cluster() as cluster:
            with pytest.raises(InvalidRequest, match="allows 64"):
                await run_load(cluster.endpoints, pki.user, LoadPlan(connections=1, pipeline=65, requests=10))

    asyncio.run(scenario())


def test_nobody_there(pki: Pki) -> None:
    """Without a node the load ends in Unavailable."""

    async def scenario() -> None:
        async with pki.cluster() as cluster:
            cluster.leader = None
            for node in cluster.nodes:
                await node.stop()
            with pytest.raises(Unavailable):
                await run_load(cluster.endpoints, pki.user, LoadPlan(connections=1, requests=10), leader_within=0.3)

    asyncio.run(scenario())
