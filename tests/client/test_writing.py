"""Writes and their session, over connections and nodes of which each may be lost at any moment."""

import asyncio
import threading

import pytest

from raftd.client import (
    AsyncClient,
    ClientError,
    CompareFailed,
    Denied,
    InvalidRequest,
    LimitReached,
    OutcomeUnknown,
    SessionExpired,
    Unavailable,
)
from raftd.client.session import Session
from raftd.client.writing import Writer
from raftd.consensus.types import Term
from raftd.kv import answers, commands
from raftd.kv.answers import Outcome
from raftd.kv.commands import Opcode, SessionId, parse
from raftd.kv.types import Revision
from raftd.wire.client import Refusal, RefusalCode, RequestKind, encode_answer
from raftd.wire.frames import encode_frame
from tests.client.fake import Cut, FakeCluster, Pki, Reaction, Refuse, Say, Silent, Wait
from tests.client.playing import play, until

REFUSALS = [
    code
    for code in RefusalCode
    if code not in {RefusalCode.DENIED, RefusalCode.TOO_LARGE, RefusalCode.NOT_POSSIBLE, RefusalCode.FULL}
]

NO_SUCH_LEASE = answers.encode(Outcome.LEASE_NOT_FOUND, Term(1), Revision(0))


def puts(cluster: FakeCluster) -> list[bytes]:
    """The bytes of every put that reached a node, in the order of nodes."""
    return [body for node in cluster.nodes for kind, body in node.requests if body[:1] == bytes((Opcode.PUT,))]


@pytest.mark.parametrize(
    "reactions",
    [
        *([Refuse(Refusal(code, "later"))] for code in REFUSALS if code is not RefusalCode.BAD_REQUEST),
        *([Cut(sent_bytes)] for sent_bytes in (0, 1, 3, 4, 12, 13, 14, 29, 45)),
        [Cut(0, apply=False)],
        [Cut(0, apply=False), Cut(5)],
        [Cut(0), Cut(0), Cut(0)],
        [Say(lambda _: b"\xff" * 20, apply=True)],
        [Say(lambda request_id: encode_frame(b"\1" + request_id.to_bytes(8, "little")), apply=True)],
        [Say(lambda request_id: encode_frame(b"\1" + request_id.to_bytes(8, "little") + b"\xee" * 17), apply=True)],
        [Say(lambda request_id: encode_frame(b"\3" + request_id.to_bytes(8, "little") + b"{}"), apply=True)],
        [Say(lambda request_id: encode_frame(b"\1" + request_id.to_bytes(8, "little") + bytes(18)), apply=True)],
        [Say(lambda request_id: encode_frame(b"\3" + request_id.to_bytes(8, "little") + NO_SUCH_LEASE), apply=True)],
        [Refuse(Refusal(RefusalCode.OVERLOADED)), Cut(0), Refuse(Refusal(RefusalCode.NO_LEADER))],
    ],
)
def test_a_write_is_repeated_byte_for_byte_and_applied_once(pki: Pki, reactions: list[Reaction]) -> None:
    """Whatever befalls sendings and answers, the same bytes come again, and the key has version 1."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        for node in cluster.nodes:
            node.plan_for = lambda kind, body: kind is RequestKind.WRITE and body[0] == Opcode.PUT
        cluster.nodes[0].plan.extend(reactions)
        result = await client.put("a", "1", expected_revision=0)
        assert (result.revision, result.version) == (1, 1)
        assert cluster.machine.revision == 1
        sent = puts(cluster)
        assert len(sent) >= len(reactions) + 1
        assert len(set(sent)) == 1

    play(pki, scenario)


def test_a_delete_whose_answer_was_lost(pki: Pki) -> None:
    """A repeated delete still says that it deleted: the answer is the first one's."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "1")
        cluster.nodes[0].plan.append(Cut(0))
        assert (await client.delete("a")).deleted

    play(pki, scenario)


def test_first_unanswered_follows(pki: Pki) -> None:
    """Each write says from which sequence on this client still waits, so that the cluster may forget the others."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        for _ in range(3):
            await client.put("a", "1")
        assert [parse(body, 0)[2:4] for body in puts(cluster)] == [(1, 1), (2, 2), (3, 3)]

    play(pki, scenario)


def test_an_answer_that_came_while_the_loop_stood_still(cluster_in_thread: FakeCluster, pki: Pki) -> None:
    """It is the call's result, also when the loop looks at it after the deadline."""
    node = cluster_in_thread.nodes[0]

    async def answer(held: Wait) -> None:
        await until(lambda: not node.plan)
        held.until.set()
        await asyncio.gather(*cluster_in_thread._tasks)

    async def scenario() -> None:
        async with AsyncClient(cluster_in_thread.endpoints, tls=pki.user) as client:
            await client.put("a", "1")
            held = Wait()
            node.plan.append(held)
            client._asker.timeout = 0.05
            writing = asyncio.create_task(client.put("a", "2"))
            await asyncio.sleep(0)  # now it is sent, and the loop stands still
            asyncio.run_coroutine_threadsafe(answer(held), cluster_in_thread._loop).result(10)
            threading.Event().wait(client._asker.timeout)
            assert (await writing).version == 2

    asyncio.run(scenario())


