import json
from collections.abc import Callable
from typing import Any

import pytest

from raftd.consensus import Membership, encode_membership
from raftd.consensus.messages import AppendEntries, Heartbeat, ReadIndex, ReadIndexReply
from raftd.consensus.types import NO_INDEX, EntryKind, LogIndex, NodeId, Term
from raftd.errors import RemoteProtocolError
from raftd.kv import commands
from raftd.kv.access import AccessRules, Grant
from raftd.kv.answers import Outcome
from raftd.kv.commands import SessionId
from raftd.kv.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX
from raftd.node.gateway import GatewayLimits
from raftd.wire.client import (
    BODY_OFFSET,
    Consistency,
    QueryOpcode,
    Refusal,
    RefusalCode,
    RequestKind,
    ResponseKind,
    decode_document,
    encode_log_body,
    encode_read_body,
    encode_request,
)
from raftd.wire.frames import LENGTH_BYTES
from tests.node.parts import Client, Server

SESSION = SessionId(1)


def leader(**options: Any) -> Server:
    """A one-node cluster that has applied its no-op."""
    server = Server(size=1, **options)
    server.become_leader()
    return server


def read(consistency: Consistency, key: bytes) -> tuple[RequestKind, bytes]:
    return RequestKind.READ, encode_read_body(consistency, QueryOpcode.GET, key)


def write(command: bytes) -> tuple[RequestKind, bytes]:
    return RequestKind.WRITE, command


REQUESTS = {
    "put open": write(commands.put(SESSION, 1, 1, b"open/key", b"value")),
    "put": write(commands.put(SESSION, 1, 1, b"key", b"value")),
    "delete": write(commands.delete(SESSION, 1, 1, b"key")),
    "open session": write(commands.open_session()),
    "close session": write(commands.close_session(SESSION)),
    "keep alive": write(commands.keep_alive(SESSION)),
    "get open": read(Consistency.LINEARIZABLE, b"open/key"),
    "get": read(Consistency.LINEARIZABLE, b"key"),
    "get the prefix's own beginning": read(Consistency.LINEARIZABLE, b"open"),
    "stale get open": read(Consistency.STALE, b"open/key"),
    "stale get": read(Consistency.STALE, b"key"),
    "status": (RequestKind.STATUS, b""),
    "log": (RequestKind.LOG, encode_log_body(10)),
    "ping": (RequestKind.PING, b""),
}
ALLOWED = {
    "alice": set(REQUESTS),  # All keys, and an administrator.
    "bob": {"get open", "stale get open", "ping"},  # Reads below open/.
    "stranger": {"ping"},  # A certificate, and nothing else.
}


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("user", ALLOWED)
def test_who_may_do_what(user: str, request_name: str) -> None:
    """The one place that decides; everything that is not granted is denied, and nothing of it is proposed."""
    server = leader()
    last_index = server.raft.last_index
    client = server.client(user)
    (request_id,) = client.send(REQUESTS[request_name])
    server.scheduler.run()
    server.store()
    if request_name in ALLOWED[user]:
        assert client.responses[request_id][0] is not ResponseKind.REFUSED
    else:
        assert client.refusal(request_id).code is RefusalCode.DENIED
        assert server.raft.last_index == last_index


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
        ((RequestKind.LOG, b"\1"), RefusalCode.BAD_REQUEST),
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


def test_one_connection_has_only_so_much_under_way() -> None:
    """Writes and reads together; answered ones make room; other connections are not affected."""
    server = leader(gateway_limits=GatewayLimits(requests_in_flight_max=3))
    client, other = server.client(), server.client()
    ids = client.put(b"a", b"b")
    ids += [client.get(b"a"), client.get(b"b"), *client.put(b"c")]
    (elsewhere,) = other.put(b"a")
    server.scheduler.run()
    server.store()
    assert [client.responses[request_id][0] for request_id in ids[:3]] == [ResponseKind.ANSWER] * 3
    assert [client.refusal(request_id).code for request_id in ids[3:]] == [RefusalCode.OVERLOADED] * 2
    assert other.responses[elsewhere][0] is ResponseKind.ANSWER
    (again,) = client.put(b"c")
    server.scheduler.run()
    server.store()
    assert client.responses[again][0] is ResponseKind.ANSWER


