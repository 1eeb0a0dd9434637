import asyncio
from itertools import count
from typing import Any

import pytest

from raftd.consensus.limits import Limits
from raftd.consensus.messages import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    RequestPreVoteReply,
    RequestVote,
    RequestVoteReply,
)
from raftd.consensus.types import NO_INDEX, NO_TERM, EntryKind, LogIndex, NodeId, Role, Term
from raftd.errors import InvariantViolation, RemoteProtocolError
from raftd.kv import answers
from raftd.kv.answers import Outcome
from raftd.node import batches
from raftd.wire.client import RefusalCode, RequestKind
from raftd.wire.entries import encode_entries
from tests.node.leading import accepted, leader, replies
from tests.node.parts import TICK_SECONDS, Client, Cluster, Server
from tests.node.snapshot_parts import with_session


def test_a_single_node_serves_writes_and_reads() -> None:
    """A write is answered once it is stored, not before (pitfall 16); a read sees it."""
    server = leader(1)
    client = with_session(server)
    (put,) = client.put(b"key", value=b"first")
    server.scheduler.run()
    assert put not in client.responses
    server.store()
    assert client.answer(put).outcome is Outcome.OK
    get = client.get(b"key")
    server.scheduler.run()
    assert answers.decode_get(client.answer(get).body).value == b"first"
    assert server.requests.bytes_held == 0
    assert server.requests.is_idle


def test_votes_leave_only_after_they_are_stored() -> None:
    """Neither is a vote asked for nor given before this node's own part of it is on disk (§5.2)."""
    server = Server()
    server.hear(2, RequestVote(Term(1), NodeId(2), NO_INDEX, NO_TERM, leadership_transfer=False))
    server.scheduler.run()
    assert replies(server) == []
    server.store()
    assert replies(server) == [RequestVoteReply(Term(1), True)]


def test_entries_are_acknowledged_only_after_they_are_stored() -> None:
    """A follower's success speaks of its disk."""
    server = Server()
    server.follow(2, 1, b"one", b"two")
    server.scheduler.run()
    assert replies(server) == []
    server.store()
    assert replies(server) == [AppendEntriesReply(Term(1), True, LogIndex(2), NO_INDEX, NO_TERM)]


def test_an_answer_without_anything_to_store_waits_for_earlier_storing() -> None:
    """The repeated entries are in memory already, but not on disk: the second success may not overtake the first."""
    server = Server()
    server.follow(2, 1, b"one")
    server.scheduler.run()
    server.follow(2, 1, b"one")
    server.scheduler.run()
    assert replies(server) == []
    assert [submission.must_store for submission in server.disk.submissions] == [True, False]
    server.store()
    assert len(replies(server)) == 2
    # With nothing under way it leaves at once, and the log writer does not hear of it.
    server.follow(2, 1, b"one")
    server.scheduler.run()
    assert len(replies(server)) == 3
    assert not server.disk.submissions


def test_heartbeats_are_answered_while_the_disk_hangs() -> None:
    """They promise nothing that the disk must remember."""
    server = Server()
    server.follow(2, 1, b"one")
    server.scheduler.run()
    server.hear(2, Heartbeat(Term(1), NodeId(2), NO_INDEX, 7))
    server.scheduler.run()
    assert (NodeId(2), HeartbeatReply(Term(1), 7)) in server.sent
    assert len(server.disk.submissions) == 1, "the log writer does not hear of it"


def test_writes_of_a_turn_are_one_batch() -> None:
    """However many connections and pieces they came in: one propose, one submission, one AppendEntries a peer."""
    server = leader()
    for client in [server.client() for _ in range(5)]:
        client.put(*(b"%d" % number for number in range(10)))
    server.scheduler.run()
    assert [submission.entry_count for submission in server.disk.submissions] == [50]
    appends = [(peer, len(message.entries)) for peer, message in server.sent if isinstance(message, AppendEntries)]
    assert appends == [(2, 50), (3, 50)]


def test_a_batch_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes go to the log and to both peers."""
    server = leader()
    encoded: list[bytes] = []

    def encode(entries: Any) -> bytes:
        encoded.append(encode_entries(entries))
        return encoded[-1]

    monkeypatch.setattr(batches, "encode_entries", encode)
    server.client().put(b"key")
    server.scheduler.run()
    (batch,) = encoded
    assert server.disk.submissions[0].payload is batch
    frames = [frame for _, frame in server.frames]
    assert sum(frame.endswith(batch) for frame in frames) == 2


def test_what_a_peer_sent_is_stored_as_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower encodes nothing."""
    server = Server()
    monkeypatch.setattr(batches, "encode_entries", None)
    server.follow(2, 1, b"one", b"two")
    server.scheduler.run()
    entries = [(LogIndex(index), Term(1), EntryKind.COMMAND, data) for index, data in ((1, b"one"), (2, b"two"))]
    assert server.disk.submissions[0].payload == encode_entries(entries)