def test_no_answer_until_the_deadline_is_unknown(pki: Pki) -> None:
    """A write that was sent and never answered may have happened, and that is said."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "0")
        cluster.nodes[0].plan.append(Silent(apply=True))
        with pytest.raises(OutcomeUnknown, match="may or may not"):
            await client.put("a", "1")

    play(pki, scenario, timeout=0.3)


def test_a_node_that_takes_shorter_requests_clears_up_nothing(pki: Pki) -> None:
    """A write that was sent, and then is too long for the node that would be next, may have happened."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.nodes[0].plan.append(Cut(0))
        for node in cluster.nodes[1:]:
            node.frame_bytes_max = 500
        with pytest.raises(OutcomeUnknown, match="takes frames of 500"):
            await client.put("a", bytes(1000))
        assert cluster.machine.revision == 1

    play(pki, scenario)


@pytest.mark.parametrize("cancel", [False, True])
def test_a_write_that_was_given_up_is_fenced(pki: Pki, cancel: bool) -> None:
    """After a deadline or a cancellation the next write moves past it: a late copy is refused by the cluster."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "0")
        cluster.nodes[0].plan.append(Silent())
        late = asyncio.create_task(client.put("a", "late"))
        await until(lambda: len(puts(cluster)) == 2)
        if cancel:
            late.cancel()
        with pytest.raises(asyncio.CancelledError if cancel else OutcomeUnknown):
            await late
        await client.put("a", "2")
        cluster.apply("alice", puts(cluster)[1])
        assert cluster.machine.get(b"a") == b"2"

    play(pki, scenario, timeout=0.3)


def test_an_expired_session_is_replaced_when_nothing_is_in_doubt(pki: Pki) -> None:
    """A write whose only sending met an expired session goes on in a new one, unseen by the caller."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "1")
        cluster.expire_sessions()
        assert cluster.machine.session_count == 0
        results = await asyncio.gather(*(client.put("a", "2") for _ in range(20)))
        assert sorted(result.revision for result in results) == list(range(2, 22))
        assert cluster.machine.session_count == 1

    play(pki, scenario)


def test_an_expired_session_with_a_sending_in_doubt_is_an_error(pki: Pki) -> None:
    """A write that may have been applied in the session that is gone is not made again."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "1")
        cluster.nodes[0].plan.append(Cut(0))
        for node in cluster.nodes[1:]:
            await node.stop()
        await cluster.nodes[0].stop()
        task = asyncio.create_task(client.put("a", "2"))
        await cluster.restart(cluster.nodes[0])
        await until(lambda: not cluster.nodes[0].plan)
        cluster.expire_sessions()
        with pytest.raises(SessionExpired):
            await task
        assert cluster.machine.revision == 2
        assert (await client.put("a", "3")).revision == 3

    play(pki, scenario)


def test_denied_after_a_lost_sending_is_unknown(pki: Pki) -> None:
    """A final refusal ends a write at once; with an earlier sending in doubt it ends as unknown."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        denied = Refuse(Refusal(RefusalCode.DENIED, "alice may not"))
        cluster.nodes[0].plan.append(denied)
        with pytest.raises(Denied, match="alice may not"):
            await client.put("a", "1")
        cluster.nodes[0].plan.extend([Cut(0), denied])
        with pytest.raises(OutcomeUnknown, match="alice may not"):
            await client.put("a", "1")

    play(pki, scenario)


