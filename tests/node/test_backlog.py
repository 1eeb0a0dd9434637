"""Requests that come faster than they can be looked at, by a clock that each look at it moves on."""

from collections.abc import Callable, Iterator

import pytest

from raftd.kv.commands import SessionId, write
from raftd.kv.operations import Get, Put, Transaction, Write
from raftd.node.backlog import ANSWER_BYTES_MAX, RECEIVE_SECONDS_MAX, SHARE_SECONDS, Backlog, Serve
from raftd.wire.client import Consistency, RefusalCode, RequestKind, ResponseKind, encode_request
from raftd.wire.frames import LENGTH_BYTES
from tests.node.parts import Client, Server
from tests.node.test_gateway import step, use
from tests.node.test_gateway_access import OPEN, REQUESTS, leader

PING = (RequestKind.PING, b"")
GETS = (RequestKind.WRITE, write(SessionId(1), 1, 1, Write(Transaction((), (Get(b"k"),) * 128))))


def busy(monkeypatch: pytest.MonkeyPatch, seconds: float = 0.0004) -> Server:
    """A leader whose looks at requests take time, of a clock that stands still otherwise."""
    server = leader()

    def slowly(serve: Callable[..., object]) -> Callable[..., object]:
        def dispatch(*arguments: object) -> object:
            server.scheduler.now += seconds
            return serve(*arguments)

        return dispatch

    for name in ("_write", "_dispatch"):
        monkeypatch.setattr(server.gateway, name, slowly(getattr(server.gateway, name)))
    return server


def answered(client: Client) -> int:
    return len(client.responses)


def test_what_comes_in_one_piece_is_looked_at_over_many_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """No turn takes longer than its time and the last few requests; in order, and all in the end."""
    server = busy(monkeypatch)
    client = server.client("bob")
    ids = client.send(*(GETS,) * 500)
    turns = [0]
    while answered(client) < 500:
        assert client.channel.is_held
        assert server.scheduler.one_pass()
        turns.append(answered(client))
        assert turns[-1] - turns[-2] <= (RECEIVE_SECONDS_MAX + SHARE_SECONDS) / 0.0004 + 4
    assert len(turns) > 15
    assert list(client.responses) == ids
    assert {client.refusal(request_id).code for request_id in ids} == {RefusalCode.DENIED}
    assert not client.channel.is_held
    assert server.gateway.backlog.is_empty


@pytest.mark.parametrize("is_before", [True, False])
def test_who_sends_little_does_not_wait_for_who_sends_much(monkeypatch: pytest.MonkeyPatch, *, is_before: bool) -> None:
    """However many there are of the latter: a little of each comes first at most."""
    server = busy(monkeypatch)
    honest = server.client()
    if is_before:
        honest.send(PING)
    crowd = [server.client("bob") for _ in range(20)]
    for client in crowd:
        client.send(*(GETS,) * 100)
    if not is_before:
        honest.send(PING)
    passes = 0
    while not honest.responses:
        assert server.scheduler.one_pass()
        passes += 1
    assert passes <= 1 if is_before else 5
    assert sum(map(answered, crowd)) <= 20 * 3 + 20
    server.scheduler.run()
    assert [answered(client) for client in crowd] == [100] * 20


def test_a_turn_s_time_is_shared_by_those_who_send_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few requests each are much, too, if hundreds send them."""
    server = busy(monkeypatch)
    crowd = [server.client("bob") for _ in range(200)]
    for client in crowd:
        client.send(*(GETS,) * 4)
    assert server.scheduler.now <= RECEIVE_SECONDS_MAX + 6 * 0.0004
    server.scheduler.run()
    assert [answered(client) for client in crowd] == [4] * 200


def test_nobody_waits_who_comes_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fits into a turn is taken as it comes, and each turn has its own time."""
    server = busy(monkeypatch)
    client = server.client()
    for _ in range(30):
        client.send(PING, PING, PING)
        assert not client.channel.is_held
        server.scheduler.run()
    assert answered(client) == 90


def test_what_comes_while_others_wait_is_served_behind_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its own connection as well, should it have read on."""
    server = busy(monkeypatch)
    client = server.client("bob")
    ids = client.send(*(GETS,) * 30)
    ids += client.send(PING)
    ids += client.send(*(GETS,) * 5)
    server.scheduler.run()
    assert list(client.responses) == ids


def test_a_connection_that_ends_takes_its_backlog_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is looked at any more, and others go on."""
    server = busy(monkeypatch)
    gone, client = server.client("bob"), server.client("bob")
    gone.send(*(GETS,) * 100)
    client.send(*(GETS,) * 20)
    gone.channel.is_closed = True
    gone.connection.closed()
    server.scheduler.run()
    assert (answered(client), answered(gone)) == (20, 0)
    assert server.scheduler.now < 0.03
    assert server.gateway.backlog.is_empty


