import json
from collections.abc import Callable, Iterator

import pytest

from raftd.consensus.messages import Heartbeat, ReadIndex, ReadIndexReply
from raftd.consensus.types import NO_INDEX, LogIndex, NodeId, Term
from raftd.errors import RemoteProtocolError
from raftd.kv import answers, commands
from raftd.kv.answers import Outcome
from raftd.kv.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX
from raftd.kv.operations import (
    Put,
    Range,
)
from raftd.kv.pages import decode_history, decode_lease, decode_leases, decode_range
from raftd.kv.queries import HistoryQuery, LeaseQuery, LeasesQuery, RangeQuery
from raftd.kv.types import LeaseId
from raftd.node.admission import AdmissionLimits
from raftd.node.watches import WatchLimits
from raftd.wire.client import (
    BODY_OFFSET,
    Consistency,
    RefusalCode,
    RequestKind,
    ResponseKind,
    encode_log_body,
    encode_request,
)
from raftd.wire.frames import LENGTH_BYTES
from raftd.wire.limits import RESPONSE_BYTES_MAX
from raftd.wire.watch import (
    WatchEnd,
    WatchEndReason,
    decode_keep_alive_answer,
    encode_unwatch_body,
)
from tests.node.parts import Client, Documents, Server
from tests.node.test_gateway_access import OPEN, REQUESTS, SESSION, leader, read, watch, write


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (write(b""), RefusalCode.BAD_REQUEST),
        (write(b"\xff" * 40), RefusalCode.BAD_REQUEST),
        (write(commands.advance_clock(1000)), RefusalCode.BAD_REQUEST),
        (write(commands.delete(SESSION, 1, 1, b"key") + b"more"), RefusalCode.BAD_REQUEST),
        ((RequestKind.READ, b""), RefusalCode.BAD_REQUEST),
        ((RequestKind.READ, b"\0\x09key"), RefusalCode.BAD_REQUEST),
        ((RequestKind.READ, b"\x09\1key"), RefusalCode.BAD_REQUEST),
        (read(Consistency.LINEARIZABLE, b""), RefusalCode.BAD_REQUEST),
        (read(Consistency.STALE, b"k" * (KEY_BYTES_MAX + 1)), RefusalCode.TOO_LARGE),
        ((RequestKind.STATUS, b"body"), RefusalCode.BAD_REQUEST),
        ((RequestKind.PING, b"body"), RefusalCode.BAD_REQUEST),
        ((RequestKind.DIAGNOSTICS, b"body"), RefusalCode.BAD_REQUEST),
        ((RequestKind.TRACE, b"body"), RefusalCode.BAD_REQUEST),
        ((RequestKind.LOG, b"\1"), RefusalCode.BAD_REQUEST),
        ((RequestKind.READ, b"\0\2key"), RefusalCode.BAD_REQUEST),
        ((RequestKind.READ, b"\1\4" + bytes(8)), RefusalCode.BAD_REQUEST),
        ((RequestKind.WATCH, b"\xff"), RefusalCode.BAD_REQUEST),
        (watch(b"", b"k" * (KEY_BYTES_MAX + 2)), RefusalCode.BAD_REQUEST),
        ((RequestKind.UNWATCH, b""), RefusalCode.BAD_REQUEST),
        ((RequestKind.LEASE_KEEP_ALIVE, b"\0\0"), RefusalCode.BAD_REQUEST),
    ],
)
def test_a_malformed_body_is_answered(request_: tuple[RequestKind, bytes], code: RefusalCode) -> None:
    """And those that came with it are served."""
    server = leader()
    client = server.client()
    bad, ping = client.send(request_, (RequestKind.PING, b""))
    server.scheduler.run()
    assert client.refusal(bad).code is code
    assert client.responses[ping][0] is ResponseKind.PONG
    assert server.requests.is_idle


