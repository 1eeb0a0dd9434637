"""The leader's side: batches, windows, finding where logs agree, recovering what was lost, committing."""

import pytest

from raftd.consensus import (
    AddLearner,
    AppendEntries,
    AppendEntriesReply,
    EntryKind,
    HardState,
    Heartbeat,
    InstallSnapshotReply,
    Limits,
    LogIndex,
    Message,
    NodeId,
    ProgressState,
    Raft,
    Role,
    Term,
    observe,
)
from tests.consensus.cluster import Cluster
from tests.consensus.words import (
    accepted,
    acknowledge,
    complete,
    entry,
    heartbeat_reply,
    make_leader,
    make_raft,
    pre_vote,
    refused,
    role_of,
    say,
    terms_of,
    vote,
)


def appends_to(messages: list[tuple[int, Message]], peer: int) -> list[AppendEntries]:
    return [message for to, message in messages if to == peer and isinstance(message, AppendEntries)]


def indexes(message: AppendEntries) -> list[int]:
    return [one[0] for one in message.entries]


def ready_leader(limits: Limits | None = None) -> Raft:
    """A leader of three whose peers both have its no-op."""
    raft = make_leader(limits=limits)
    say(raft, 2, accepted(1, 1))
    say(raft, 3, accepted(1, 1))
    complete(raft)
    return raft


def test_several_proposals_before_one_ready_are_one_message() -> None:
    """Whatever was proposed in one turn leaves in one AppendEntries per peer, and as one object with what is stored."""
    raft = ready_leader()
    for command in (b"a", b"b", b"c"):
        raft.propose([command])
    ready = raft.ready()
    appends = [message for _, message in ready.messages if isinstance(message, AppendEntries)]
    assert [indexes(message) for message in appends] == [[2, 3, 4], [2, 3, 4]]
    assert appends[0].entries is appends[1].entries is ready.entries


def test_a_leader_sends_before_it_has_stored() -> None:
    """The leader's disk is in parallel to the peers', and counts when it is done (thesis §10.2.1)."""
    raft = ready_leader()
    raft.propose([b"a"])
    ready = raft.ready()
    assert ready.messages
    say(raft, 2, accepted(1, 2))
    assert raft.commit_index == 1
    say(raft, 3, accepted(1, 2))
    assert raft.commit_index == 2
    assert raft.stored_index == 1
    acknowledge(raft, ready)
    assert raft.stored_index == 2


def test_appends_respect_both_bounds_and_the_window() -> None:
    """A long backlog goes out in bounded messages, no more at once than the window, and the rest as answers come."""
    limits = Limits(append_entries_max=3, append_bytes_max=30, in_flight_appends_max=2, held_entries_max=1)
    raft = ready_leader(limits)
    raft.propose([b"a", b"b", b"c", b"d" * 50, b"e"])
    first = appends_to(complete(raft), 2)
    assert [indexes(message) for message in first] == [[2, 3], [4]]
    say(raft, 2, accepted(1, 3))
    assert [indexes(message) for message in appends_to(complete(raft), 2)] == [[5]]
    say(raft, 2, accepted(1, 5))
    assert [indexes(message) for message in appends_to(complete(raft), 2)] == [[6]]


def test_what_is_not_worth_an_append_waits_for_the_answer() -> None:
    """While one is unanswered, later entries gather, and all of them leave in one AppendEntries when it is answered."""
    raft = ready_leader()
    raft.propose([b"a"])
    assert [indexes(message) for message in appends_to(complete(raft), 2)] == [[2]]
    for command in (b"b", b"c"):
        raft.propose([command])
        assert not appends_to(complete(raft), 2)
    say(raft, 2, accepted(1, 2))
    sent = complete(raft)
    assert [indexes(message) for message in appends_to(sent, 2)] == [[3, 4]]
    assert not appends_to(sent, 3), "node 3 has not answered yet"


@pytest.mark.parametrize("commands", [[b"b"] * 5, [b"b" * 100]], ids=["entries", "bytes"])
def test_what_is_worth_an_append_does_not_wait(commands: list[bytes]) -> None:
    """Enough entries, or bytes of them, leave at once, however many are unanswered."""
    raft = ready_leader(Limits(held_entries_max=5, held_bytes_max=100))
    for _ in range(3):
        raft.propose(commands)
        assert len(appends_to(complete(raft), 2)) == 1


