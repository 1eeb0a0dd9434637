"""Elections: who campaigns, who votes, who steps down; and what real systems got wrong there."""

from random import Random

import pytest

from raftd.consensus import HardState, Limits, Message, NodeId, Raft, RequestPreVote, RequestVote, Role, Term
from tests.consensus.cluster import Cluster
from tests.consensus.words import (
    acknowledge,
    append,
    complete,
    heartbeat,
    heartbeat_reply,
    make_leader,
    make_raft,
    members,
    pre_vote,
    request_pre_vote,
    request_vote,
    role_of,
    say,
    timeout_now,
    vote,
)

PATIENCE = Limits().election_timeout_ticks


def test_a_candidates_own_vote_counts_once_it_is_stored() -> None:
    """With one other vote of three in hand, the candidate leads only when the disk has its own."""
    raft = make_raft()
    raft.campaign()
    say(raft, 2, pre_vote(1))
    ready = raft.ready()
    assert ready.hard_state == HardState(Term(1), NodeId(1))
    assert [to for to, message in ready.messages_after_stored if isinstance(message, RequestVote)] == [2, 3]
    say(raft, 2, vote(1))
    assert role_of(raft) is Role.CANDIDATE
    acknowledge(raft, ready)
    assert role_of(raft) is Role.LEADER


def test_the_disks_delay_of_an_earlier_term_is_no_vote() -> None:
    """What the disk acknowledges of an earlier candidacy does not count in the present one."""
    raft = make_raft()
    raft.campaign()
    say(raft, 2, pre_vote(1))
    first = raft.ready()
    raft.campaign()
    say(raft, 2, pre_vote(2))
    raft.ready()
    say(raft, 2, vote(2))
    acknowledge(raft, first)
    assert raft.role is Role.CANDIDATE


def test_a_single_node_leads_and_commits_only_what_is_stored() -> None:
    """Alone, too, nothing is won or committed before the disk has it."""
    raft = make_raft(size=1)
    raft.campaign()
    assert role_of(raft) is Role.CANDIDATE
    acknowledge(raft, raft.ready())
    assert role_of(raft) is Role.LEADER
    raft.propose([b"a"])
    ready = raft.ready()
    assert raft.commit_index == 0
    assert not ready.committed
    acknowledge(raft, ready)
    assert [entry[3] for entry in raft.ready().committed] == [b"", b"a"]


def test_votes_of_another_term_are_not_counted() -> None:
    """Votes do not carry over from one term to the next, and late ones are ignored."""
    raft = make_raft(size=5)
    raft.campaign()
    say(raft, 2, pre_vote(1))
    say(raft, 3, pre_vote(1))
    complete(raft)
    say(raft, 2, vote(1))
    raft.campaign()
    say(raft, 2, pre_vote(2))
    say(raft, 3, pre_vote(2))
    complete(raft)
    say(raft, 3, vote(1), vote(2, granted=False))
    say(raft, 4, vote(2))
    assert role_of(raft) is Role.CANDIDATE
    say(raft, 4, vote(2))
    assert role_of(raft) is Role.CANDIDATE, "the same vote twice"
    say(raft, 5, vote(2))
    assert role_of(raft) is Role.LEADER


def test_late_pre_votes_are_not_counted() -> None:
    """A grant for another term than the next, or for one who does not ask any more, starts nothing."""
    raft = make_raft(current_term=5)
    say(raft, 2, pre_vote(6))
    assert raft.current_term == 5
    raft.campaign()
    say(raft, 2, pre_vote(7))
    say(raft, 3, pre_vote(5))
    assert raft.role is Role.PRE_CANDIDATE


@pytest.mark.parametrize("ask", [request_vote(5, 9, 4), request_pre_vote(5, 9, 4)])
def test_who_hears_a_leader_takes_no_part(ask: RequestVote | RequestPreVote) -> None:
    """Within the least election timeout of a heartbeat, later terms are not looked at; after it they are (§4.2.3)."""
    raft = make_raft(1)
    say(raft, 3, heartbeat(1, leader=3))
    complete(raft)
    say(raft, 2, ask)
    assert not raft.has_ready
    assert raft.current_term == 1
    for _ in range(PATIENCE):
        raft.tick()
    complete(raft)
    say(raft, 2, ask)
    assert complete(raft) in ([(2, vote(5))], [(2, pre_vote(5))])


def test_a_leader_takes_no_part_either() -> None:
    """A leader that hears its quorum is a live leader to itself."""
    raft = make_leader()
    say(raft, 2, request_vote(9, 9, 8), request_pre_vote(9, 9, 8))
    assert raft.role is Role.LEADER
    assert not raft.has_ready


def test_a_transfer_overrules_loyalty() -> None:
    """The leader itself asked for the election: those who hear it vote all the same (thesis §3.10)."""
    raft = make_raft(1)
    say(raft, 3, heartbeat(1, leader=3))
    complete(raft)
    say(raft, 2, request_vote(2, 1, 1, transfer=True))
    assert complete(raft) == [(2, vote(2))]