def test_answers_of_a_turn_are_one_write_for_each_connection() -> None:
    """Answers, refusals and pongs alike."""
    server = leader(1)
    clients = [server.client(), server.client("bob")]
    for client in clients:
        client.send(*((RequestKind.PING, b"") for _ in range(10)))
        client.put(b"key")
    server.scheduler.run()
    server.store()
    # alice: pongs now, the write's answer once it is stored. bob may not write, and is told so with the pongs.
    assert [len(client.channel.sent) for client in clients] == [2, 1]
    assert [len(client.responses) for client in clients] == [11, 11]


def test_missed_ticks_are_not_made_up_for() -> None:
    """A process that was stopped for a while reads its sockets before it campaigns."""
    server = Server()
    server.scheduler.run()
    server.scheduler.now += 60.0
    server.scheduler.run()
    assert server.raft.election_elapsed_ticks == 1
    assert server.driver.loop_lag_seconds == pytest.approx(60.0 - TICK_SECONDS)
    server.scheduler.advance(3.05 * TICK_SECONDS)
    assert server.raft.election_elapsed_ticks == 4
    assert server.driver.loop_lag_seconds == pytest.approx(0.0)


def test_lost_leadership_answers_everyone() -> None:
    """Pending writes: unknown. Queued ones: not proposed, so elsewhere. Waiting reads: elsewhere. Nothing is held."""
    server = leader()
    client = server.client()
    (pending,) = client.put(b"pending")
    unconfirmed = client.get(b"key")
    server.scheduler.run()
    assert client.responses == {}
    (queued,) = client.put(b"queued")
    server.hear(2, Heartbeat(Term(2), NodeId(2), NO_INDEX, 1))
    server.scheduler.run()
    assert client.refusal(pending).code is RefusalCode.OUTCOME_UNKNOWN
    for request_id in (queued, unconfirmed):
        refusal = client.refusal(request_id)
        assert (refusal.code, refusal.leader_id, refusal.leader_address) == (RefusalCode.NOT_LEADER, 2, "node-2:7400")
    assert server.requests.bytes_held == 0
    assert server.requests.is_idle
    assert client.connection.in_flight == 0
    assert server.leaderships[-1] == (Role.FOLLOWER, Term(2), NodeId(2))


def test_a_write_that_is_committed_after_all_is_answered_once() -> None:
    """OUTCOME_UNKNOWN was said; when the entry is applied later, nobody is told a second time."""
    server = leader()
    client = server.client()
    (pending,) = client.put(b"pending")
    server.scheduler.run()
    server.store()
    index = server.raft.last_index
    server.hear(2, Heartbeat(Term(2), NodeId(2), index, 1))
    server.scheduler.run()
    assert server.machine.last_applied == index
    assert client.refusal(pending).code is RefusalCode.OUTCOME_UNKNOWN


def test_a_leadership_that_was_lost_and_won_again_between_two_turns_is_another_one() -> None:
    """What was under way in the first one may have been lost with it, though nobody saw anybody else lead."""
    server = leader()
    client = server.client()
    (pending,) = client.put(b"pending")
    server.scheduler.run()
    server.store()
    term = Term(server.raft.current_term + 2)
    server.hear(2, RequestVoteReply(Term(term - 1), False))
    server.raft.campaign()
    server.hear(2, RequestPreVoteReply(term, True))
    server.hear(2, RequestVoteReply(term, True))
    server.hear(3, RequestVoteReply(term, True))
    assert (server.raft.role, server.raft.current_term) == (Role.LEADER, term)
    server.scheduler.run()
    assert client.refusal(pending).code is RefusalCode.OUTCOME_UNKNOWN


def test_a_later_leadership_starts_afresh() -> None:
    """Regained in a later term: what was pending under the first stays unknown, what comes now is answered."""
    server = leader()
    client = server.client()
    (before,) = client.put(b"before")
    server.scheduler.run()
    server.hear(2, Heartbeat(Term(2), NodeId(2), NO_INDEX, 1))
    server.store()
    server.become_leader()
    (after,) = client.put(b"after")
    server.scheduler.run()
    server.store()
    server.hear(2, accepted(server, server.raft.last_index))
    server.scheduler.run()
    assert client.refusal(before).code is RefusalCode.OUTCOME_UNKNOWN
    assert client.answer(after).outcome is Outcome.SESSION_EXPIRED  # It never opened one.
    assert server.requests.bytes_held == 0