def test_what_is_no_request_ends_the_connection_in_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does at once; what comes behind is not looked at, and others go on."""
    server = busy(monkeypatch)
    client, other = server.client("bob"), server.client("bob")
    payload = encode_request(GETS[0], 1, GETS[1])[LENGTH_BYTES:]
    client.connection.receive([payload] * 40 + [b"\x63" + bytes(8)] + [payload] * 40)
    other.send(*(GETS,) * 20)
    server.scheduler.run()
    assert client.channel.is_closed
    assert "unknown kind" in client.channel.reason
    assert answered(other) == 20
    assert server.scheduler.now < 0.0004 * 65


def test_a_draining_node_answers_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused as if it had come then, and the node is not at rest before it is."""
    server = busy(monkeypatch)
    client = server.client()
    ids = client.send(*(REQUESTS["put"], PING) * 40)
    server.gateway.drain()
    assert not server.driver._is_at_rest()
    step(server)
    assert server.driver._is_at_rest()
    assert sorted(client.responses) == ids
    assert client.refusal(ids[-2]).code is RefusalCode.STOPPING
    assert client.responses[ids[-1]][0] is ResponseKind.PONG


def test_a_connection_that_is_to_leave_is_answered_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is refused, so that it is asked elsewhere; then the connection ends."""
    server = busy(monkeypatch)
    client = server.client("bob")
    ids = client.send(*(GETS,) * 40)
    server.scheduler.one_pass()
    assert not client.connection.answers
    client.connection.leave("why")
    assert not client.channel.is_closed
    server.scheduler.run()
    assert client.channel.reason == "why"
    assert client.refusal(ids[-1]).code is RefusalCode.STOPPING
    assert answered(client) == 40


def test_a_write_that_waited_is_done_as_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the turn in which it is looked at."""
    server = busy(monkeypatch)
    client = use(server)
    ids = client.put(*(b"%d" % number for number in range(60)))
    ids.append(client.watch(*OPEN))
    step(server)
    assert [client.answer(request_id).outcome.name for request_id in ids[:-1]] == ["OK"] * 60
    assert client.told(ids[-1]).began is not None


def test_large_answers_take_time_too() -> None:
    """Stale gets are answered as they come: so many bytes in one turn."""
    server = leader()
    client = use(server)
    client.write(Put(b"key", bytes(1 << 20)))
    step(server)
    crowd = [server.client() for _ in range(30)]
    for other in crowd:
        other.get(b"key", Consistency.STALE)
    passes = []
    while sum(map(answered, crowd)) < 30:
        before = sum(map(answered, crowd))
        assert server.scheduler.one_pass()
        passes.append(sum(map(answered, crowd)) - before)
    assert [count for count in passes if count] == [16, 14]


class Ticking:
    """A clock that is a little later at each look."""

    def __init__(self, seconds: float) -> None:
        self.now, self.looks, self._seconds = 0.0, 0, seconds

    def __call__(self) -> float:
        self.looks += 1
        self.now += self._seconds
        return self.now


def taking(backlog: Backlog, taken: list[bytes]) -> Serve:
    def serve(_: object, payloads: Iterator[bytes]) -> bool:
        began = backlog.clock()
        for payload in payloads:
            taken.append(payload)
            began = backlog.spend(began)
            if backlog.must_wait:
                return False
        return True

    return serve


@pytest.mark.parametrize(("request_", "looks"), [(PING, 2), (REQUESTS["put"], 3), (GETS, 18)])
def test_the_clock_is_not_looked_at_for_each_request(request_: tuple[RequestKind, bytes], looks: int) -> None:
    """But before and after all that come in one piece, and at those that may take long."""
    server = leader()
    clock = server.gateway.backlog.clock = Ticking(0.0)
    server.client("bob").send(*[request_] * 64)
    assert looks / 2 <= clock.looks <= looks


def test_time_between_requests_is_nobody_s() -> None:
    """What is read, decrypted or done meanwhile is not counted, or busy clients would seem to be a flood."""
    server = leader()
    crowd = [server.client() for _ in range(100)]
    for client in crowd:
        server.scheduler.now += 0.001
        client.send(PING)
    assert server.gateway.backlog.is_empty
    assert not server.gateway.backlog.must_wait


def test_connections_take_turns() -> None:
    """Each has its share."""
    backlog, taken = Backlog(Ticking(SHARE_SECONDS)), list[bytes]()
    server = Server()
    backlog.add(server.client().connection, iter([b"a", b"b"]))
    backlog.add(server.client().connection, iter([b"1", b"2"]))
    serve = taking(backlog, taken)
    while not backlog.is_empty:
        backlog.turn(serve)
    assert taken == [b"a", b"1", b"b", b"2"]
    assert not backlog.must_wait


def test_large_answers_end_a_turn_of_those_who_wait(client: Client) -> None:
    """As time does."""
    backlog = Backlog(Ticking(0.0))
    served = []

    def serve(*_: object) -> bool:
        served.append(1)
        backlog.answered(ANSWER_BYTES_MAX // 4)
        return False

    backlog.add(client.connection, iter([b""]))
    for turns in (1, 2):
        backlog.turn(serve)
        assert len(served) == 4 * turns
        assert backlog.must_wait


@pytest.fixture
def client() -> Client:
    return Server().client()