def test_nothing_is_held_back_for_longer_than_a_tick() -> None:
    """Should no answer ever come, each tick sends what has gathered, until the window is full."""
    raft = ready_leader(Limits(in_flight_appends_max=4))
    sent = []
    for _ in range(6):
        raft.propose([b"a"])
        raft.propose([b"b"])
        sent += appends_to(complete(raft), 2)
        raft.tick()
        sent += appends_to(complete(raft), 2)
    assert [indexes(message) for message in sent if message.entries] == [[2, 3], [4, 5], [6, 7], [8, 9]]


def test_what_is_held_back_may_be_compacted_away() -> None:
    """A peer that has not answered for so long is sent the snapshot, which is all that has what it lacks."""
    raft = ready_leader()
    raft.propose([b"a"])
    assert [indexes(message) for message in appends_to(complete(raft), 2)] == [[2]]
    for command in (b"b", b"c", b"d", b"e"):
        raft.propose([command])
        say(raft, 3, accepted(1, raft.last_index))
        complete(raft)
    assert raft.commit_index == 6
    raft.snapshot_available(raft.snapshot_metadata(LogIndex(6)))
    raft.compact(LogIndex(6))
    assert raft.has_ready
    (chunk,) = raft.ready().snapshot_chunks
    assert (chunk.peer, chunk.last_included_index) == (2, 6)
    raft.propose([b"f"])
    assert not appends_to(complete(raft), 2)


def leader_that_sends_a_snapshot() -> Raft:
    """A leader of three that sends node 2 the snapshot at 2, of which node 2 has 10 bytes."""
    raft = make_leader(1)
    say(raft, 3, accepted(2, 2))
    complete(raft)
    raft.snapshot_available(raft.snapshot_metadata(LogIndex(2)))
    raft.compact(LogIndex(2))
    say(raft, 2, refused(2, 1, 1))
    assert [one.offset for one in raft.ready().snapshot_chunks] == [0]
    say(raft, 2, InstallSnapshotReply(Term(2), LogIndex(2), 10, installed=False))
    return raft


def test_a_snapshot_that_is_gone_gives_way_to_the_newest() -> None:
    """The driver has replaced the file by now: its successor is sent from the beginning."""
    raft = leader_that_sends_a_snapshot()
    raft.propose([b"b"])
    assert [one.offset for one in raft.ready().snapshot_chunks] == [10]
    say(raft, 3, accepted(2, 3))
    raft.stored(Term(2), LogIndex(3))
    raft.applied(raft.ready().committed[-1][0])
    raft.snapshot_available(raft.snapshot_metadata(LogIndex(3)))
    raft.snapshot_unavailable(NodeId(2))
    [chunk] = raft.ready().snapshot_chunks
    assert (chunk.peer, chunk.last_included_index, chunk.last_included_term, chunk.offset) == (2, 3, 2, 0)


def test_a_snapshot_that_is_gone_and_has_no_successor_waits() -> None:
    """There is nothing else to try: the peer counts as out of reach, and is asked for nothing at once."""
    raft = leader_that_sends_a_snapshot()
    assert [one.offset for one in raft.ready().snapshot_chunks] == [10]
    raft.snapshot_unavailable(NodeId(2))
    progress = raft.progress[NodeId(2)]
    assert (progress.state, progress.is_paused, progress.is_doubtful) == (ProgressState.SNAPSHOT, True, True)
    assert not raft.has_ready
    say(raft, 2, heartbeat_reply(2, 1))
    assert [one.offset for one in raft.ready().snapshot_chunks] == [10]


def test_a_snapshot_that_is_gone_concerns_nobody_who_is_sent_none() -> None:
    """The peer has got on by entries meanwhile, is no member any more, or nothing is led here."""
    raft = leader_that_sends_a_snapshot()
    before = observe(raft), repr(raft.progress)
    raft.snapshot_unavailable(NodeId(3))
    raft.snapshot_unavailable(NodeId(9))
    assert (observe(raft), repr(raft.progress)) == before
    make_raft().snapshot_unavailable(NodeId(2))


