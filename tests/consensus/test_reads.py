"""Linearizable reads: what confirms them, what refuses them, and what must not confirm them."""

from random import Random

import pytest

from raftd.consensus import (
    Heartbeat,
    Limits,
    LogIndex,
    Message,
    NodeId,
    ProposalRefused,
    Raft,
    ReadId,
    ReadIndex,
    ReadIndexReply,
    Ready,
    RefusalReason,
    Remove,
    Role,
)
from tests.consensus.cluster import Cluster
from tests.consensus.words import (
    accepted,
    acknowledge,
    append,
    complete,
    heartbeat,
    heartbeat_reply,
    make_leader,
    make_raft,
    pre_vote,
    read_index,
    read_index_reply,
    say,
    vote,
)


def settled_leader(size: int = 3, limits: Limits | None = None) -> Raft:
    """A leader that has committed its no-op, at index 1."""
    raft = make_leader(size=size, limits=limits)
    for node in range(2, size + 1):
        say(raft, node, accepted(1, 1))
    complete(raft)
    return raft


def take(raft: Raft) -> Ready:
    """The next Ready, stored at once."""
    ready = raft.ready()
    acknowledge(raft, ready)
    return ready


def rounds(messages: tuple[tuple[NodeId, Message], ...]) -> set[int]:
    return {message.round for _, message in messages if isinstance(message, Heartbeat)}


def test_all_reads_before_one_ready_share_one_round() -> None:
    """However many reads are asked for in one turn, one heartbeat round goes out, and confirms them all."""
    raft = settled_leader()
    asked = [raft.request_read() for _ in range(5)]
    ready = raft.ready()
    [number] = rounds(ready.messages)
    assert len(ready.messages) == 2
    assert not ready.confirmed_reads
    say(raft, 3, heartbeat_reply(1, number))
    assert raft.ready().confirmed_reads == tuple((read_id, 1) for read_id in asked)


def test_an_earlier_round_does_not_confirm() -> None:
    """An answer to a heartbeat from before the read says nothing about now."""
    raft = settled_leader()
    raft.tick()
    raft.tick()
    [earlier] = rounds(raft.ready().messages)
    raft.request_read()
    [number] = rounds(raft.ready().messages)
    assert number > earlier
    say(raft, 2, heartbeat_reply(1, earlier))
    say(raft, 3, heartbeat_reply(1, earlier))
    assert not raft.has_ready
    say(raft, 2, heartbeat_reply(1, number))
    assert raft.ready().confirmed_reads


def test_a_minority_does_not_confirm() -> None:
    """One answer of four, with the leader itself two of five, is not enough."""
    raft = settled_leader(5)
    raft.request_read()
    [number] = rounds(raft.ready().messages)
    say(raft, 2, heartbeat_reply(1, number), heartbeat_reply(1, number))
    assert not raft.has_ready
    say(raft, 3, heartbeat_reply(1, number))
    assert raft.has_ready


def test_a_late_answer_takes_no_confirmation_back() -> None:
    """Who has answered a round has answered it, though an answer to an earlier one arrives behind that."""
    raft = settled_leader(5)
    raft.request_read()
    [number] = rounds(raft.ready().messages)
    say(raft, 2, heartbeat_reply(1, number), heartbeat_reply(1, number - 1))
    say(raft, 3, heartbeat_reply(1, number))
    assert raft.ready().confirmed_reads


def test_reads_wait_for_the_first_commit_of_the_term() -> None:
    """A new leader may not know its predecessor's last commit: its reads are held, neither answered nor refused."""
    raft = make_leader(1, 1)
    read_id = raft.request_read()
    assert not raft.has_ready
    say(raft, 2, accepted(2, 3))
    [number] = rounds(take(raft).messages)
    say(raft, 3, heartbeat_reply(2, number))
    assert raft.ready().confirmed_reads == ((read_id, 3),)