@pytest.mark.parametrize(("key_bytes", "value_bytes"), [(KEY_BYTES_MAX + 1, 1), (1, VALUE_BYTES_MAX + 1)])
def test_a_key_or_value_that_is_too_long_is_answered(key_bytes: int, value_bytes: int) -> None:
    """With what is too long about it."""
    command = commands.put(SESSION, 1, 1, b"k", b"")
    key = key_bytes.to_bytes(2, "little") + b"k" * key_bytes
    body = command[:26] + key + value_bytes.to_bytes(4, "little") + b"v" * value_bytes
    server = leader()
    client = server.client()
    (request_id,) = client.send(write(body))
    server.scheduler.run()
    refusal = client.refusal(request_id)
    assert refusal.code is RefusalCode.TOO_LARGE
    assert "has at most" in refusal.message


@pytest.mark.parametrize("payload", [b"", b"\1", b"\x63" + bytes(8)])
def test_what_is_no_request_ends_the_connection(payload: bytes) -> None:
    """Not the requests before it, which have their turn; those behind it are not looked at."""
    server = leader()
    client = server.client()
    ping = encode_request(RequestKind.PING, 7)[LENGTH_BYTES:]
    late = encode_request(RequestKind.PING, 8)[LENGTH_BYTES:]
    with pytest.raises(RemoteProtocolError):
        client.connection.receive([ping, payload, late])
    server.scheduler.run()
    assert list(client.responses) == [7]


def use(server: Server, user: str = "alice") -> Client:
    """A client with a session on a leader."""
    client = server.client(user)
    request_id = client.open_session()
    step(server)
    client.session = answers.decode_open_session(client.answer(request_id).body).session
    return client


def step(server: Server) -> None:
    """Let everything be done that was asked for."""
    server.scheduler.run()
    server.store()
    server.scheduler.run()


def test_ranges_and_histories_are_answered() -> None:
    """From the state after the writes that were answered before; the stale ones at once."""
    server = leader()
    client = use(server)
    client.put(b"a", b"b", b"c", value=b"old")
    client.put(b"b", value=b"new")
    step(server)
    ids = [
        client.ask(query, consistency)
        for consistency in Consistency
        for query in (RangeQuery(Range(b"a", b"c")), HistoryQuery(b"b", values=True))
    ]
    step(server)
    for request_id in ids[::2]:
        page = decode_range(client.answer(request_id).body)
        assert [(key, item.value) for key, item in page.items] == [(b"a", b"old"), (b"b", b"new")]
        assert (page.key_count, page.more) == (2, False)
    for request_id in ids[1::2]:
        history = decode_history(client.answer(request_id).body)
        assert [change.value for change in history.changes] == [b"new", b"old"]
    assert server.requests.is_idle


def test_leases_are_told_of_by_the_leader() -> None:
    """Each user's own ones; administrators see all. What is left of them runs down, until they are kept alive."""
    server = leader()
    alice, carol, dave = use(server), use(server, "carol"), server.client("dave")
    ids = [alice.grant_lease(60_000), carol.grant_lease(30_000)]
    step(server)
    leases = [
        answers.decode_lease_grant(client.answer(request_id).body).lease
        for client, request_id in zip((alice, carol), ids, strict=True)
    ]
    carol.write(Put(b"open/key", b"value", lease=leases[1]))
    server.scheduler.advance(0.2)
    step(server)
    server.scheduler.advance(10.0)
    asked = [(client, client.ask(LeaseQuery(leases[1]))) for client in (alice, carol, dave)]
    listed = [(client, client.ask(LeasesQuery())) for client in (alice, carol, dave)]
    step(server)
    # The administrator alice sees another's lease, too.
    for client, request_id in asked:
        info = decode_lease(client.answer(request_id).body)
        assert (info.ttl_ms, info.user, info.keys) == (30_000, b"carol", (b"open/key",))
        assert 19_000 <= info.remaining_ms <= 20_100
    pages = [decode_leases(client.answer(request_id).body) for client, request_id in listed]
    assert [[lease.lease for lease in page.leases] for page in pages] == [leases, leases[1:], leases]
    server.scheduler.advance(0.01)
    kept = carol.keep_alive(leases[1], leases[0], 99), carol.ask(LeaseQuery(leases[0]))
    step(server)
    assert decode_keep_alive_answer(carol.answer(kept[0]).body) == (30_000, 0, 0)
    assert carol.answer(kept[1]).outcome is Outcome.LEASE_NOT_FOUND