def test_entries_take_over_from_a_snapshot_as_soon_as_they_can() -> None:
    """An answer that was long under way shows that the log still has what the peer lacks."""
    raft = make_leader(1)
    say(raft, 3, accepted(2, 2))
    complete(raft)
    raft.snapshot_available(raft.snapshot_metadata(LogIndex(2)))
    raft.compact(LogIndex(1))
    say(raft, 2, refused(2, 1, 1))
    assert len(raft.ready().snapshot_chunks) == 1
    say(raft, 2, accepted(2, 1))
    assert raft.progress[NodeId(2)].state is ProgressState.REPLICATE
    assert [indexes(message) for message in appends_to(complete(raft), 2) if message.entries] == [[2]]


def test_who_answers_chunks_is_heard() -> None:
    """A peer that is busy with a snapshot is as alive as any other."""
    raft = leader_that_sends_a_snapshot()
    raft.tick()
    assert raft.progress[NodeId(2)].silent_ticks == 1
    say(raft, 2, InstallSnapshotReply(Term(2), LogIndex(2), 20, installed=False))
    assert raft.progress[NodeId(2)].silent_ticks == 0


def test_a_stranger_s_answers_count_for_nothing() -> None:
    """Who is no member, perhaps not any more, may still answer what it was sent."""
    raft = ready_leader()
    before = observe(raft), repr(raft.progress)
    strange = (accepted(1, 1), heartbeat_reply(1, 1), InstallSnapshotReply(Term(1), LogIndex(1), 0, installed=True))
    say(raft, 9, *strange)
    assert (observe(raft), repr(raft.progress)) == before
    assert not raft.has_ready


def test_a_lost_append_shows_in_the_next_one() -> None:
    """The follower refuses what does not fit, and gets everything from the gap on."""
    raft = ready_leader(Limits(held_entries_max=1))
    raft.propose([b"a"])
    complete(raft)
    raft.propose([b"b"])
    complete(raft)
    say(raft, 2, refused(1, 2, 2))
    assert [indexes(message) for message in appends_to(complete(raft), 2)] == [[2, 3]]
    assert raft.progress[NodeId(2)].state is ProgressState.PROBE
    say(raft, 2, accepted(1, 3))
    assert raft.progress[NodeId(2)].state is ProgressState.REPLICATE


def test_a_loss_without_further_load_is_asked_about() -> None:
    """The last AppendEntries is lost, nothing follows it: an empty one asks, and the refusal brings it again."""
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.run(3)
    cluster.propose(b"lost on its way to node 3")
    cluster.network = [message for message in cluster.network if message[1] != 3]
    cluster.settle()
    cluster.run(4 * cluster.limits.heartbeat_ticks)
    assert cluster[3].commit_index == cluster[1].last_index == 2


def test_a_lost_answer_is_asked_about() -> None:
    """All entries arrived, but the last answer was lost: it is asked for, and nothing is sent twice."""
    cluster = Cluster(2)
    cluster.elect(1)
    cluster.run(3)
    cluster.propose(b"a")
    cluster.cut = {(NodeId(2), NodeId(1))}
    cluster.settle()
    cluster.cut.clear()
    sent = []
    for _ in range(4 * cluster.limits.heartbeat_ticks):
        cluster.tick()
        sent += [message for _, _, message in cluster.network if isinstance(message, AppendEntries)]
        cluster.settle()
    assert cluster[1].commit_index == 2
    assert not any(message.entries for message in sent)


def test_a_slow_disk_is_not_sent_the_same_entries_again() -> None:
    """A follower that answers heartbeats while its disk takes for ever gets inquiries, and no entry twice."""
    raft = ready_leader()
    raft.propose([b"a" * 1000])
    complete(raft)
    for _ in range(50):
        raft.tick()
        for message in appends_to(complete(raft), 2):
            assert not message.entries
        say(raft, 2, heartbeat_reply(1, 1))
        say(raft, 3, heartbeat_reply(1, 1))


