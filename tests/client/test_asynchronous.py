import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from raftd.client import (
    AsyncClient,
    ClientError,
    CompareFailed,
    ConfigurationError,
    Denied,
    InvalidRequest,
    TlsError,
    TooLarge,
    Unavailable,
)
from raftd.wire.client import Refusal, RefusalCode, RequestKind, encode_refusal
from raftd.wire.frames import encode_frame
from tests.client.fake import Cut, FakeCluster, Pki, Refuse, Say, Silent
from tests.client.playing import play, until

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
            assert all(endpoint in str(result) for endpoint in cluster.endpoints)
            assert str(result).count("refused") >= 2  # the one that is being tried at the end may not have refused yet

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


def test_a_node_that_is_switched_off_leaves_time_for_the_others(pki: Pki) -> None:
    """A call that may take less time than dialling comes to a second node nevertheless, and so does a watch."""

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:  # its backlog accepts, and nobody ever answers
            host, port = silent.getsockname()
            async with pki.cluster(1) as cluster:
                endpoints = [f"{host}:{port}", *cluster.endpoints]
                async with AsyncClient(endpoints, tls=pki.user, timeout=2.1, dead_after=60) as client:
                    assert (await client.put("a", "1")).revision == 1
                async with (
                    AsyncClient(endpoints, tls=pki.user, timeout=2.1, dead_after=60) as client,
                    client.watch("a", revision=1) as watch,
                ):
                    assert (await anext(watch)).revision == 1

    asyncio.run(scenario())


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


def test_closing_goes_on_without_its_caller(pki: Pki) -> None:
    """Who is cancelled in `close` leaves nothing open; who closes again waits for the same end."""

    async def scenario(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.put("a", "1")
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await client.close()
        await until(lambda: not any(node.connections for node in cluster.nodes))
        assert cluster.machine.session_count == 0

    play(pki, scenario)