def test_a_dropped_append_makes_the_peer_unreachable() -> None:
    """Nothing more is sent to it until it answers a heartbeat."""
    server = leader()
    server.unreachable = {3}
    server.client().put(b"one")
    server.scheduler.run()
    server.unreachable = set()
    server.take_sent()
    server.hear(2, accepted(server, server.raft.last_index))
    server.client().put(b"two")
    server.scheduler.run()
    assert [peer for peer, message in server.sent if isinstance(message, AppendEntries)] == [2]


@pytest.mark.parametrize("report", ["peer_up", "peer_down"])
def test_a_link_that_changes_makes_the_leader_ask(report: str) -> None:
    """What was under way on it may be lost."""
    server = leader()
    assert not server.raft.progress[NodeId(2)].is_paused
    getattr(server.driver, report)(NodeId(2))
    assert server.raft.progress[NodeId(2)].is_paused


def test_a_turn_is_bounded_and_goes_on() -> None:
    """After eight Readies the loop has its say; what is left is done in its next passes."""
    server = leader(1, limits=Limits(committed_entries_max=1))
    client = server.client()
    client.put(*(b"%d" % number for number in range(20)))
    server.scheduler.run()
    before = server.machine.last_applied
    server.driver.stored([server.disk.store()])
    assert server.machine.last_applied - before == 8
    server.scheduler.one_pass()
    assert server.machine.last_applied - before == 16
    server.scheduler.run()
    assert server.machine.last_applied - before == 20
    assert len(client.responses) == 20


def test_what_takes_long_to_apply_keeps_nobody_waiting() -> None:
    """However much is committed together: whoever asks meanwhile is answered between two entries."""
    numbers = count()
    server = leader(1)
    server.driver._applier._stopwatch = lambda: float(next(numbers))
    client = server.client()
    client.put(*(b"%d" % number for number in range(20)))
    server.scheduler.run()
    before = server.machine.last_applied
    server.driver.stored([server.disk.store()])
    assert server.machine.last_applied - before == 1
    (ping,) = client.send((RequestKind.PING, b""))
    server.scheduler.one_pass()
    assert ping in client.responses
    assert server.machine.last_applied - before == 2
    server.scheduler.run()
    assert server.machine.last_applied - before == 20
    assert len(client.responses) == 21
    assert server.requests.is_idle


def test_the_session_clock_advances_only_with_sessions() -> None:
    """An idle cluster's log does not grow; with a session, time is proposed."""
    server = leader(1)
    last_index = server.raft.last_index
    for _ in range(300):
        server.scheduler.advance(TICK_SECONDS)
        server.store()
    assert server.raft.last_index == last_index
    with_session(server)
    for _ in range(300):
        server.scheduler.advance(TICK_SECONDS)
        server.store()
    assert 19_000 <= server.machine.clock_ms <= 31_000


def test_a_follower_proposes_no_time() -> None:
    """Only a leader's clock counts."""
    server = Server(size=3)
    server.follow(2, 1)
    for round_number in range(200):
        server.scheduler.advance(TICK_SECONDS)
        server.hear(2, Heartbeat(Term(1), NodeId(2), NO_INDEX, round_number + 1))
        server.scheduler.run()
        server.store()
    assert server.raft.last_index == 0


def test_too_many_reads_are_refused_and_nothing_breaks() -> None:
    """While no quorum answers, each turn with reads is one more batch that waits, and consensus takes so many."""
    server = leader(limits=Limits(pending_reads_max=2))
    client = server.client()
    asked = []
    for _ in range(4):
        asked.append(client.get(b"key"))
        server.scheduler.run()
    assert [client.refusal(request_id).code for request_id in asked[2:]] == [RefusalCode.OVERLOADED] * 2
    rounds = max(message.round for _, message in server.sent if isinstance(message, Heartbeat))
    server.hear(2, HeartbeatReply(server.raft.current_term, rounds))
    server.scheduler.run()
    assert [client.answer(request_id).outcome for request_id in asked[:2]] == [Outcome.NOT_FOUND] * 2


def test_a_bad_message_does_not_hold_up_good_ones_before_it() -> None:
    """The link ends; what came in front of the bad message has its turn all the same."""
    server = Server()
    good = Heartbeat(Term(1), NodeId(2), NO_INDEX, 1)
    with pytest.raises(RemoteProtocolError):
        server.hear(2, good, Heartbeat(Term(1), NodeId(3), NO_INDEX, 1))
    server.scheduler.run()
    assert server.sent == [(NodeId(2), HeartbeatReply(Term(1), 1))]