def test_a_single_node_confirms_at_once_but_not_before_its_noop() -> None:
    """Alone, the first Ready after the commit of the no-op confirms."""
    raft = make_raft(size=1)
    raft.campaign()
    take(raft)
    assert raft.role is Role.LEADER
    read_id = raft.request_read()
    ready = raft.ready()
    assert not ready.confirmed_reads
    acknowledge(raft, ready)
    assert raft.ready().confirmed_reads == ((read_id, 1),)


@pytest.mark.parametrize("started", [True, False])
def test_a_change_of_term_refuses_what_waits(started: bool) -> None:
    """A leader that hears of a newer term refuses its reads, before and after their round began."""
    raft = settled_leader()
    read_id = raft.request_read()
    if started:
        raft.ready()
    say(raft, 2, heartbeat_reply(2, 1))
    ready = raft.ready()
    assert ready.refused_reads == (read_id,)
    assert not ready.confirmed_reads


def test_whoever_is_left_alone_confirms_what_waits() -> None:
    """The other voter stores the membership without it and is gone: no answer to a heartbeat comes any more."""
    raft = settled_leader(2)
    raft.propose_membership(Remove(NodeId(2)))
    complete(raft)
    read_id = raft.request_read()
    complete(raft)
    assert raft.waiting_reads == 1
    say(raft, 2, accepted(1, raft.last_index))
    complete(raft)
    assert raft.membership.voters == {1}
    raft.tick()
    assert [confirmed for confirmed, _ in take(raft).confirmed_reads] == [read_id]


def test_a_leader_that_steps_down_in_its_term_refuses_what_waits() -> None:
    """A leader cut off from its quorum does not keep its readers waiting."""
    raft = settled_leader()
    read_id = raft.request_read()
    refused: list[ReadId] = []
    for _ in range(Limits().election_timeout_ticks):
        raft.tick()
        refused += raft.ready().refused_reads
    assert refused == [read_id]


def test_an_answer_from_an_earlier_term_of_office_does_not_confirm() -> None:
    """Leader again in a later term: late answers to the earlier one's rounds confirm nothing."""
    raft = settled_leader()
    say(raft, 2, heartbeat_reply(2, 1))
    raft.campaign()
    say(raft, 2, pre_vote(3))
    complete(raft)
    say(raft, 2, vote(3))
    complete(raft)
    say(raft, 2, accepted(3, 2))
    raft.request_read()
    take(raft)
    say(raft, 2, heartbeat_reply(1, 50))
    assert not raft.ready().confirmed_reads


def test_a_read_has_one_outcome() -> None:
    """Leader again in a later term, a node has forgotten the reads that it refused, its followers' among them."""
    raft = settled_leader()
    asked = {raft.request_read()}
    raft.ready()
    asked.add(raft.request_read())
    say(raft, 3, read_index(1, 7))
    say(raft, 2, heartbeat_reply(2, 1))
    assert raft.waiting_reads == 0
    ready = take(raft)
    assert sorted(ready.refused_reads) == sorted(asked)
    raft.campaign()
    say(raft, 2, pre_vote(3))
    complete(raft)
    say(raft, 2, vote(3))
    complete(raft)
    say(raft, 2, accepted(3, 2))
    for number in range(1, 4):
        say(raft, 2, heartbeat_reply(3, number))
        ready = take(raft)
        assert not ready.confirmed_reads
        assert not ready.refused_reads
        assert not any(isinstance(message, ReadIndexReply) for _, message in ready.messages)
        for _ in range(Limits().heartbeat_ticks):
            raft.tick()


def test_a_follower_asks_its_leader() -> None:
    """A follower's read goes to the leader, and comes back confirmed."""
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.propose(b"a")
    cluster.settle()
    cluster.servers[NodeId(3)].read()
    assert any(isinstance(message, ReadIndex) for _, _, message in cluster.network)
    cluster.settle()
    assert not cluster.servers[NodeId(3)].reads


def test_a_follower_without_a_leader_refuses_at_once() -> None:
    """There is nobody to ask."""
    with pytest.raises(ProposalRefused) as refused:
        make_raft().request_read()
    assert refused.value.reason is RefusalReason.NO_LEADER


