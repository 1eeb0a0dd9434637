import asyncio
from collections.abc import Awaitable, Callable

import pytest

from raftd.client import (
    AsyncClient,
    ClientError,
    CompareFailed,
    ConfigurationError,
    Denied,
    InvalidRequest,
    OutcomeUnknown,
    SessionExpired,
    TlsError,
    TooLarge,
    Unavailable,
)
from raftd.kv.commands import Opcode, parse
from raftd.wire.client import Refusal, RefusalCode, RequestKind, encode_refusal
from raftd.wire.frames import encode_frame
from tests.client.fake import Cut, FakeCluster, Pki, Reaction, Refuse, Say, Silent, Wait

Scenario = Callable[[FakeCluster, AsyncClient], Awaitable[None]]

REFUSALS = [
    code
    for code in RefusalCode
    if code not in {RefusalCode.DENIED, RefusalCode.TOO_LARGE, RefusalCode.NOT_POSSIBLE, RefusalCode.FULL}
]


def play(pki: Pki, scenario: Scenario, timeout: float = 5.0, dead_after: float = 2.0) -> None:
    async def run() -> None:
        async with (
            pki.cluster() as cluster,
            AsyncClient(cluster.endpoints, tls=pki.user, timeout=timeout, dead_after=dead_after) as client,
        ):
            await scenario(cluster, client)

    asyncio.run(run())


def puts(cluster: FakeCluster) -> list[bytes]:
    """The bytes of every put that reached a node, in the order of nodes."""
    return [body for node in cluster.nodes for kind, body in node.requests if body[:1] == bytes((Opcode.PUT,))]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for the fake, which tells nobody."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - no event says it
            await asyncio.sleep(0.001)


# What it does when all is well.


def test_put_get_delete(pki: Pki) -> None:
    """What was put is got, until it is deleted; bytes and str are the same key."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        put = await client.put("ä", b"1")
        assert (put.revision, put.version) == (1, 1)
        await client.put("ä".encode(), "ö")
        found = await client.get("ä")
        assert found is not None
        assert (found.key, found.value) == ("ä".encode(), "ö".encode())
        assert (found.create_revision, found.modify_revision, found.version, found.revision) == (1, 2, 2, 2)
        deleted = await client.delete("ä")
        assert (deleted.deleted, deleted.revision) == (True, 3)
        assert not (await client.delete("ä")).deleted
        assert await client.get("ä") is None

    play(pki, scenario)


def test_compare_and_swap(pki: Pki) -> None:
    """A write with an expected revision happens at that revision, and else says which one there is."""

    async def scenario(_: FakeCluster, client: AsyncClient) -> None:
        first = await client.put("a", "1", expected_revision=0)
        with pytest.raises(CompareFailed) as caught:
            await client.put("a", "2", expected_revision=0)
        assert caught.value.current_revision == first.revision
        await client.put("a", "2", expected_revision=first.revision)
        with pytest.raises(CompareFailed):
            await client.delete("a", expected_revision=first.revision)
        with pytest.raises(CompareFailed) as caught:
            await client.delete("none", expected_revision=9)
        assert caught.value.current_revision == 0

    play(pki, scenario)


def test_one_session_and_one_connection_for_many_tasks(pki: Pki) -> None:
    """Tasks that begin together share the first connection and the first session."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await asyncio.gather(*(client.put(f"k{number}", "v") for number in range(300)))
        assert cluster.machine.revision == 300
        assert cluster.machine.session_count == 1
        assert sum(node.accepted_total for node in cluster.nodes) == 1

    play(pki, scenario)