def test_more_writes_than_a_session_has_room_for(pki: Pki) -> None:
    """One write without an answer holds up those that would be too far ahead of it, and no answer is lost."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.nodes[0].requests_in_flight_max = 4000
        held = Wait()
        cluster.nodes[0].plan.append(held)
        tasks = [asyncio.create_task(client.put("a", "1")) for _ in range(1100)]
        await until(lambda: sum(task.done() for task in tasks) == 1023)
        assert len(puts(cluster)) == 1024
        held.until.set()
        await asyncio.gather(*tasks)
        assert cluster.machine.revision == 1100

    play(pki, scenario, timeout=30.0)


# Sessions.


def test_close_closes_the_session(pki: Pki) -> None:
    """Nothing is left behind in the cluster; a closed client says so, and closing twice is allowed."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "1")
        await client.close()
        await client.close()
        assert cluster.machine.session_count == 0
        for call in (client.get("a"), client.put("a", "1"), client.status(cluster.endpoints[0])):
            with pytest.raises(ClientError, match="closed"):
                await call

    play(pki, scenario)


def test_a_session_that_comes_when_the_client_is_being_closed(pki: Pki) -> None:
    """The write for which it was opened is not done, and nobody keeps the session alive."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        before = asyncio.all_tasks()
        held = Wait()
        cluster.nodes[0].plan_for = lambda kind, body: kind is RequestKind.WRITE and body[0] == Opcode.OPEN_SESSION
        cluster.nodes[0].plan.append(held)
        writing = asyncio.create_task(client.put("a", "1"))
        await until(lambda: not cluster.nodes[0].plan)
        # All that `close` does before it ends the connections.
        client._asker.closing = True
        await client._writer.close()
        held.until.set()
        with pytest.raises(Unavailable, match="the client is closed"):
            await writing
        assert asyncio.all_tasks() <= before
        assert cluster.machine.revision == 0

    play(pki, scenario)


def test_reading_opens_no_session(pki: Pki) -> None:
    """A client that only reads leaves nothing in the log."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.get("a")
        assert cluster.machine.last_applied == 0

    play(pki, scenario)


def test_close_does_not_wait_for_the_dead(pki: Pki) -> None:
    """With the cluster gone or frozen, closing still ends, and calls that wait end in an error."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "1")
        cluster.nodes[0].plan.append(Silent(freeze=True))
        waiting = asyncio.create_task(client.put("a", "2"))
        await until(lambda: cluster.nodes[0].frozen)
        async with asyncio.timeout(4):
            await client.close()
            with pytest.raises(OutcomeUnknown, match="closed"):
                await waiting

    play(pki, scenario)


@pytest.mark.parametrize("is_refused", [True, False])
def test_a_write_that_is_refused_is_no_sign_of_life(pki: Pki, *, is_refused: bool) -> None:
    """It was in no log, so the cluster counts none: the session is kept alive beside it. One that is done counts."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "1")
        client._writer._wrote = False
        if is_refused:
            cluster.nodes[0].plan.append(Refuse(Refusal(RefusalCode.FULL, "there are 5 keys")))
            with pytest.raises(LimitReached):
                await client.put("b", "1")
        else:
            with pytest.raises(CompareFailed):
                await client.put("a", "2", expected_revision=77)
        assert client._writer._wrote is not is_refused

    play(pki, scenario)


def test_sessions_are_kept_alive(pki: Pki) -> None:
    """An idle client touches its session three times in its time to live; one that writes need not."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "1")
        session = client._writer._session
        assert session is not None
        keeper = asyncio.create_task(client._writer._keep_alive(session, 0.02))
        await until(lambda: sum(body[0] == Opcode.KEEP_ALIVE for _, body in cluster.nodes[0].requests) >= 2)
        cluster.expire_sessions()
        await keeper  # ends by itself when the cluster says that the session is over
        assert client._writer._session is None
        await client.put("a", "2")

    play(pki, scenario)


def of_kind(cluster: FakeCluster, opcode: Opcode) -> list[bytes]:
    """The bytes of every such command that reached the first node, which leads."""
    return [body for kind, body in cluster.nodes[0].requests if kind is RequestKind.WRITE and body[0] == opcode]


def plan_for_command(cluster: FakeCluster, opcode: Opcode, *reactions: Reaction) -> None:
    """Let the first node, which leads, react so to the next commands of this kind."""
    cluster.nodes[0].plan_for = lambda kind, body: kind is RequestKind.WRITE and body[0] == opcode
    cluster.nodes[0].plan.extend(reactions)


def test_how_often_a_session_is_kept_alive(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times in the time to live that the cluster has granted, which need not be the one that was asked for."""
    intervals: list[float] = []

    async def keep_alive(_writer: Writer, _session: Session, every_seconds: float) -> None:
        intervals.append(every_seconds)

    monkeypatch.setattr(Writer, "_keep_alive", keep_alive)

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "1")
        await client.put("a", "2")
        granted = cluster.machine.limits.ttl_ms_min / 1000
        assert intervals == [pytest.approx(granted / 3)]

    play(pki, scenario, session_ttl=0.5)


