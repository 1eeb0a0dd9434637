"""Asking until there is an answer; what becomes of writes is in test_asynchronous.py, of reads in test_reading.py."""

import asyncio
import random

import pytest

from raftd.client import AsyncClient
from raftd.client.asking import Asker, refused_by
from raftd.client.errors import ClientError, Denied, OutcomeUnknown, TlsError, Unavailable
from raftd.client.retry import Attempts
from raftd.wire.client import (
    BODY_OFFSET,
    Refusal,
    RefusalCode,
    RequestKind,
    ResponseKind,
    encode_pong,
    encode_refusal,
)
from tests.client.fake import Pki, Say, Wait
from tests.client.playing import until


def asker_of(pki: Pki, endpoints: list[str], timeout: float = 5.0) -> Asker:
    return Asker(endpoints, pki.user.context, timeout=timeout, dead_after=2.0, random=random.Random(1))


def test_rounds_go_on_until_it_is_closed(pki: Pki) -> None:
    """Whoever looks for a node gets one after the other, with pauses between rounds, and an error at the end."""

    async def scenario() -> None:
        asker = asker_of(pki, ["a:1", "b:1"])
        attempts = Attempts(asker.to_leader, is_write=False)
        assert [await asker.next_endpoint(attempts) for _ in range(5)] == ["a:1", "b:1", "b:1", "a:1", "a:1"]
        assert attempts.rounds == 2
        await asker.close()
        with pytest.raises(Unavailable, match="the client was closed"):
            await asker.next_endpoint(attempts)
        with pytest.raises(ClientError, match="the client is closed"):
            asker.deadline(attempts)

    asyncio.run(scenario())


def test_closing_ends_what_waits(pki: Pki) -> None:
    """A request that waits for an answer ends when the asker is closed."""

    async def scenario() -> None:
        async with pki.cluster(1) as cluster:
            asker = asker_of(pki, cluster.endpoints)
            cluster.nodes[0].plan_for = lambda kind, _: kind is RequestKind.STATUS
            cluster.nodes[0].plan.append(Wait())
            waiting = asyncio.create_task(asker.document_of(cluster.endpoints[0], RequestKind.STATUS, b""))
            await until(lambda: not cluster.nodes[0].plan)
            await asker.close()
            with pytest.raises(Unavailable, match="closed"):
                await waiting

    asyncio.run(scenario())


@pytest.mark.parametrize(("timeout", "seconds"), [(0.1, None), (5.0, 0.1)])
def test_one_node_that_does_not_answer(pki: Pki, timeout: float, seconds: float | None) -> None:
    """A question to one node ends after the timeout, or after a time of its own, with the node's name."""

    async def scenario() -> None:
        async with pki.cluster(1) as cluster:
            asker = asker_of(pki, cluster.endpoints, timeout=timeout)
            cluster.nodes[0].plan_for = lambda kind, _: kind is RequestKind.PING
            cluster.nodes[0].plan.append(Wait())
            with pytest.raises(Unavailable, match=r"127\.0\.0\.1:\d+: no answer within 0\.1 s"):
                await asker.response_of(cluster.endpoints[0], RequestKind.PING, b"", seconds=seconds)
            await asker.close()

    asyncio.run(scenario())


class LongPauses:
    """Jitter that makes each pause a minute."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    def uniform(self, _low: float, _high: float) -> float:
        self.begun.set()
        return 60.0


def test_closing_ends_a_pause(pki: Pki) -> None:
    """A write that may be applied, and waits for the next round, has ended in OutcomeUnknown once it is closed."""

    async def scenario() -> None:
        pauses = LongPauses()

        def leave_without_an_answer(request_id: int) -> bytes:
            cluster.leader = None
            return encode_pong(request_id)

        async with (
            pki.cluster() as cluster,
            AsyncClient(cluster.endpoints, tls=pki.user, timeout=60, jitter=pauses) as client,
        ):
            await client.put("a", "1")
            cluster.nodes[0].plan.append(Say(leave_without_an_answer, apply=True))
            writing = asyncio.create_task(client.put("a", "2"))
            await pauses.begun.wait()
            async with asyncio.timeout(10):
                await client.close()
            assert writing.done()
            with pytest.raises(OutcomeUnknown, match="the client was closed"):
                await writing
            assert cluster.machine.revision == 2

    asyncio.run(scenario())


def test_certificates_end_a_question_to_one_node() -> None:
    """When it was the certificates, that is said."""

    def make_context() -> None:
        raise TlsError("the key is gone")

    async def scenario() -> None:
        asker = Asker(["a:1"], make_context, timeout=1.0, dead_after=2.0, random=random.Random(1))  # type: ignore[arg-type]  # wrong on purpose
        with pytest.raises(TlsError, match="the key is gone"):
            await asker.response_of("a:1", RequestKind.PING, b"")

    asyncio.run(scenario())


def test_what_a_named_node_says() -> None:
    """Its refusal in words; what cannot be read is said to be so."""
    denied = encode_refusal(1, Refusal(RefusalCode.DENIED, "no"))[4:]
    assert isinstance(refused_by("a:1", ResponseKind.REFUSED, denied), Denied)
    stopping = encode_refusal(1, Refusal(RefusalCode.STOPPING))[4:]
    assert str(refused_by("a:1", ResponseKind.REFUSED, stopping)) == "a:1: stopping"
    assert isinstance(refused_by("a:1", ResponseKind.REFUSED, denied[:BODY_OFFSET]), Unavailable)
    assert "PONG came" in str(refused_by("a:1", ResponseKind.PONG, b""))