def test_status_log_and_ping_ask_the_named_node(pki: Pki) -> None:
    """These three are about one node, leader or not."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        for node in cluster.nodes:
            assert await client.status(node.address) == {"node_id": node.node_id}
        assert await client.log(cluster.endpoints[2], last=3) == {"entries": []}
        assert cluster.nodes[2].requests[-1] == (RequestKind.LOG, b"\3\0\0\0")
        assert await client.ping(cluster.endpoints[1]) >= 0

    play(pki, scenario)


def test_a_node_that_does_not_answer_for_itself(pki: Pki) -> None:
    """A question to one node is not repeated: it ends at once, with the node's name and why."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        node = cluster.nodes[1]
        node.plan_for = lambda _kind, _body: True
        node.plan.extend(
            [
                Refuse(Refusal(RefusalCode.DENIED, "not an administrator")),
                Refuse(Refusal(RefusalCode.STOPPING)),
                Say(lambda request_id: encode_frame(b"\3" + request_id.to_bytes(8, "little") + b"no JSON")),
                Say(lambda request_id: encode_frame(b"\3" + request_id.to_bytes(8, "little") + b"[]")),
                Say(lambda request_id: encode_frame(b"\4" + request_id.to_bytes(8, "little"))),
                Cut(0),
            ]
        )
        with pytest.raises(Denied, match="not an administrator"):
            await client.status(node.address)
        for message in ("stopping", "cannot be read", "not a JSON object", "PONG came", "closed|reset"):
            with pytest.raises(Unavailable, match=message) as caught:
                await client.status(node.address)
            assert str(caught.value).startswith(node.address)
        await node.stop()
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:\d+: .*refused"):
            await client.ping(node.address)

    play(pki, scenario)


# Finding the leader.


def test_follows_redirections_and_remembers(pki: Pki) -> None:
    """Whoever is asked first, the leader is found by one redirection and then asked directly."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.leader = cluster.nodes[2]
        await client.put("a", "1")
        for node in cluster.nodes:
            node.requests.clear()
        for _ in range(5):
            await client.put("a", "1")
        assert [len(node.data_requests) for node in cluster.nodes] == [0, 0, 5]
        assert await client.find_leader() == cluster.nodes[2].address

    play(pki, scenario)


def test_finds_nodes_that_are_not_configured(pki: Pki) -> None:
    """A redirection may lead to an address outside the endpoints: the certificate says whether it belongs."""

    async def run() -> None:
        async with pki.cluster() as cluster:
            cluster.leader = cluster.nodes[2]
            async with AsyncClient(cluster.endpoints[:1], tls=pki.user) as client:
                await client.put("a", "1")

    asyncio.run(run())


def test_waits_for_a_leader(pki: Pki) -> None:
    """An election in between is not an error, as long as it ends before the deadline."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.leader = None
        task = asyncio.create_task(client.put("a", "1"))
        await until(lambda: sum(len(node.requests) for node in cluster.nodes) >= 6)
        cluster.leader = cluster.nodes[1]
        assert (await task).revision == 1

    play(pki, scenario)


def test_no_leader_until_the_deadline(pki: Pki) -> None:
    """Without a leader a write ends in Unavailable, on time, with each node's words."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.leader = None
        loop = asyncio.get_running_loop()
        start = loop.time()
        with pytest.raises(Unavailable, match="no leader is known") as caught:
            await client.put("a", "1")
        assert 0.3 <= loop.time() - start < 1.5
        for endpoint in cluster.endpoints:
            assert endpoint in str(caught.value)

    play(pki, scenario, timeout=0.3)


def test_everything_down(pki: Pki) -> None:
    """With all nodes down, each call of many ends in Unavailable and names each endpoint and why."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        for node in cluster.nodes:
            await node.stop()
        results = await asyncio.gather(*(client.put("a", "1") for _ in range(5)), return_exceptions=True)
        for result in results:
            assert type(result) is Unavailable
            assert str(result).count("refused") == 3

    play(pki, scenario, timeout=0.3)


def test_stale_reads_ask_anyone(pki: Pki) -> None:
    """A stale read needs no leader, and several of them ask several nodes."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "1")
        cluster.leader = None
        for _ in range(3):
            found = await client.get("a", stale=True)
            assert found is not None
        assert all(any(kind is RequestKind.READ for kind, _ in node.requests) for node in cluster.nodes)

    play(pki, scenario)


def test_reconnects_to_a_restarted_cluster(pki: Pki) -> None:
    """Connections that ended while nobody looked are made again, and the session goes on."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "1")
        for node in cluster.nodes:
            await node.stop()
            await cluster.restart(node)
        await client.put("a", "2")
        assert (cluster.machine.revision, cluster.machine.session_count) == (2, 1)

    play(pki, scenario)