def test_all_connections_together_hold_only_so_many_bytes() -> None:
    """The bound is looked at before a write is taken, so it is overshot by one write at most."""
    server = leader(gateway_limits=GatewayLimits(pending_bytes_max=1000))
    clients = [server.client() for _ in range(3)]
    ids = [client.put(b"key", value=b"v" * 600)[0] for client in clients]
    server.scheduler.run()
    assert clients[2].refusal(ids[2]).code is RefusalCode.OVERLOADED
    server.store()
    assert [client.answer(request_id).outcome for client, request_id in zip(clients[:2], ids[:2], strict=True)] == [
        Outcome.SESSION_EXPIRED,
        Outcome.SESSION_EXPIRED,
    ]
    assert server.requests.bytes_held == 0
    (again,) = clients[2].put(b"key", value=b"v" * 600)
    server.scheduler.run()
    server.store()
    assert clients[2].responses[again][0] is ResponseKind.ANSWER


def test_a_full_disk_takes_deletes_and_no_puts() -> None:
    """Otherwise no space would ever come back."""
    server = leader()
    server.disk.disk_low = True
    client = server.client()
    put, delete = client.send(REQUESTS["put"], REQUESTS["delete"])
    server.scheduler.run()
    server.store()
    assert client.refusal(put).code is RefusalCode.OVERLOADED
    assert client.responses[delete][0] is ResponseKind.ANSWER


def test_a_draining_node_takes_nothing_new_and_finishes_the_rest() -> None:
    """What needs no log is answered up to the end."""
    server = leader()
    client = server.client()
    (before,) = client.put(b"key")
    server.scheduler.run()
    server.gateway.is_draining = True
    put, get, ping, status = client.send(REQUESTS["put"], REQUESTS["get"], REQUESTS["ping"], REQUESTS["status"])
    server.scheduler.run()
    server.store()
    assert client.responses[before][0] is ResponseKind.ANSWER
    assert [client.refusal(request_id).code for request_id in (put, get)] == [RefusalCode.STOPPING] * 2
    assert client.responses[ping][0] is ResponseKind.PONG
    assert client.responses[status][0] is ResponseKind.DOCUMENT


def following(commit: int) -> Server:
    """A follower of node 2 that has the leader's commit index."""
    server = Server(size=3)
    server.follow(2, 1, b"any")
    server.scheduler.run()
    server.store()
    server.hear(2, Heartbeat(Term(1), NodeId(2), LogIndex(commit), 1))
    server.scheduler.run()
    return server


def test_a_follower_names_the_leader() -> None:
    """With the address at which clients reach it."""
    server = following(1)
    client = server.client()
    (request_id,) = client.put(b"key")
    server.scheduler.run()
    refusal = client.refusal(request_id)
    assert (refusal.code, refusal.leader_id, refusal.leader_address) == (RefusalCode.NOT_LEADER, 2, "node-2:7400")
    assert server.requests.is_idle


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
    fresh = Server(size=3)
    client = fresh.client()
    stale, linearizable = client.get(b"key", Consistency.STALE), client.get(b"key")
    fresh.scheduler.run()
    assert client.refusal(stale).code is RefusalCode.UNAVAILABLE
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


def test_a_leader_that_is_deposed_sends_clients_away() -> None:
    """From the moment on at which consensus knows."""
    server = Server(size=3)
    server.become_leader()
    server.hear(3, Heartbeat(Term(2), NodeId(3), NO_INDEX, 1))
    client = server.client()
    (put,) = client.put(b"key")
    server.scheduler.run()
    assert client.refusal(put).leader_id == 3


def test_a_follower_s_redirect_names_the_replicated_address() -> None:
    """A leader that has moved is where the membership says, whatever the settings still do."""
    server = Server(size=3)
    places = "client=moved:7400,peer=moved:7401,http=moved:7402"
    membership = Membership(frozenset(map(NodeId, (1, 2, 3))), addresses={NodeId(2): places})
    entry = (LogIndex(1), Term(1), EntryKind.MEMBERSHIP, encode_membership(membership))
    server.hear(2, AppendEntries(Term(1), NodeId(2), NO_INDEX, Term(0), NO_INDEX, (entry,)))
    server.scheduler.run()
    client = server.client()
    (request_id,) = client.put(b"key")
    server.scheduler.run()
    assert client.refusal(request_id).leader_address == "moved:7400"


