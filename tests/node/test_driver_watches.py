"""Watches over whole nodes: whoever serves them, and whatever becomes of it."""

import random

import pytest

from raftd.consensus import Limits
from raftd.consensus.messages import AppendEntriesReply, Heartbeat, HeartbeatReply, ReadIndex, ReadIndexReply
from raftd.consensus.types import NO_INDEX, NO_TERM, LogIndex, NodeId, Term
from raftd.kv import answers
from raftd.kv.operations import Range
from raftd.kv.queries import RangeQuery
from raftd.wire.client import RefusalCode, ResponseKind
from raftd.wire.watch import WatchEnd, WatchEndReason
from tests.node.parts import Client, Cluster, Server
from tests.node.snapshot_parts import FullCluster


def led() -> tuple[Cluster, Server, Client]:
    """A cluster with a leader, and a client of it with a session."""
    cluster = Cluster(3)
    cluster.advance_until(lambda: cluster.leader)
    leader = cluster.leader
    assert leader is not None
    client = leader.client()
    opened = cluster.hear(client, client.open_session())
    assert opened is not None
    client.session = answers.decode_open_session(opened.body).session
    return cluster, leader, client


def begin(cluster: Cluster, client: Client, *, start: int = 0) -> int:
    """A watch of all keys that has begun."""
    watch_id = client.watch(b"", b"", start=start)
    cluster.advance_until(lambda: client.told(watch_id).began is not None)
    return watch_id


def test_every_node_tells_the_same_in_the_log_s_order() -> None:
    """A follower as well as the leader, from what it has applied itself."""
    cluster, leader, client = led()
    clients = [server.client() for server in cluster.servers.values()]
    watches = [(each, begin(cluster, each)) for each in clients]
    for number in range(20):
        assert cluster.hear(client, client.put(b"%d" % number)[0]) is not None
    cluster.scheduler.advance(0.5)
    for each, watch_id in watches:
        assert each.told(watch_id).keys == [b"%d" % number for number in range(20)]
    assert leader.watches.told_total == 20


def test_a_watch_from_now_on_knows_what_was_answered_before() -> None:
    """A follower that is behind begins it only when it has come as far as the leader."""
    server = Server(size=3)
    server.follow(2, 1, b"any")
    server.scheduler.run()
    server.store()
    server.take_sent()
    client = server.client()
    watch_id = client.watch(b"", b"")
    server.scheduler.run()
    (asked,) = [message for _, message in server.take_sent() if isinstance(message, ReadIndex)]
    server.hear(2, ReadIndexReply(Term(1), asked.read_id, LogIndex(1)))
    server.scheduler.run()
    assert client.told(watch_id).began is None
    server.hear(2, Heartbeat(Term(1), NodeId(2), LogIndex(1), 1))
    server.scheduler.run()
    assert client.told(watch_id).began == 0


@pytest.mark.parametrize("no_lead", [False, True], ids=["campaigns", "never campaigns"])
def test_a_node_that_is_cut_off_keeps_no_watch(no_lead: bool) -> None:
    """It may have been removed, and then nobody will ever tell it: its watches end while others know more."""
    server = Server(size=3, limits=Limits(no_lead=frozenset({NodeId(1)}) if no_lead else frozenset()))
    server.follow(2, 1, b"any")
    server.scheduler.run()
    server.store()
    server.take_sent()
    client = server.client()
    watch_id = client.watch(b"", b"")
    server.scheduler.run()
    (asked,) = [message for _, message in server.take_sent() if isinstance(message, ReadIndex)]
    server.hear(2, ReadIndexReply(Term(1), asked.read_id, LogIndex(1)), Heartbeat(Term(1), NodeId(2), LogIndex(1), 1))
    server.scheduler.run()
    for beat in range(2, 40):
        server.scheduler.advance(0.5)
        server.hear(2, Heartbeat(Term(1), NodeId(2), LogIndex(1), beat))
    assert client.told(watch_id).began == 0
    assert client.told(watch_id).end is None
    server.scheduler.advance(13.0)
    assert client.told(watch_id).end == WatchEnd(WatchEndReason.NODE_STOPPING, 0)


def test_a_watch_goes_on_when_its_node_leads_no_more() -> None:
    """And is told what the next leader does."""
    cluster, leader, client = led()
    watch_id = begin(cluster, client)
    assert cluster.hear(client, client.put(b"before")[0]) is not None
    leader.raft.transfer_leadership()
    leader.driver.wake()
    cluster.advance_until(lambda: cluster.leader is not None and cluster.leader is not leader)
    second = cluster.leader
    assert second is not None
    other = second.client()
    other.session, other._sequence = client.session, client._sequence
    cluster.advance_until(lambda: second.raft.term_at(second.machine.last_applied) == second.raft.current_term)
    assert cluster.hear(other, other.put(b"after")[0]) is not None
    cluster.advance_until(lambda: client.told(watch_id).keys == [b"before", b"after"])


def test_a_client_goes_on_at_another_node() -> None:
    """From the revision after the last that it was told: nothing is missing, nothing comes twice."""
    cluster, leader, client = led()
    watch_id = begin(cluster, client)
    for number in range(5):
        cluster.hear(client, client.put(b"%d" % number)[0])
    told = client.told(watch_id)
    assert told.revision == 5
    for number in range(5, 10):
        cluster.hear(client, client.put(b"%d" % number)[0])
    other = next(server for server in cluster.servers.values() if server is not leader).client()
    resumed = begin(cluster, other, start=told.revision + 1)
    cluster.advance_until(lambda: other.told(resumed).revision == 10)
    assert told.keys + other.told(resumed).keys == [b"%d" % number for number in range(10)]