@pytest.mark.parametrize("message", [heartbeat(2), append(2), heartbeat_reply(9, 1), read_index_reply(1, 0, None)])
def test_a_follower_refuses_when_its_leader_changes(message: Message) -> None:
    """Another term or a refusal ends a forwarded read; whoever asked may ask again."""
    raft = make_raft(current_term=1)
    say(raft, 3, heartbeat(1, leader=3))
    read_id = raft.request_read()
    if message == read_index_reply(1, 0, None):
        message = read_index_reply(1, read_id, None)
    say(raft, 2, message)
    assert raft.ready().refused_reads == (read_id,)


def test_a_forwarded_read_that_is_lost_is_refused_in_time() -> None:
    """Messages may be lost: after an election timeout the read is given up, though the leader lives."""
    raft = make_raft(current_term=1)
    say(raft, 2, heartbeat(1))
    read_id = raft.request_read()
    for _ in range(Limits().election_timeout_ticks - 1):
        raft.tick()
        say(raft, 2, heartbeat(1))
        assert not raft.ready().refused_reads
    raft.tick()
    assert raft.ready().refused_reads == (read_id,)
    say(raft, 2, read_index_reply(1, read_id, 5))
    assert not raft.has_ready


def test_an_answer_confirms_once_and_only_its_own_read() -> None:
    """A repeated answer, or one to a read that nobody asked, is ignored."""
    raft = make_raft(current_term=1)
    say(raft, 2, heartbeat(1))
    read_id = raft.request_read()
    complete(raft)
    say(raft, 2, read_index_reply(1, read_id + 1, 5), read_index_reply(1, read_id, 5), read_index_reply(1, read_id, 9))
    assert raft.ready().confirmed_reads == ((read_id, 5),)


def test_ids_do_not_recur_in_the_next_life() -> None:
    """An answer to a read of the process's previous life finds no read with that id in this one."""
    ids = []
    for life in range(20):
        raft = make_raft(current_term=1, random=Random(life))
        say(raft, 2, heartbeat(1))
        ids += [raft.request_read() for _ in range(10)]
    assert len(set(ids)) == len(ids)


def test_who_does_not_lead_refuses_a_followers_read() -> None:
    """Neither a follower nor a leader of an older term answers with an index."""
    raft = make_raft(current_term=2)
    say(raft, 2, read_index(2, 7), read_index(1, 8))
    assert complete(raft) == [(2, read_index_reply(2, 7, None)), (2, read_index_reply(2, 8, None))]


def test_a_leader_that_steps_down_refuses_its_followers_reads() -> None:
    """A follower that asked hears about it."""
    raft = settled_leader()
    say(raft, 2, read_index(1, 7))
    say(raft, 3, heartbeat_reply(2, 1))
    assert (2, read_index_reply(2, 7, None)) in complete(raft)


def test_waiting_reads_are_bounded() -> None:
    """More reads than the bound are refused: own ones at once, a follower's by an answer, forwarded ones too."""
    limits = Limits(pending_reads_max=2)
    leader = settled_leader(limits=limits)
    leader.request_read()
    say(leader, 2, read_index(1, 7), read_index(1, 8))
    assert read_index_reply(1, 8, None) in [message for _, message in complete(leader)]
    with pytest.raises(ProposalRefused) as refused:
        leader.request_read()
    assert refused.value.reason is RefusalReason.TOO_MANY_READS
    say(leader, 2, heartbeat_reply(1, 2))
    leader.request_read()

    follower = make_raft(current_term=1, limits=limits)
    say(follower, 2, heartbeat(1))
    for _ in range(2):
        follower.request_read()
    with pytest.raises(ProposalRefused):
        follower.request_read()


def test_a_read_sees_what_was_committed_before_it() -> None:
    """The read index is at least the commit index at the time of asking."""
    raft = settled_leader()
    raft.propose([b"a"])
    complete(raft)
    say(raft, 2, accepted(1, 2))
    assert raft.commit_index == 2
    read_id = raft.request_read()
    [number] = rounds(raft.ready().messages)
    say(raft, 2, heartbeat_reply(1, number))
    assert raft.ready().confirmed_reads == ((read_id, LogIndex(2)),)