def test_only_the_leader_answers_for_leases() -> None:
    """A follower sends the client there."""
    server = following(1)
    client = server.client()
    ids = client.keep_alive(1), client.ask(LeaseQuery(LeaseId(1))), client.ask(LeasesQuery(), Consistency.STALE)
    server.scheduler.run()
    assert [client.refusal(request_id).leader_id for request_id in ids] == [2, 2, 2]


def test_a_watch_takes_no_room_once_it_goes_on() -> None:
    """However many there are, requests are taken as before; until it begins it is a request like others."""
    server = leader(admission_limits=AdmissionLimits(requests_in_flight_max=2))
    client = use(server)
    for _ in range(5):
        first, second, third = (client.watch(b"k", b"l") for _ in range(3))
        step(server)
        assert [client.told(watch_id).began for watch_id in (first, second, third)] == [0, 0, None]
        assert client.refusal(third).code is RefusalCode.OVERLOADED
    (put,) = client.put(b"k1")
    step(server)
    assert client.answer(put).outcome is Outcome.OK
    assert client.told(first).keys == [b"k1"]
    assert client.connection.in_flight == 0


def test_a_watch_too_many_is_told_so() -> None:
    """In its own words, which are the request's answer; nothing else is begun for it."""
    server = leader()
    server.watches._limits = WatchLimits(per_connection_max=1)
    client = server.client()
    first, second = client.watch(b"", b""), client.watch(b"", b"")
    step(server)
    end = client.told(second).end
    assert end is not None
    assert (client.told(first).end, end.reason) == (None, WatchEndReason.TOO_MANY)
    assert client.connection.in_flight == 0
    assert server.watches.count == 1


def test_unwatching() -> None:
    """The watch says that it has ended, and then the request is answered; so it is if there is no such watch."""
    server = leader()
    client = use(server)
    watch_id = client.watch(b"", b"")
    step(server)
    ids = [client.send((RequestKind.UNWATCH, encode_unwatch_body(watch_id)))[0] for _ in range(2)]
    client.put(b"key")
    step(server)
    assert client.told(watch_id).end == WatchEnd(WatchEndReason.CANCELLED, 0)
    assert [client.responses[request_id][0] for request_id in ids] == [ResponseKind.UNWATCHED] * 2


def test_unwatching_what_waits_to_begin() -> None:
    """It does not begin then, and is not refused besides."""
    server = Server(size=3)
    server.become_leader()
    client = server.client()
    watch_id = client.watch(b"", b"")
    server.scheduler.run()
    client.send((RequestKind.UNWATCH, encode_unwatch_body(watch_id)))
    server.hear(3, Heartbeat(Term(2), NodeId(3), NO_INDEX, 1))
    server.scheduler.run()
    assert client.told(watch_id).end == WatchEnd(WatchEndReason.CANCELLED, 0)
    assert watch_id not in client.responses
    assert (server.watches.count, client.connection.in_flight) == (0, 0)


def test_a_watch_that_no_leader_confirms_is_refused() -> None:
    """And is forgotten."""
    server = Server(size=3)
    server.become_leader()
    client = server.client()
    watch_id = client.watch(b"", b"")
    server.scheduler.run()
    server.hear(3, Heartbeat(Term(2), NodeId(3), NO_INDEX, 1))
    server.scheduler.run()
    assert client.refusal(watch_id).code is RefusalCode.NOT_LEADER
    assert server.watches.count == 0


