"""Clients with very many watches, and such that do not read."""

import sys
import tracemalloc

from raftd.kv import commands
from raftd.kv.commands import SessionId
from raftd.wire.client import RequestKind
from raftd.wire.watch import WatchEndReason, WatchFlag, WatchRequest, encode_watch_body
from tests.node.parts import Client, Server
from tests.node.watch_parts import Node, as_connection

KIBIBYTE, MEBIBYTE = 1 << 10, 1 << 20


def leader() -> Server:
    server = Server(size=1)
    server.become_leader()
    return server


def step(server: Server) -> None:
    server.scheduler.run()
    server.store()
    server.scheduler.run()


def with_session(server: Server) -> Client:
    client = server.client()
    client.open_session()
    client.session = SessionId(server.raft.last_index + 1)
    step(server)
    return client


def ask(low: bytes, high: bytes) -> tuple[RequestKind, bytes]:
    return RequestKind.WATCH, encode_watch_body(WatchRequest(WatchFlag(0), 0, low, high))


def watch_all_of(server: Server, client: Client, ranges: list[tuple[bytes, bytes]]) -> None:
    for first in range(0, len(ranges), 1000):
        client.send(*(ask(low, high) for low, high in ranges[first : first + 1000]))
        step(server)


def test_ten_thousand_idle_watches_take_little_memory() -> None:
    """At most 10 KiB each, all that belongs to them."""
    server = leader()
    client = server.client()
    ranges = [(b"key %d" % number, b"key %d\0" % number) for number in range(5000)]
    ranges += [(b"prefix %04d" % number, b"prefix %04d" % (number + 1)) for number in range(4990)]
    tracemalloc.start()
    watch_all_of(server, client, ranges)
    client.channel.sent.clear()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert server.watches.count == len(ranges)
    assert taken < len(ranges) * 10 * KIBIBYTE


def test_a_connection_has_only_so_many_watches() -> None:
    """The next one ends before it begins; the others go on."""
    server = leader()
    client = with_session(server)
    watch_all_of(server, client, [(b"k", b"l")] * 10_001)
    (end,) = [client.told(request_id).end for request_id in (10_001 + 1,)]
    assert end is not None
    assert end.reason is WatchEndReason.TOO_MANY
    assert server.watches.count == 10_000


def test_a_user_leaves_watches_to_others() -> None:
    """With ranges as long as there may be he has no more than 64 MiB of them, on however many connections."""
    server = leader()
    low, high = b"k" * 4096, b"l" * 4096
    clients = [server.client() for _ in range(3)]
    for client in clients:
        watch_all_of(server, client, [(low, high)] * 3000)
    assert server.watches.count == (64 << 20) // 8192
    assert server.watches.ended_total[WatchEndReason.TOO_MANY] == 9000 - 8192
    other = server.client("bob")
    watch_all_of(server, other, [(b"open/a", b"open/b")])
    assert server.watches.count == 8192 + 1
    server.gateway.closed(clients[0].connection)
    while server.watches.turn():
        pass
    assert server.watches.count == 8192 + 1 - 3000
    watch_all_of(server, clients[2], [(low, high)])
    assert server.watches.count == 8192 + 2 - 3000


def calls_of_puts(kind: str) -> int:
    """Python calls for some thousand puts, beside nine thousand watches that they do not concern."""
    server = leader()
    client, writer = server.client(), with_session(server)
    names = [b"%s %04d" % (kind.encode(), number) for number in range(9000)]
    ends = {"none": None, "keys": b"\0", "prefixes": b"", "ranges": b"zz"}[kind]
    if ends is not None:
        ranges = [(name, name + ends if ends else name[:-1] + bytes((name[-1] + 1,))) for name in names]
        watch_all_of(server, client, ranges)
        assert server.watches.count == len(ranges)
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    for number in range(20):
        sys.setprofile(count)
        writer.put(*(b"other %d" % (number * 50 + each) for each in range(50)))
        step(server)
        sys.setprofile(None)
    return calls


def test_idle_watches_do_not_slow_a_put() -> None:
    """Not by their number: keys, prefixes and parts of prefixes that a put does not concern are not looked at."""
    plain = calls_of_puts("none")
    for kind in ("keys", "prefixes", "ranges"):
        assert calls_of_puts(kind) < plain * 1.1, kind


def test_ranges_of_no_kind_are_gone_over_in_parts() -> None:
    """Ten thousand that begin and end anywhere take many turns, and each of these does what a turn may."""
    node = Node()
    connection = node.connect()
    for number in range(10_000):
        node.watch(connection, b"a%04d" % number, b"z%04d" % number)
    node.settle()
    follower = node.watch(node.connect(), b"key", b"key\0")
    node.settle()
    node.machine.change((b"key", b"value"))
    turns = 0
    while node.watches.turn():
        turns += 1
        # The look-up tells at once whom it finds, and the rest when it is his turn.
        node.hear()
        assert follower.changes
        assert node.watches._work < 2100
    assert turns > 10
    assert node.watches.told_total == 10_001


def test_a_client_that_never_reads_holds_no_memory() -> None:
    """Whatever is written: what waits for it is bounded, however many watches it has, and so is all else."""
    node = Node()
    lazy, busy = node.connect(), node.connect()
    for number in range(50):
        node.watch(lazy, b"", b"", flags=WatchFlag(0) if number % 2 else WatchFlag.PREVIOUS)
    follower = node.watch(busy)
    sent = 0
    for number in range(300):
        node.machine.change((b"key %d" % number, bytes(100 * KIBIBYTE)))
        node.machine.compact(max(0, number - 20))
        while node.watches.turn():
            # What is sent stays with it.
            lazy.waiting_bytes += sum(map(len, lazy.sent))
            sent += len(lazy.sent)
            lazy.sent.clear()
            node.hear()
        lazy.waiting_bytes += sum(map(len, lazy.sent))
        lazy.sent.clear()
        node.hear()
    assert lazy.waiting_bytes < 2 * MEBIBYTE
    assert len(follower.changes) == 300
    assert sum(len(feed.pending or ()) for feed in node.watches._feeds.values()) == 0
    lazy.waiting_bytes = 0
    for _ in range(100):
        node.watches.tick(is_led=True)
        node.watches.turn()
        lazy.sent.clear()
    assert node.watches.ended_total[WatchEndReason.COMPACTED] == 50
    node.watches.close(as_connection(lazy))
    node.settle()
    assert node.watches.count == 1


def test_who_leaves_with_ten_thousand_watches_holds_up_nobody() -> None:
    """They are forgotten a part at a time."""
    node = Node()
    connection, other = node.connect(), node.connect()
    for number in range(10_000):
        node.watch(connection, b"%d" % number, b"%d\0" % number)
    follower = node.watch(other)
    node.settle()
    node.watches.close(as_connection(connection))
    node.machine.change((b"77", b"value"))
    turns = 1
    while node.watches.turn():
        turns += 1
    node.hear()
    assert turns > 10
    assert len(follower.changes) == 1
    assert (node.watches.count, len(node.watches._feeds)) == (1, 1)


def test_repeating_a_put_is_no_way_around() -> None:
    """Each put is told once to a watch, however often it is sent."""
    server = leader()
    client = with_session(server)
    (watch_id,) = client.send(ask(b"", b""))
    step(server)
    body = commands.put(client.session, 1, 1, b"key", b"value")
    for _ in range(5):
        client.send((RequestKind.WRITE, body))
        step(server)
    assert client.told(watch_id).keys == [b"key"]