def test_watches_of_a_follower_that_is_sent_a_snapshot_go_on() -> None:
    """The history comes with it: what happened meanwhile is told in order, as if nothing had been."""
    cluster = FullCluster(3)
    client = cluster.client()
    assert cluster.leader is not None
    leader_id = cluster.leader.node_id
    follower = random.Random(1).choice(sorted(cluster.full.keys() - {leader_id}))
    watcher = cluster.full[follower].client()
    watch_id = begin(cluster, watcher)
    cluster.write(client, b"first")
    cluster.scheduler.advance(0.5)
    cluster.cut.add(follower)
    for number in range(60):
        cluster.write(client, b"key %d" % number)
    cluster.scheduler.advance(0.5)
    assert cluster.full[leader_id].raft.base_index > cluster.full[follower].raft.last_index
    cluster.cut.clear()
    cluster.agree()
    assert cluster.full[follower].installer.installed_total == 1
    cluster.write(client, b"last")
    cluster.advance_until(lambda: b"last" in watcher.told(watch_id).keys)
    assert watcher.told(watch_id).keys == [b"first", *(b"key %d" % number for number in range(60)), b"last"]


def test_a_node_that_drains_is_at_rest_when_its_watches_know() -> None:
    """However many there are."""
    server = Server(size=1)
    server.become_leader()
    client = server.client()
    watches = [client.watch(b"", b"") for _ in range(900)]
    server.scheduler.run()
    assert server.watches.count == 900
    server.gateway.drain()
    turns = 0
    while not server.driver._is_at_rest():
        assert server.scheduler.one_pass()
        turns += 1
    assert turns > 1
    ends = {client.told(watch_id).end for watch_id in watches[::100]}
    assert ends == {WatchEnd(WatchEndReason.NODE_STOPPING, 0)}


def test_heartbeats_do_not_wait_for_questions_and_watches() -> None:
    """What is asked in one go is answered in many turns, and between two of them the node does all else."""
    server = Server(size=1)
    server.become_leader()
    clock = server.scheduler
    client = server.client()
    # Each look at the time costs a millisecond here, and a question takes two of them.
    passed = [0.0]

    def tick() -> float:
        passed[0] += 0.001
        return clock.now + passed[0]

    server.requests._clock = tick
    ids = [client.ask(RangeQuery(Range(b"", b""))) for _ in range(20)]
    turns = 0
    while not all(request_id in client.responses for request_id in ids):
        assert clock.one_pass()
        turns += 1
    assert turns > 5
    assert server.requests.is_idle


def test_who_has_gone_costs_no_answers() -> None:
    """Questions of a closed connection are dropped."""
    server = Server(size=1)
    server.become_leader()
    client = server.client()
    for _ in range(20):
        client.ask(RangeQuery(Range(b"", b"")))
    client.watch(b"", b"")
    client.channel.is_closed = True
    client.connection.closed()
    server.scheduler.run()
    assert (client.connection.in_flight, server.watches.count, server.requests.is_idle) == (0, 0, True)


@pytest.mark.parametrize("kind", ["range", "watch"])
def test_who_does_not_read_is_refused_what_may_be_large(kind: str) -> None:
    """And is free to ask again."""
    server = Server(size=1)
    server.become_leader()
    client = server.client()
    client.channel.unsent_bytes = 1 << 30
    request_id = client.ask(RangeQuery(Range(b"", b""))) if kind == "range" else client.watch(b"", b"")
    server.scheduler.run()
    assert client.refusal(request_id).code is RefusalCode.OVERLOADED
    assert (client.connection.in_flight, server.watches.count) == (0, 0)


def test_reads_by_quorum_are_refused_when_too_many_wait() -> None:
    """As others are."""
    server = Server(size=3, limits=Limits(pending_reads_max=1))
    server.become_leader()
    client = server.client()
    ids = [client.keep_alive(1), client.keep_alive(1)]
    server.scheduler.run()
    late = client.keep_alive(1)
    server.scheduler.advance(0.01)
    assert client.refusal(late).code is RefusalCode.OVERLOADED
    assert not any(request_id in client.responses for request_id in ids)
    assert client.responses[late][0] is ResponseKind.REFUSED


def test_keep_alives_share_heartbeat_rounds() -> None:
    """However many come in however many turns: one round in a few milliseconds, and no turn in between for nothing."""
    server = Server(size=3, limits=Limits(election_timeout_ticks=100, heartbeat_ticks=90))
    server.become_leader()
    server.take_sent()
    client = server.client()
    ids = []
    for _ in range(100):
        ids.append(client.keep_alive(1))
        server.scheduler.advance(0.0002)
    rounds = {message.round for _, message in server.take_sent() if isinstance(message, Heartbeat)}
    # As far as the no-op is committed, which it is not.
    assert not rounds
    server.hear(2, AppendEntriesReply(Term(1), True, server.raft.last_index, NO_INDEX, NO_TERM))
    for _ in range(100):
        ids.append(client.keep_alive(1))
        server.scheduler.advance(0.0002)
    rounds = {message.round for _, message in server.take_sent() if isinstance(message, Heartbeat)}
    assert 4 <= len(rounds) <= 6
    server.scheduler.advance(0.005)
    rounds |= {message.round for _, message in server.take_sent() if isinstance(message, Heartbeat)}
    server.hear(2, HeartbeatReply(Term(1), max(rounds)))
    server.scheduler.run()
    assert all(client.answer(request_id) for request_id in ids)