def test_a_dead_leader_that_keeps_its_connections(pki: Pki) -> None:
    """A frozen leader is left after `dead_after`, and the write is repeated at its successor, once."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "1")
        cluster.nodes[0].plan.append(Silent(apply=True, freeze=True))
        cluster.leader = cluster.nodes[1]
        assert (await client.put("a", "2")).revision == 2
        assert cluster.machine.revision == 2

    play(pki, scenario, dead_after=0.3)


# Exactly once.


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


def test_no_answer_until_the_deadline_is_unknown(pki: Pki) -> None:
    """A write that was sent and never answered may have happened, and that is said."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "0")
        cluster.nodes[0].plan.append(Silent(apply=True))
        with pytest.raises(OutcomeUnknown, match="may or may not"):
            await client.put("a", "1")

    play(pki, scenario, timeout=0.3)


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


def test_sessions_are_kept_alive(pki: Pki) -> None:
    """An idle client touches its session three times in its time to live; one that writes need not."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "1")
        session = client._session
        assert session is not None
        keeper = asyncio.create_task(client._keep_alive(session, 0.02))
        await until(lambda: sum(body[0] == Opcode.KEEP_ALIVE for _, body in cluster.nodes[0].requests) >= 2)
        cluster.expire_sessions()
        await keeper  # ends by itself when the cluster says that the session is over
        assert client._session is None
        await client.put("a", "2")

    play(pki, scenario)


# What makes no sense.


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda client: client.get(""), InvalidRequest),
        (lambda client: client.get(bytes(4097)), TooLarge),
        (lambda client: client.put("a", bytes((1 << 20) + 1)), TooLarge),
        (lambda client: client.put("a", "1", expected_revision=-1), InvalidRequest),
        (lambda client: client.put("a", "1", expected_revision=1 << 64), InvalidRequest),
        (lambda client: client.put("a", 5), TypeError),
        (lambda client: client.get(None), TypeError),
        (lambda client: client.log("127.0.0.1:1", 0), InvalidRequest),
        (lambda client: client.status("a b"), ConfigurationError),
    ],
)
def test_nonsense_is_never_sent(
    pki: Pki, call: Callable[[AsyncClient], Awaitable[object]], error: type[Exception]
) -> None:
    """What cannot be right is refused before anything is dialled."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        with pytest.raises(error):
            await call(client)
        assert not any(node.accepted_total for node in cluster.nodes)

    play(pki, scenario)


@pytest.mark.parametrize(
    "arguments",
    [
        {"endpoints": []},
        {"endpoints": "127.0.0.1:1"},
        {"endpoints": ["::1"]},
        {"timeout": 0},
        {"dead_after": -1},
        {"session_ttl": 0},
    ],
)
def test_senseless_clients(pki: Pki, arguments: dict[str, object]) -> None:
    """A client that could never work is not made."""
    complete: dict[str, object] = {"endpoints": ["127.0.0.1:1"], "tls": pki.user, **arguments}
    with pytest.raises(ClientError):
        AsyncClient(**complete)  # type: ignore[arg-type]  # wrong on purpose


def test_a_cluster_that_took_the_place_of_another(pki: Pki) -> None:
    """A client stays with the cluster that it met first: sequences and revisions mean nothing elsewhere."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "1")
        cluster.cluster_id = bytes(15) + b"x"
        for node in cluster.nodes:
            await node.stop()
            await cluster.restart(node)
        with pytest.raises(Unavailable, match="is sought, and this is"):
            await client.put("a", "2")
        assert cluster.machine.revision == 1

    play(pki, scenario, timeout=0.4)


def test_a_refusal_that_is_no_text(pki: Pki) -> None:
    """A refusal with an unknown code is garbage: the connection ends, and the write is repeated."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        def unknown_code(request_id: int) -> bytes:
            frame = bytearray(encode_refusal(request_id, Refusal(RefusalCode.NO_LEADER)))
            frame[13] = 99
            return bytes(frame)

        cluster.nodes[0].plan.append(Say(unknown_code))
        assert (await client.put("a", "1")).version == 1

    play(pki, scenario)


def test_tls_error_is_at_once(pki: Pki) -> None:
    """A factory that cannot make a context any more ends a call at once."""
    contexts = [pki.user.context()]

    def make_context() -> object:
        if not contexts:
            raise TlsError("the key is gone")
        return contexts.pop()

    async def run() -> None:
        async with AsyncClient(["127.0.0.1:1"], tls=make_context) as client:  # type: ignore[arg-type]  # wrong on purpose
            with pytest.raises(TlsError, match="the key is gone"):
                await client.get("a")

    asyncio.run(run())