def test_an_unreachable_peer_gets_heartbeats_only() -> None:
    """After a drop nothing but heartbeats goes out until one is answered."""
    raft = ready_leader()
    raft.unreachable(NodeId(2))
    raft.propose([b"a"])
    assert appends_to(complete(raft), 2) == []
    raft.tick()
    raft.tick()
    assert any(isinstance(message, Heartbeat) for to, message in complete(raft) if to == 2)
    say(raft, 2, heartbeat_reply(1, 2))
    assert [indexes(message) for message in appends_to(complete(raft), 2)] == [[2]]


def test_unreachable_means_nothing_to_a_follower() -> None:
    """Only leaders keep progress."""
    raft = ready_leader()
    raft.unreachable(NodeId(9))
    say(raft, 2, refused(5, 0))
    raft.unreachable(NodeId(2))
    assert not raft.progress


def test_who_was_away_before_this_candidacy_is_not_asked_what_it_has() -> None:
    """Only what is lost between the question and the election can be forgotten by a voter."""
    raft = make_raft()
    for is_away in (False, True):
        raft.unreachable(NodeId(2))
        raft.campaign()
        say(raft, 2, pre_vote(raft.current_term + 1))
        complete(raft)
        if is_away:
            raft.unreachable(NodeId(2))
        say(raft, 2, vote(raft.current_term))
        assert role_of(raft) is Role.LEADER
        assert [progress.is_doubtful for _, progress in sorted(raft.progress.items())] == [is_away, False]
        say(raft, 3, heartbeat_reply(raft.current_term + 1, 0))
        complete(raft)


def test_who_may_have_begun_anew_keeps_no_leader_in_office() -> None:
    """A peer whose answers do not count yet is no part of the quorum that a leader must hear."""
    raft = ready_leader()
    raft.unreachable(NodeId(2))
    say(raft, 2, refused(1, 1, 1))
    for _ in range(Limits().election_timeout_ticks):
        assert role_of(raft) is Role.LEADER
        raft.tick()
        complete(raft)
        say(raft, 2, heartbeat_reply(1, 1))
    assert role_of(raft) is Role.FOLLOWER


def test_who_begins_anew_waits_for_an_entry_that_others_store() -> None:
    """What it says counts only when they have one that was appended after its log was found empty."""
    raft = ready_leader()
    raft.propose_membership(AddLearner(NodeId(4)))
    complete(raft)
    raft.unreachable(NodeId(4))
    say(raft, 4, refused(1, 1, 1))
    assert (raft.progress[NodeId(4)].is_doubted, raft.last_index) == (True, 3)
    assert [(kind, data) for _, _, kind, data in raft.entries(LogIndex(3), LogIndex(4))] == [(EntryKind.NOOP, b"")]
    complete(raft)
    say(raft, 4, accepted(1, 3))
    say(raft, 2, accepted(1, 2), heartbeat_reply(1, 1))
    assert (raft.progress[NodeId(4)].is_doubted, raft.commit_index) == (True, 2)
    say(raft, 2, accepted(1, 3))
    assert not raft.progress[NodeId(4)].is_doubted


def test_who_begins_anew_again_waits_for_another_entry() -> None:
    """What was appended before does not tell who has been elected since."""
    raft = ready_leader()
    for index in (2, 3):
        raft.unreachable(NodeId(2))
        say(raft, 2, refused(1, 1, 1))
        assert raft.progress[NodeId(2)].doubted_index == raft.last_index == index
        complete(raft)
    say(raft, 3, accepted(1, 2))
    assert raft.progress[NodeId(2)].is_doubted
    say(raft, 3, accepted(1, 3))
    assert not raft.progress[NodeId(2)].is_doubted


def test_whom_is_handed_over_to_keeps_the_whole_log() -> None:
    """What ends a doubt is appended later: it would be missing from the log with which the target asks for votes."""
    raft = ready_leader()
    raft.transfer_leadership(NodeId(3))
    raft.unreachable(NodeId(2))
    say(raft, 2, refused(1, 1, 1))
    for _ in range(Limits().election_timeout_ticks - 1):
        raft.tick()
        say(raft, 3, heartbeat_reply(1, 1))
    assert (raft.progress[NodeId(2)].is_doubted, raft.transfer_target, raft.last_index) == (True, 3, 1)
    for _ in range(2):
        raft.tick()
    assert (raft.progress[NodeId(2)].doubted_index, raft.last_index) == (2, 2)