def test_a_follower_takes_reads_as_long_as_it_knows_a_leader() -> None:
    """It can ask that leader from which index on it may answer; without one it says so."""
    server = Server(size=3)
    client = server.client()
    early = client.get(b"key")
    server.scheduler.run()
    assert client.refusal(early).code is RefusalCode.NO_LEADER
    server.hear(2, Heartbeat(Term(1), NodeId(2), NO_INDEX, 1))
    server.scheduler.run()
    client.get(b"key")
    assert server.requests.has_queued_reads


def test_other_rules_count_on_connections_that_stand() -> None:
    """From the next request on: what was taken away is denied, what was given is allowed."""
    server = leader()
    alice, bob, gone = server.client("alice"), server.client("bob"), server.client("bob")
    gone.connection.closed()
    rules = AccessRules([Grant("bob", b"", read=True, write=True)], administrators=["bob"])
    server.gateway.use(rules=rules, client_addresses={})
    requests = list(REQUESTS.values())
    refused = [alice.send(request)[0] for request in requests]
    allowed = [bob.send(request)[0] for request in requests]
    server.scheduler.run()
    server.store()
    names = list(REQUESTS)
    assert [names[place] for place, each in enumerate(refused) if each not in alice.responses] == []
    assert {names[place] for place, each in enumerate(refused) if not is_denied(alice, each)} == ALLOWED["stranger"]
    assert not any(is_denied(bob, each) for each in allowed)
    assert gone.connection.permissions.administers is False


def is_denied(client: Client, request_id: int) -> bool:
    kind, _ = client.responses[request_id]
    return kind is ResponseKind.REFUSED and client.refusal(request_id).code is RefusalCode.DENIED


def test_a_connection_that_is_to_end_is_told_to_go_elsewhere() -> None:
    """Whatever it asks for; nothing of that is done, and what it asked before is answered."""
    server = leader()
    client = server.client()
    (before,) = client.put(b"a")
    client.connection.leave("why")
    last_index = server.raft.last_index
    after = [client.send(request)[0] for request in REQUESTS.values()]
    server.scheduler.run()
    assert all(client.refusal(each).code is RefusalCode.STOPPING for each in after)
    assert server.raft.last_index == last_index + 1
    assert not client.channel.is_closed
    server.store()
    assert client.responses[before][0] is ResponseKind.ANSWER
    assert client.channel.is_closed


def test_a_reload_is_for_administrators_and_answered_when_it_is_done() -> None:
    """Others are denied; the answer comes in a later turn, as a document or a refusal."""
    server = leader()
    alice, bob = server.client("alice"), server.client("bob")
    (denied,) = bob.send((RequestKind.RELOAD, b""))
    first, second = alice.send((RequestKind.RELOAD, b""), (RequestKind.RELOAD, b""))
    (spoiled,) = alice.send((RequestKind.RELOAD, b"x"))
    server.scheduler.run()
    assert is_denied(bob, denied)
    assert alice.refusal(spoiled).code is RefusalCode.BAD_REQUEST
    assert first not in alice.responses
    assert alice.connection.in_flight == 2
    done, failed = server.reloads
    done({"changed": ["access"]})
    failed(Refusal(RefusalCode.NOT_POSSIBLE, "a file is gone"))
    server.scheduler.run()
    assert json.loads(decode_document(alice.responses[first][1])) == {"changed": ["access"]}
    assert alice.refusal(second).message == "a file is gone"
    assert alice.connection.in_flight == 0


def test_a_reload_has_its_bounds_like_any_request() -> None:
    """A node that goes down begins none, and nobody has more under way than requests."""
    server = leader(gateway_limits=GatewayLimits(requests_in_flight_max=1))
    client = server.client()
    _, second = client.send((RequestKind.RELOAD, b""), (RequestKind.RELOAD, b""))
    server.gateway.is_draining = True
    (third,) = client.send((RequestKind.RELOAD, b""))
    server.scheduler.run()
    assert client.refusal(second).code is RefusalCode.OVERLOADED
    assert client.refusal(third).code is RefusalCode.STOPPING
    assert len(server.reloads) == 1