def test_the_keeper_of_a_session(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has nothing to say after a write, tells which answers are waited for, and outlives what befalls it."""
    every_seconds, turns, slept = 0.05125, asyncio.Queue[None](), 0
    sleep = asyncio.sleep

    async def sleep_for_a_turn(seconds: float) -> None:
        nonlocal slept
        if seconds != every_seconds:
            await sleep(seconds)
            return
        slept += 1
        await turns.get()

    monkeypatch.setattr(asyncio, "sleep", sleep_for_a_turn)

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        async def turn(keep_alives: int) -> None:
            before = slept
            turns.put_nowait(None)
            await until(lambda: slept > before)
            assert len(of_kind(cluster, Opcode.KEEP_ALIVE)) == keep_alives

        await client.put("a", "1")
        session = client._writer._session
        assert session is not None
        keeper = asyncio.create_task(client._writer._keep_alive(session, every_seconds))
        await until(lambda: slept == 1)
        await client.put("a", "2")
        await turn(keep_alives=0)
        await turn(keep_alives=1)
        assert of_kind(cluster, Opcode.KEEP_ALIVE) == [commands.keep_alive(SessionId(session.id), 3)]
        denied = Refuse(Refusal(RefusalCode.DENIED, "not now"))
        plan_for_command(cluster, Opcode.KEEP_ALIVE, denied, Silent())
        await turn(keep_alives=2)
        await turn(keep_alives=3)
        await turn(keep_alives=4)
        keeper.cancel()

    play(pki, scenario)


def test_the_keeper_goes_with_its_session(pki: Pki) -> None:
    """A session that is replaced, or closed, has none any more; and an old session's end is not that of the new one."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        writer = client._writer
        await client.put("a", "1")
        old, old_keeper = writer._session, writer._keeper
        assert old is not None
        assert old_keeper is not None
        cluster.expire_sessions()
        await client.put("a", "2")
        await until(old_keeper.done)
        writer._forget(old)
        assert writer._session not in (None, old)
        assert writer._keeper is not None
        assert not writer._keeper.done()
        await client.close()
        assert writer._keeper.done()

    play(pki, scenario)


def test_a_session_that_is_gone_is_no_hindrance(pki: Pki) -> None:
    """The leader is found in a new one, and closing one that the cluster does not know is no error."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "1")
        cluster.expire_sessions()
        assert await client.find_leader() == cluster.endpoints[0]
        assert cluster.machine.session_count == 1
        cluster.expire_sessions()
        await client.close()

    play(pki, scenario)


def test_opening_a_session_is_no_write(pki: Pki) -> None:
    """An opening that was lost has written nothing of the caller's: a refusal after it is certain."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        denied = Refuse(Refusal(RefusalCode.DENIED, "alice may not"))
        plan_for_command(cluster, Opcode.OPEN_SESSION, Cut(0), denied)
        with pytest.raises(Denied, match="alice may not"):
            await client.put("a", "1")

    play(pki, scenario)


@pytest.mark.parametrize("opcode", [Opcode.OPEN_SESSION, Opcode.KEEP_ALIVE])
def test_a_session_that_the_cluster_will_not_have(pki: Pki, opcode: Opcode) -> None:
    """An answer that says no is not taken for a yes."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        invalid = answers.encode(Outcome.INVALID, cluster.term, cluster.machine.revision)
        plan_for_command(cluster, opcode, Say(lambda request_id: encode_answer(request_id, invalid)))
        with pytest.raises(InvalidRequest):
            await client.find_leader()

    play(pki, scenario)


@pytest.mark.parametrize(
    ("opcode", "outcome"),
    [(Opcode.OPEN_SESSION, Outcome.SESSION_LIMIT), (Opcode.PUT, Outcome.TOO_MANY_IN_FLIGHT)],
)
def test_too_much_at_once_is_asked_again(pki: Pki, opcode: Opcode, outcome: Outcome) -> None:
    """The cluster has done nothing, and may have room in a moment; when it refuses then, nothing is in doubt."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        later = answers.encode(outcome, cluster.term, cluster.machine.revision)
        postpone = Say(lambda request_id: encode_answer(request_id, later))
        plan_for_command(cluster, opcode, postpone)
        assert (await client.put("a", "1")).revision == 1
        denied = Refuse(Refusal(RefusalCode.DENIED, "alice may not"))
        plan_for_command(cluster, Opcode.PUT, postpone, denied)
        with pytest.raises(Denied, match="alice may not"):
            await client.put("a", "2")

    play(pki, scenario)