def test_two_watches_of_one_id_end_the_connection() -> None:
    """Nobody could tell them apart."""
    server = leader()
    client = server.client()
    payload = encode_request(RequestKind.WATCH, 7, watch(b"", b"")[1])[LENGTH_BYTES:]
    with pytest.raises(RemoteProtocolError):
        client.connection.receive([payload, payload])


def test_a_draining_node_ends_its_watches() -> None:
    """And begins none."""
    server = leader()
    client = server.client()
    watches = [client.watch(b"", b"") for _ in range(3)]
    step(server)
    server.gateway.drain()
    late = client.watch(b"", b"")
    step(server)
    assert {client.told(watch_id).end for watch_id in watches} == {WatchEnd(WatchEndReason.NODE_STOPPING, 0)}
    assert client.refusal(late).code is RefusalCode.STOPPING


def test_watches_end_when_their_range_is_granted_no_more() -> None:
    """They are told nothing of what happens from then on; others go on."""
    server = leader()
    client, bob = use(server), server.client("bob")
    all_keys, open_keys, key = client.watch(b"", b""), client.watch(*OPEN), bob.watch(b"open/key", b"open/key\0")
    step(server)
    late = client.watch(b"", b"")
    client.connection.permissions = bob.connection.permissions
    server.gateway.review_watches()
    client.connection.permissions = server.client().connection.permissions
    client.put(b"open/key")
    step(server)
    assert client.told(all_keys).end == WatchEnd(WatchEndReason.DENIED, 0)
    assert client.told(late).end == WatchEnd(WatchEndReason.DENIED, 0)
    assert client.told(all_keys).keys == client.told(late).keys == []
    assert client.told(open_keys).keys == bob.told(key).keys == [b"open/key"]
    assert server.watches.count == 2


def test_a_watch_goes_with_its_connection() -> None:
    """Whether it has begun or not."""
    server = leader()
    client = server.client()
    client.watch(b"", b"")
    step(server)
    client.watch(b"", b"")
    client.channel.is_closed = True
    client.connection.closed()
    step(server)
    assert server.watches.count == 0
    assert server.requests.is_idle


def following(commit: int) -> Server:
    """A follower of node 2 that has the leader's commit index."""
    server = Server(size=3)
    server.follow(2, 1, b"any")
    server.scheduler.run()
    server.store()
    server.hear(2, Heartbeat(Term(1), NodeId(2), LogIndex(commit), 1))
    server.scheduler.run()
    return server


def test_a_follower_reads_at_the_index_that_its_leader_confirms() -> None:
    """It asks the leader, and answers from its own state once it has applied that far; a refusal sends elsewhere."""
    server = following(1)
    client = server.client()
    for read_index in (LogIndex(1), None):
        request_id = client.get(b"key")
        server.scheduler.run()
        (asked,) = [message for peer, message in server.take_sent() if peer == 2 and isinstance(message, ReadIndex)]
        assert request_id not in client.responses
        server.hear(2, ReadIndexReply(Term(1), asked.read_id, read_index))
        server.scheduler.run()
        if read_index is None:
            assert client.refusal(request_id).code is RefusalCode.NOT_LEADER
        else:
            assert client.answer(request_id).outcome is Outcome.NOT_FOUND
    assert server.requests.is_idle


def test_a_stale_read_is_answered_by_any_node_that_has_replayed() -> None:
    """A follower answers from what it has applied; one that has not applied anything yet does not say 'not found'."""
    server = following(1)
    client = server.client()
    stale = client.get(b"key", Consistency.STALE)
    server.scheduler.run()
    assert client.answer(stale).outcome is Outcome.NOT_FOUND
    server.scheduler.advance(10.0)
    assert server.raft.leader_id is None
    stale = client.get(b"key", Consistency.STALE)
    question = client.ask(RangeQuery(Range(b"", b"")), Consistency.STALE)
    server.scheduler.run()
    assert client.answer(stale).outcome is Outcome.NOT_FOUND
    assert client.answer(question).outcome is Outcome.OK
    fresh = Server(size=3)
    client = fresh.client()
    stale, linearizable = client.get(b"key", Consistency.STALE), client.get(b"key")
    question = client.ask(RangeQuery(Range(b"", b"")), Consistency.STALE)
    fresh.scheduler.run()
    assert client.refusal(stale).code is RefusalCode.UNAVAILABLE
    assert client.refusal(question).code is RefusalCode.UNAVAILABLE
    assert client.refusal(linearizable).code is RefusalCode.NO_LEADER