def test_one_doubt_ends_after_the_other() -> None:
    """Each by its own entry, and what one of the doubted has stored does not end the doubt of the other."""
    raft = make_leader(size=5)
    for peer in (2, 3, 4, 5):
        say(raft, peer, accepted(1, 1))
    complete(raft)
    for peer in (2, 3):
        raft.unreachable(NodeId(peer))
        say(raft, peer, refused(1, 1, 1))
        complete(raft)
        say(raft, peer, accepted(1, raft.last_index))
    doubted = [raft.progress[NodeId(peer)] for peer in (2, 3)]
    assert [progress.doubted_index for progress in doubted] == [2, 3]
    say(raft, 4, accepted(1, 3))
    assert (raft.commit_index, [progress.is_doubted for progress in doubted]) == (1, [True, True])
    say(raft, 5, accepted(1, 2))
    assert (raft.commit_index, [progress.is_doubted for progress in doubted]) == (2, [False, True])
    say(raft, 2, accepted(1, 3))
    assert (raft.commit_index, [progress.is_doubted for progress in doubted]) == (3, [False, False])


def test_what_only_waited_for_a_doubted_peer_is_committed_when_it_counts_again() -> None:
    """Its answer came while it did not count, and no other answer needs to come after that."""
    raft = ready_leader()
    raft.unreachable(NodeId(2))
    say(raft, 2, refused(1, 1, 1))
    raft.propose([b"a"])
    complete(raft)
    say(raft, 2, accepted(1, 3))
    assert raft.commit_index == 1
    say(raft, 3, accepted(1, 2))
    assert raft.commit_index == 3


def test_heartbeats_tell_of_commits_that_the_peer_holds() -> None:
    """A heartbeat's commit index is never above what its receiver acknowledged, and an idle follower learns by it."""
    raft = make_leader()
    raft.propose([b"a", b"b"])
    complete(raft)
    say(raft, 2, accepted(1, 3))
    say(raft, 3, accepted(1, 2))
    complete(raft)
    assert raft.commit_index == 3
    raft.tick()
    raft.tick()
    beats = {to: message.leader_commit for to, message in complete(raft) if isinstance(message, Heartbeat)}
    assert beats == {2: 3, 3: 2}


def test_an_idle_follower_learns_of_the_commit_within_a_heartbeat() -> None:
    """With no further load, everybody has applied the last entry one heartbeat after it was committed."""
    cluster = Cluster(5)
    cluster.elect(1)
    cluster.propose(b"a")
    cluster.settle()
    cluster.run(cluster.limits.heartbeat_ticks)
    assert {server.raft.last_applied for server in cluster.up()} == {2}


def test_late_answers_take_nothing_back() -> None:
    """Duplicates and late answers, successes and refusals, move neither match nor commit back."""
    raft = ready_leader()
    raft.propose([b"a", b"b", b"c"])
    complete(raft)
    say(raft, 2, accepted(1, 4), accepted(1, 2), refused(1, 3, 2), refused(1, 1, 1), accepted(1, 4))
    progress = raft.progress[NodeId(2)]
    assert (progress.match_index, progress.next_index, raft.commit_index) == (4, 5, 4)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 7])