def test_a_transfer_needs_no_pre_vote() -> None:
    """Who is asked to take over campaigns at once, though all others hear the old leader."""
    cluster = Cluster(5)
    cluster.elect(1)
    cluster.run(2)
    cluster[2].step(NodeId(1), timeout_now(1, leader=1))
    cluster.settle()
    assert cluster[2].role is Role.LEADER
    assert cluster[2].current_term == 2


def test_a_learner_that_nobody_needs_does_not_campaign() -> None:
    """Neither time nor a transfer makes a learner a candidate; asked for a vote, it gives it."""
    raft = make_raft(membership=members(2, 3, learners=(1,)))
    raft.campaign()
    for _ in range(5 * PATIENCE):
        raft.tick()
    say(raft, 2, heartbeat(1), timeout_now(1))
    assert raft.role is Role.FOLLOWER
    complete(raft)
    say(raft, 2, request_vote(2, transfer=True))
    assert complete(raft) == [(2, vote(2))]


@pytest.mark.parametrize("hears_leader", [False, True])
@pytest.mark.parametrize("asks", [request_pre_vote(2), request_vote(2)], ids=["pre-vote", "vote"])
def test_a_learner_that_has_what_a_candidate_lacks_campaigns_until_it_hears_a_leader(
    asks: Message, *, hears_leader: bool
) -> None:
    """Thesis §4.2.2: though it is no voter by its own log, the others may not be able to go on without it."""
    raft = make_raft(1, membership=members(2, 3, learners=(1,)))
    say(raft, 2, asks)
    if hears_leader:
        say(raft, 3, heartbeat(2, leader=3))
    raft.campaign()
    assert raft.role is (Role.FOLLOWER if hears_leader else Role.PRE_CANDIDATE)


def test_a_learner_whose_vote_goes_to_another_one_is_not_needed() -> None:
    """It refuses for that, and not for its log; and a candidate that has as much as it has needs nothing of it."""
    raft = make_raft(membership=members(2, 3, learners=(1,)), current_term=2, voted_for=3)
    say(raft, 2, request_vote(2))
    raft.campaign()
    assert raft.role is Role.FOLLOWER


@pytest.mark.parametrize(
    ("voted_for", "granted"),
    [(None, True), (2, True), (3, False)],
)
def test_a_pre_vote_for_the_current_term(voted_for: int | None, granted: bool) -> None:
    """Who is a term behind is told whether a vote in this term is still to be had, and else learns of the term."""
    raft = make_raft(current_term=5, voted_for=voted_for)
    say(raft, 2, request_pre_vote(5))
    assert complete(raft) == [(2, pre_vote(5, granted=granted))]


def test_a_pre_vote_for_a_term_that_is_led_is_refused() -> None:
    """However long its leader is silent: that term has been decided, and whoever asks is told of it."""
    raft = make_raft(current_term=4)
    say(raft, 3, heartbeat(5, leader=3))
    for _ in range(PATIENCE - 1):
        raft.tick()
    complete(raft)
    say(raft, 2, request_pre_vote(5))
    assert complete(raft) == [(2, pre_vote(5, granted=False))]


def test_a_pre_vote_needs_an_up_to_date_log() -> None:
    """A log that could not win does not even start a term."""
    raft = make_raft(1, 2)
    say(raft, 2, request_pre_vote(3, 1, 1), request_pre_vote(3, 2, 2))
    assert complete(raft) == [(2, pre_vote(2, granted=False)), (2, pre_vote(3))]


def test_a_leader_without_a_quorum_steps_down() -> None:
    """Within an election timeout of the last answer, a leader that only hears a minority stops, heartbeats included."""
    raft = make_leader(size=5)
    for tick in range(1, PATIENCE + 1):
        assert role_of(raft) is Role.LEADER
        raft.tick()
        said = complete(raft)
        if role_of(raft) is Role.LEADER and tick % 2 == 0:
            say(raft, 2, heartbeat_reply(1, max(message.round for _, message in said if hasattr(message, "round"))))
    assert role_of(raft) is Role.FOLLOWER
    assert raft.leader_id is None
    raft.tick()
    assert complete(raft) == []


def test_a_leader_with_a_quorum_stays() -> None:
    """Answers of a bare majority keep a leader for ever."""
    raft = make_leader(size=5)
    for _ in range(10 * PATIENCE):
        raft.tick()
        complete(raft)
        say(raft, 2, heartbeat_reply(1, 1))
        say(raft, 3, heartbeat_reply(1, 1))
    assert raft.role is Role.LEADER


def test_a_node_that_was_cut_off_disturbs_nobody() -> None:
    """Pre-vote: a node comes back after a long time alone, and neither term nor leader change."""
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.isolate(3)
    cluster.run(10 * PATIENCE)
    assert cluster[3].current_term == 1
    cluster.cut.clear()
    cluster.run(3 * PATIENCE)
    assert cluster.leaders == {1: 1}
    assert cluster[3].leader_id == 1