@pytest.mark.parametrize("ask", [lambda c: c.get(b"key", Consistency.STALE), lambda c: c.send(REQUESTS["log"])[0]])
def test_who_does_not_read_gets_nothing_large(ask: Callable[[Client], int]) -> None:
    """Stale reads and documents need no quorum, and so nothing else holds them back."""
    server = leader()
    client = server.client()
    client.channel.unsent_bytes = 1 << 30
    request_id = ask(client)
    server.scheduler.run()
    assert client.refusal(request_id).code is RefusalCode.OVERLOADED


def test_a_write_s_entry_says_who_wrote_from_where_and_when() -> None:
    """The stamp goes in front of the very bytes that the client sent."""
    server = leader()
    client = server.client()
    client.send(REQUESTS["put"])
    server.scheduler.run()
    (entry,) = server.raft.entries(LogIndex(server.raft.last_index), LogIndex(server.raft.last_index + 1))
    command = commands.decode(entry[3])
    assert (command.user, command.address, command.wall_clock_ms) == ("alice", "192.0.2.1:5000", 1_700_000_000_000)
    assert entry[3].endswith(REQUESTS["put"][1])


def test_documents_are_json() -> None:
    """Of the node that is asked, leader or not."""
    server = Server(size=3)
    client = server.client()
    status, log = client.send(REQUESTS["status"], REQUESTS["log"])
    server.scheduler.run()
    documents = [json.loads(client.responses[request_id][1][BODY_OFFSET:]) for request_id in (status, log)]
    assert documents == [{"node_id": 1}, {"last": 10}]


def test_a_long_log_is_not_written_in_the_turn_in_which_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand large transactions take half a second: heartbeats and others' gets go on meanwhile."""
    written: list[int] = []

    def pieces(last: int) -> Iterator[str]:
        for number in range(last):
            written.append(number)
            yield "0"

    server = leader()
    monkeypatch.setattr(Documents, "log_document", lambda _, last: pieces(last))
    client = server.client()
    log, ping = client.send((RequestKind.LOG, encode_log_body(1000)), (RequestKind.PING, b""))
    assert written == []
    server.scheduler.run()
    assert list(client.responses) == [ping, log]
    assert len(written) == 1000
    assert server.requests.is_idle


@pytest.mark.parametrize(("more", "kind"), [(0, ResponseKind.DOCUMENT), (1, ResponseKind.REFUSED)])
def test_a_document_that_is_too_long_is_refused(more: int, kind: ResponseKind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client would end the connection at such a frame, and with it whatever else is under way there."""
    server = Server(size=3)
    text = "x" * (RESPONSE_BYTES_MAX - BODY_OFFSET - len('""') + more)
    monkeypatch.setattr(Documents, "diagnostics_document", lambda _: text)
    client = server.client()
    (request_id,) = client.send(REQUESTS["diagnostics"])
    server.scheduler.run()
    assert client.responses[request_id][0] is kind


def test_a_leader_that_is_deposed_sends_clients_away() -> None:
    """From the moment on at which consensus knows."""
    server = Server(size=3)
    server.become_leader()
    server.hear(3, Heartbeat(Term(2), NodeId(3), NO_INDEX, 1))
    client = server.client()
    (put,) = client.put(b"key")
    server.scheduler.run()
    assert client.refusal(put).leader_id == 3