def test_a_commit_needs_a_majority(size: int) -> None:
    """Two copies are no majority of four, and two are one of two."""
    cluster = Cluster(size)
    cluster.elect(1)
    for number in range(size // 2 + 1, size + 1):
        cluster.crash(number)
    index = cluster.propose(b"a")
    cluster.settle()
    assert cluster[1].commit_index < index
    cluster.restart(size // 2 + 1)
    cluster.run(3 * cluster.limits.heartbeat_ticks)
    assert cluster[1].commit_index == index


def test_figure_8() -> None:
    """An entry of an old term on a majority is not committed, and may be replaced by a newer term's (§5.4.2)."""
    cluster = Cluster(5)
    servers = cluster.servers
    for number, terms in enumerate(((1, 2, 4), (1, 2), (1, 2), (1,), (1, 3)), 1):
        server = servers[NodeId(number)]
        server.disk_entries = [entry(index, term) for index, term in enumerate(terms, 1)]
        server.disk_hard_state = HardState(Term(4), None)
        server.start()
    assert [cluster[number].commit_index for number in range(1, 6)] == [0] * 5
    for number in (1, 4):
        cluster.crash(number)
    cluster.elect(5)
    cluster.restart(1)
    cluster.restart(4)
    cluster.run(50)
    for server in servers.values():
        assert [one[1] for one in server.applied] == [1, 3, 5], "the entry of term 2 was on three of five, and is gone"


@pytest.mark.parametrize(
    ("leader_terms", "follower_terms", "rounds_max"),
    [
        # Figure 7's followers (a) to (f), for a leader of term 8.
        ((1, 1, 1, 4, 4, 5, 5, 6, 6, 6), (1, 1, 1, 4, 4, 5, 5, 6, 6), 2),
        ((1, 1, 1, 4, 4, 5, 5, 6, 6, 6), (1, 1, 1, 4), 2),
        ((1, 1, 1, 4, 4, 5, 5, 6, 6, 6), (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6), 1),
        ((1, 1, 1, 4, 4, 5, 5, 6, 6, 6), (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7), 1),
        ((1, 1, 1, 4, 4, 5, 5, 6, 6, 6), (1, 1, 1, 4, 4, 4, 4), 3),
        ((1, 1, 1, 4, 4, 5, 5, 6, 6, 6), (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3), 2),
        # A thousand entries of one term in conflict are skipped at once.
        ((1,) + (3,) * 1000, (1,) + (2,) * 1000, 2),
        ((1, 2) + (5,) * 500, (1,) + (3,) * 300 + (4,) * 300, 2),
    ],
)
def test_conflicts_are_skipped_by_term(
    leader_terms: tuple[int, ...], follower_terms: tuple[int, ...], rounds_max: int
) -> None:
    """Finding where two logs agree takes a probe for each term in conflict, not one for each entry (§5.3)."""
    leader = make_leader(*leader_terms, current_term=7)
    follower = make_raft(*follower_terms, current_term=7, node_id=2)
    refusals = 0
    probe = AppendEntries(Term(8), NodeId(1), LogIndex(len(leader_terms)), Term(leader_terms[-1]), LogIndex(0), ())
    for _ in range(10):
        say(follower, 1, probe)
        [reply] = [message for _, message in complete(follower)]
        assert isinstance(reply, AppendEntriesReply)
        say(leader, 2, reply)
        if reply.success:
            break
        refusals += 1
        [probe] = appends_to(complete(leader), 2)
    assert refusals <= rounds_max
    for message in appends_to(complete(leader), 2):
        say(follower, 1, message)
    assert terms_of(follower) == terms_of(leader)


@pytest.mark.parametrize(
    ("conflict_index", "conflict_term", "prev_log_index"),
    [(2, 2, 4), (2, 3, 1), (5, 3, 4), (1, 4, 0), (3, 0, 2)],
    ids=["shared term", "unknown term, begins lower", "unknown term, begins higher", "nothing shared", "short log"],
)
def test_the_next_probe_skips_what_cannot_match(conflict_index: int, conflict_term: int, prev_log_index: int) -> None:
    """The guess is behind our last entry of the refused term if we have it, and else at the lower of both bounds."""
    raft = make_leader(1, 2, 2, 2, 5, 5, 5)
    say(raft, 2, refused(6, 7, conflict_index, conflict_term))
    [probe] = appends_to(complete(raft), 2)
    assert probe.prev_log_index == prev_log_index


def test_a_new_leader_appends_a_noop_of_its_term() -> None:
    """So that what earlier terms left can be committed at once (§8)."""
    raft = make_leader(1, 1)
    assert raft.entries(LogIndex(3), LogIndex(4)) == ((3, 2, EntryKind.NOOP, b""),)