def test_a_refused_message_leaves_no_entries() -> None:
    """Two leaders of one term name different entries alike: what is stored is what was accepted."""
    server = Server()
    server.follow(2, 1, b"accepted")
    with pytest.raises(RemoteProtocolError, match="which node 2 leads"):
        server.follow(3, 1, b"refused")
    server.scheduler.run()
    server.store()
    assert [data for *_, data in server.disk.entries] == [b"accepted"]


def test_a_log_writer_that_stores_out_of_order_ends_the_node() -> None:
    """What it speaks of would be acknowledged though it is not what was stored."""
    server = Server()
    for number in range(2):
        server.follow(2, 1, b"data", prev=(number, number))
        server.scheduler.run()
    server.disk.submissions.reverse()
    with pytest.raises(InvariantViolation, match="another Ready than the oldest"):
        server.driver.stored([server.disk.submissions.popleft().token])
    assert replies(server) == []


def test_a_stopped_driver_does_nothing_more() -> None:
    """The log writer is being closed: what still comes in must not reach it, nor a peer, nor a client."""
    server = leader()
    client = server.client()
    client.put(b"key")
    server.scheduler.run()
    server.take_sent()
    server.driver.stop()
    server.hear(2, Heartbeat(Term(9), NodeId(2), NO_INDEX, 1))
    client.put(b"more")
    server.driver.stored([server.disk.store()])
    server.scheduler.advance(10.0)
    assert server.sent == []
    assert len(server.disk.submissions) == 0
    assert client.channel.sent == []


def test_a_stopped_driver_promises_nothing_more() -> None:
    """What is stored after the stop is not acknowledged to the leader: the links are being hung up."""
    server = Server()
    server.follow(2, 1, b"one")
    server.scheduler.run()
    server.driver.stop()
    server.driver.stored([server.disk.store()])
    assert replies(server) == []


def test_idle_waits_for_answers_and_for_the_disk() -> None:
    """Draining ends when nobody is owed anything and nothing is on its way to the disk."""

    async def scenario() -> None:
        server = leader(1)
        client = with_session(server)
        client.put(b"key")
        idle = server.driver.idle()
        server.scheduler.run()
        assert not idle.done()
        server.store()
        assert idle.done()
        assert server.driver.idle() is idle

    asyncio.run(scenario())


def test_what_is_to_be_replayed_is_known_though_nobody_asked_while_there_was_a_leader() -> None:
    """Stale reads go on when the quorum is lost, whether there were any before or not."""
    server = Server()
    server.hear(
        2,
        AppendEntries(
            Term(1), NodeId(2), NO_INDEX, NO_TERM, LogIndex(1), ((LogIndex(1), Term(1), EntryKind.NOOP, b""),)
        ),
    )
    server.scheduler.run()
    server.store()
    server.scheduler.advance(10.0)
    assert server.raft.leader_id is None
    assert server.gateway.is_replayed


def test_a_read_whose_leader_is_gone_in_the_same_pass_is_refused() -> None:
    """It was taken while there was one; nobody is there to ask now."""
    server = Server()
    server.follow(2, 1, b"one")
    server.scheduler.run()
    client = server.client()
    get = client.get(b"key")
    server.hear(3, RequestPreVoteReply(Term(5), False))
    server.scheduler.run()
    assert client.refusal(get).code is RefusalCode.NO_LEADER
    assert server.requests.is_idle


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_cluster_keeps_every_answered_write_over_crashes(size: int) -> None:
    """Write, crash the leader, read everything, again and again: pitfalls 16 and 26, with the disks of the dead."""
    cluster = Cluster(size)
    answered: dict[bytes, bytes] = {}
    for round_number in range(6):
        cluster.advance_until(lambda: cluster.leader)
        server = cluster.leader
        assert server is not None
        client = Client(server.gateway)
        opened = cluster.hear(client, client.open_session())
        assert opened is not None
        client.session = answers.decode_open_session(opened.body).session
        key, value = b"%d" % round_number, b"value %d" % round_number
        put = cluster.hear(client, client.put(key, value=value)[0])
        assert put is not None
        assert put.outcome is Outcome.OK
        answered[key] = value
        for expected_key, expected in answered.items():
            get = cluster.hear(client, client.get(expected_key))
            assert get is not None
            assert answers.decode_get(get.body).value == expected
        node_id = server.node_id
        cluster.crash(node_id)
        cluster.scheduler.advance(3.0)
        cluster.start(node_id)
    assert len(answered) == 6
    cluster.advance_until(lambda: len({server.machine.last_applied for server in cluster.servers.values()}) == 1)
    assert len({server.machine.digest() for server in cluster.servers.values()}) == 1