def test_a_node_at_a_higher_term_can_come_back() -> None:
    """A node whose term is ahead, with a log that cannot win, makes the leader find a term for all."""
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.isolate(3)
    cluster.propose(b"what node 3 lacks")
    cluster.settle()
    cluster.servers[NodeId(3)].disk_hard_state = HardState(Term(7), NodeId(3))
    cluster.crash(3)
    cluster.restart(3)
    cluster.cut.clear()
    cluster.run(4 * PATIENCE)
    leader = cluster.leader()
    assert leader is not None
    assert leader.node_id != 3
    assert {server.raft.current_term for server in cluster.up()} == {leader.raft.current_term}
    assert leader.raft.current_term <= 9
    assert cluster[3].commit_index == leader.raft.commit_index


def test_mixed_terms_with_pre_vote_find_a_leader() -> None:
    """The node with the longer log is terms behind, the other one cannot win: they still elect a leader."""
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.crash(3)
    cluster.propose(b"only on 1 and 2")
    cluster.settle()
    cluster.crash(1)
    cluster.servers[NodeId(3)].disk_hard_state = HardState(Term(9), None)
    cluster.restart(3)
    cluster.run(4 * PATIENCE)
    assert cluster[2].role is Role.LEADER
    assert cluster[2].current_term == 10


@pytest.mark.parametrize(
    ("size", "links"),
    [
        (3, [(1, 2), (2, 3)]),
        (4, [(1, 2), (2, 3), (3, 4), (1, 3)]),
        (5, [(1, 2), (2, 3), (1, 3), (3, 4), (3, 5), (4, 5)]),
    ],
    ids=["chain", "tail", "bridge"],
)
def test_a_partial_partition_does_not_make_nodes_fight(size: int, links: list[tuple[int, int]]) -> None:
    """In a chain or over a bridge, those who cannot hear the leader do not depose it: the term grows by one at most."""
    cluster = Cluster(size)
    cluster.elect(1)
    cluster.cut = {
        (one, other)
        for one in cluster.node_ids
        for other in cluster.node_ids
        if one != other and (one, other) not in links and (other, one) not in links
    }
    cluster.run(4 * PATIENCE)
    term = max(server.raft.current_term for server in cluster.up())
    cluster.run(60 * PATIENCE)
    assert max(server.raft.current_term for server in cluster.up()) <= term + 1
    assert cluster.leader() is not None


def test_a_leader_that_lost_its_quorum_lets_the_bridge_go() -> None:
    """The leader reaches only one node, which all others reach: a new leader within four election timeouts."""
    cluster = Cluster(5)
    cluster.elect(1)
    cluster.isolate(1)
    cluster.cut -= {(NodeId(1), NodeId(2)), (NodeId(2), NodeId(1))}
    cluster.run(4 * PATIENCE)
    leaders = [server.node_id for server in cluster.up() if server.raft.role is Role.LEADER]
    assert len(leaders) == 1
    assert leaders != [1]


def test_every_timeout_is_drawn_anew() -> None:
    """Timeouts are in [T, 2T), differ from election to election and from term to term, and reach both ends."""
    raft = make_raft()
    drawn = []
    for _ in range(300):
        while raft.role is Role.FOLLOWER or raft.election_elapsed_ticks:
            raft.tick()
            if raft.election_elapsed_ticks == 0:
                break
        drawn.append(raft.election_timeout_ticks)
        raft.tick()
    assert set(drawn) == set(range(PATIENCE, 2 * PATIENCE))
    before = {term: new_term_timeout(term) for term in range(1, 50)}
    assert len(set(before.values())) > 5


def new_term_timeout(term: int) -> int:
    raft = make_raft(random=Random(term))
    say(raft, 2, append(term))
    return raft.election_timeout_ticks


def test_ten_thousand_elections_of_two_nodes_end() -> None:
    """Two nodes in step: ties are broken by new timeouts each time, so that no election takes long."""
    limits = Limits(election_timeout_ticks=4, heartbeat_ticks=1)
    random = Random(31)
    longest = 0
    for _ in range(10_000):
        pair = {NodeId(number): make_raft(size=2, limits=limits, node_id=number, random=random) for number in (1, 2)}
        longest = max(longest, ticks_until_one_leads(pair))
    assert 2 * limits.election_timeout_ticks < longest < 100, "there were ties, and all were broken"


def ticks_until_one_leads(pair: dict[NodeId, Raft]) -> int:
    """Tick both at once; what they say arrives before the next tick."""
    for ticks in range(1000):
        for raft in pair.values():
            raft.tick()
        while any(raft.has_ready for raft in pair.values()):
            said = [(node_id, complete(raft)) for node_id, raft in pair.items()]
            for sender, messages in said:
                for to, message in messages:
                    pair[NodeId(to)].step(sender, message)
            if any(raft.role is Role.LEADER for raft in pair.values()):
                return ticks
    raise AssertionError("no end")
