"""One peer's progress: what each answer and each silence leads to."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus import Limits, LogIndex, Progress, ProgressState, Term

LIMITS = Limits(in_flight_appends_max=3, in_flight_bytes_max=100)
LAST = LogIndex(20)


def replicating(match_index: int) -> Progress:
    progress = Progress(LogIndex(match_index + 1))
    progress.accepted(LogIndex(match_index))
    assert progress.state is ProgressState.REPLICATE
    return progress


def test_a_probe_goes_alone() -> None:
    """After one probe nothing is sent until it is answered."""
    progress = Progress(LogIndex(11))
    assert progress.may_send(LAST, LIMITS)
    progress.sent(LogIndex(15), 10)
    assert progress.next_index == 11
    assert not progress.may_send(LAST, LIMITS)
    assert progress.accepted(LogIndex(14))
    assert progress.state is ProgressState.REPLICATE
    assert progress.next_index == 15


def test_the_window_is_bounded_by_count_and_by_bytes() -> None:
    """Neither more messages nor more bytes than allowed are under way, and a success opens the window again."""
    progress = replicating(10)
    for high in (12, 13, 14):
        assert progress.may_send(LAST, LIMITS)
        progress.sent(LogIndex(high), 10)
    assert not progress.may_send(LAST, LIMITS)
    progress.accepted(LogIndex(12))
    assert progress.may_send(LAST, LIMITS)
    assert list(progress.in_flight) == [(13, 10)]
    progress.sent(LogIndex(15), 95)
    assert not progress.may_send(LAST, LIMITS)


def test_a_refusal_goes_back_at_once() -> None:
    """A refusal of something in flight leads to probing from the better guess, without waiting."""
    progress = replicating(10)
    progress.sent(LogIndex(15), 10)
    assert progress.refused(LogIndex(14), LogIndex(12))
    assert progress.state is ProgressState.PROBE
    assert progress.next_index == 12
    assert progress.may_send(LAST, LIMITS)


def test_late_refusals_change_nothing() -> None:
    """A refusal of what is known to match, or of another probe than the one under way, is old news."""
    progress = replicating(10)
    assert not progress.refused(LogIndex(10), LogIndex(3))
    assert progress.refused(LogIndex(14), LogIndex(13))
    assert not progress.refused(LogIndex(14), LogIndex(11))
    assert progress.next_index == 13


def test_an_unreachable_peer_gets_nothing_until_it_answers_a_heartbeat() -> None:
    """When something was dropped, the log waits for a heartbeat's answer, and then asks what has arrived."""
    progress = replicating(10)
    progress.sent(LogIndex(15), 10)
    progress.unreachable()
    assert not progress.may_send(LAST, LIMITS)
    progress.heartbeat_answered()
    assert progress.inquiry_due
    progress.inquiry_due = False
    progress.heartbeat_answered()
    assert not progress.inquiry_due, "one inquiry in an interval"


def test_an_unreachable_peer_that_lacks_nothing_is_asked_and_goes_on() -> None:
    """It may have been away because it lost its disk: only its own word says that nothing is in doubt.

    Then it is told what is committed, which it was not as long as it was in doubt.
    """
    progress = replicating(20)
    progress.unreachable()
    progress.heartbeat_answered()
    assert (progress.inquiry_due, progress.state) == (True, ProgressState.PROBE)
    assert not progress.may_send(LAST, LIMITS)
    assert progress.may_send(LogIndex(21), LIMITS)
    progress.sent(LogIndex(21), 0)
    progress.accepted(LogIndex(20))
    assert (progress.inquiry_due, progress.state) == (True, ProgressState.REPLICATE)


def test_a_peer_that_was_away_is_asked_until_it_answers() -> None:
    """Its answer may be lost on its own side, and in an idle cluster nothing else would ask."""
    progress = replicating(5)
    progress.unreachable()
    for _ in range(3):
        for _ in range(2):
            progress.begin_interval()
            progress.heartbeat_answered()
        assert progress.inquiry_due
        progress.inquiry_due = False
    progress.accepted(LogIndex(5))
    progress.inquiry_due = False  # It told the commit.
    for _ in range(4):
        progress.begin_interval()
        progress.heartbeat_answered()
    assert not progress.inquiry_due


def test_what_a_peer_that_was_away_is_sent_first_is_sent_once() -> None:
    """Its disk may be slow: then it is asked, with nothing, as it would be without having been away."""
    progress = replicating(5)
    progress.unreachable()
    progress.begin_interval()
    progress.heartbeat_answered()
    assert progress.may_send(LogIndex(6), LIMITS)
    progress.sent(LogIndex(7), 10)
    for _ in range(4):
        progress.inquiry_due = False
        progress.begin_interval()
        progress.heartbeat_answered()
        assert not progress.may_send(LogIndex(6), LIMITS)
    assert progress.inquiry_due
    progress.unreachable()
    progress.begin_interval()
    progress.heartbeat_answered()
    assert progress.may_send(LogIndex(6), LIMITS)


def test_a_peer_that_was_away_and_has_nothing_left_begins_anew() -> None:
    """The one way back for match_index, and it is open only until the peer has confirmed something."""
    progress = replicating(20)
    assert not progress.has_no_log()
    assert progress.match_index == 20  # a late refusal, from before its first success
    progress.unreachable()
    progress.accepted(LogIndex(20))
    assert not progress.has_no_log()
    assert progress.match_index == 20
    assert progress.confirmed_index == 20
    progress.unreachable()
    assert (progress.match_index, progress.confirmed_index) == (20, 0)
    assert progress.has_no_log()
    assert (progress.match_index, progress.next_index, progress.state) == (0, 1, ProgressState.PROBE)
    assert progress.is_doubted


def test_who_had_confirmed_nothing_has_lost_nothing() -> None:
    """It may have begun anew all the same, but there is no loss to tell of."""
    progress = Progress(LogIndex(11))
    progress.unreachable()
    assert progress.has_no_log()
    assert (progress.next_index, progress.losses, progress.lost_index) == (1, 0, 0)


def test_a_peer_that_was_away_and_refuses_what_it_had_was_set_back() -> None:
    """Its directory is an old copy: it is sent what it lacks, and does not count before others confirm this leader."""
    progress = replicating(20)
    assert not progress.refused(LogIndex(20), LogIndex(8)), "a late answer of one that was never away"
    progress.unreachable()
    assert progress.refused(LogIndex(20), LogIndex(8))
    assert (progress.match_index, progress.next_index, progress.state) == (0, 8, ProgressState.PROBE)
    assert (progress.is_doubted, progress.losses, progress.lost_index) == (True, 1, 20)
    assert not progress.refused(LogIndex(20), LogIndex(8)), "no probe is under way there any more"
    progress.accepted(LogIndex(7))
    assert (progress.match_index, progress.counted_index, progress.state) == (7, 0, ProgressState.REPLICATE)
    progress.trust()
    assert progress.counted_index == 7


def test_a_peer_that_was_away_confirms_no_round_before_it_has_shown_its_log() -> None:
    """It may have forgotten that it helped to elect another leader."""
    progress = replicating(20)
    progress.confirmed_round = 7
    assert progress.counted_round == 7
    progress.unreachable()
    assert (progress.counted_round, progress.counted_index) == (0, 20)
    progress.accepted(LogIndex(20))
    assert (progress.counted_round, progress.counted_index) == (7, 20)


def test_who_began_anew_does_not_count_until_trusted() -> None:
    """Neither rounds nor entries; once they do, the peer is asked, which tells it what is committed."""
    progress = replicating(20)
    progress.unreachable()
    progress.has_no_log()
    progress.confirmed_round = 8
    progress.accepted(LogIndex(20))
    assert (progress.match_index, progress.counted_index, progress.counted_round) == (20, 0, 0)
    assert not progress.inquiry_due
    progress.trust()
    assert (progress.counted_index, progress.counted_round) == (20, 8)
    assert progress.inquiry_due


def test_a_snapshot_does_not_show_that_a_peer_which_was_away_has_its_disk() -> None:
    """It is taken in on an empty disk as well as on any other."""
    progress = replicating(20)
    progress.begin_snapshot(LogIndex(30), Term(1))
    progress.unreachable()
    assert progress.installed(LogIndex(30))
    assert (progress.state, progress.match_index, progress.is_doubted) == (ProgressState.REPLICATE, 30, True)


@pytest.mark.parametrize(("match_index", "is_doubted"), [(0, True), (4, True), (5, False)])
def test_a_peer_that_was_away_shows_only_what_is_of_this_term(match_index: int, *, is_doubted: bool) -> None:
    """What is older a disk that has forgotten everything may have from another leader, or from a backup."""
    progress = Progress(LogIndex(match_index + 1), own_index=LogIndex(5))
    progress.accepted(LogIndex(match_index))
    progress.unreachable()
    progress.accepted(LogIndex(6))
    assert (progress.match_index, progress.is_doubted) == (6, is_doubted)


def test_a_peer_that_was_never_away_is_not_doubted() -> None:
    """Where a cluster begins, all take entries from the first on."""
    progress = Progress(LogIndex(1))
    progress.accepted(LogIndex(3))
    assert (progress.match_index, progress.is_doubted) == (3, False)


def test_who_has_taken_in_an_older_snapshot_is_sent_the_newer_one_at_once() -> None:
    """While it was at work it looked at nothing that came; an answer that is no news says nothing of that."""
    progress = replicating(20)
    progress.begin_snapshot(LogIndex(40), Term(1))
    progress.chunk_sent()
    assert progress.installed(LogIndex(30))
    assert (progress.state, progress.match_index, progress.is_paused) == (ProgressState.SNAPSHOT, 30, False)
    progress.chunk_sent()
    assert not progress.installed(LogIndex(30))
    assert progress.is_paused


def test_silence_is_asked_about_after_a_whole_interval() -> None:
    """A peer that answers heartbeats but not the log is asked, after one whole interval and not sooner."""
    progress = replicating(10)
    progress.sent(LogIndex(15), 10)
    progress.begin_interval()
    progress.heartbeat_answered()
    assert not progress.inquiry_due
    progress.begin_interval()
    progress.heartbeat_answered()
    assert progress.inquiry_due


def test_who_answers_is_not_asked() -> None:
    """Under load, as long as anything is acknowledged in each interval, there is no inquiry."""
    progress = replicating(10)
    for high in range(12, 20):
        progress.sent(LogIndex(high), 1)
        progress.begin_interval()
        progress.heartbeat_answered()
        assert not progress.inquiry_due
        if progress.in_flight:
            progress.accepted(progress.in_flight[0][0])


def test_a_probe_that_is_lost_is_tried_again() -> None:
    """The first probe, or its answer, is lost: two intervals later, sending goes on."""
    progress = Progress(LogIndex(1))
    progress.sent(LogIndex(2), 1)
    progress.begin_interval()
    progress.begin_interval()
    progress.heartbeat_answered()
    assert progress.may_send(LAST, LIMITS)


calls = st.one_of(
    st.tuples(st.just("accepted"), st.integers(0, 20), st.just(0)),
    st.tuples(st.just("refused"), st.integers(0, 20), st.integers(1, 20)),
    st.tuples(st.sampled_from(["send", "unreachable", "begin_interval", "answered"]), st.just(0), st.just(0)),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(calls, max_size=30))
def test_match_stays_below_next_and_never_falls(script: list[tuple[str, int, int]]) -> None:
    """Whatever comes in whatever order: 0 <= match_index < next_index, and match_index only rises.

    But to nothing, when the peer was out of reach and refuses what it had; then it is doubted.
    """
    progress = Progress(LogIndex(11))
    is_away = False
    for call, first, second in script:
        before = progress.match_index
        match call:
            case "accepted":
                progress.accepted(LogIndex(first))
            case "refused":
                progress.refused(LogIndex(first), LogIndex(second))
            case "send":
                if progress.may_send(LAST, LIMITS):
                    progress.sent(LogIndex(min(progress.next_index + 2, LAST + 1)), 7)
            case "unreachable":
                progress.unreachable()
            case "begin_interval":
                progress.begin_interval()
            case _:
                progress.heartbeat_answered()
        if progress.match_index < before:
            assert (is_away, call, progress.match_index) == (True, "refused", 0)
            assert progress.is_doubted
            assert progress.lost_index == before
        is_away = call == "unreachable" or (is_away and not (call == "accepted" or progress.match_index < before))
        assert progress.match_index < progress.next_index
        assert progress.in_flight_bytes == 7 * len(progress.in_flight)
        assert len(progress.in_flight) <= LIMITS.in_flight_appends_max


def sending_a_snapshot(offset: int = 0) -> Progress:
    progress = Progress(LogIndex(3))
    progress.begin_snapshot(LogIndex(10), Term(2))
    progress.chunk_sent()
    if offset:
        progress.chunk_answered(LogIndex(10), offset)
        progress.chunk_sent()
    return progress


def test_a_snapshot_goes_chunk_by_chunk() -> None:
    """No entries, and no second chunk, until one is answered; then from where the peer is."""
    progress = sending_a_snapshot()
    assert progress.is_paused
    assert not progress.may_send(LAST, LIMITS)
    progress.chunk_answered(LogIndex(10), 100)
    assert (progress.is_paused, progress.snapshot_offset) == (False, 100)


def test_repeated_answers_set_no_chunk_in_flight() -> None:
    """The answer that the chunk under way began with is old; one of another snapshot is nothing at all."""
    progress = sending_a_snapshot(offset=100)
    progress.chunk_answered(LogIndex(10), 100)
    progress.chunk_answered(LogIndex(9), 300)
    assert (progress.is_paused, progress.snapshot_offset) == (True, 100)


def test_a_peer_that_lost_its_part_begins_anew() -> None:
    """A lower offset is believed."""
    progress = sending_a_snapshot(offset=100)
    progress.chunk_answered(LogIndex(10), 0)
    assert (progress.is_paused, progress.snapshot_offset) == (False, 0)


def test_a_lost_chunk_comes_again_ever_more_seldom() -> None:
    """Silence about a chunk is taken for a loss after some intervals, and each time after twice as many."""
    progress = sending_a_snapshot()
    waited = []
    for _ in range(5):
        intervals = 0
        while progress.is_paused:
            progress.begin_interval()
            progress.heartbeat_answered()
            intervals += 1
        waited.append(intervals)
        progress.chunk_sent()
    assert waited == [8, 16, 32, 64, 64]


def test_entries_follow_the_snapshot() -> None:
    """Installed, or stored by entries that came late: the peer has what it needs."""
    progress = sending_a_snapshot()
    assert not progress.refused(LogIndex(8), LogIndex(2))
    assert progress.accepted(LogIndex(10))
    assert (progress.state, progress.next_index) == (ProgressState.REPLICATE, 11)


def test_a_snapshot_waits_for_an_unreachable_peer() -> None:
    """Nothing is sent until a heartbeat is answered; then it goes on where it was."""
    progress = sending_a_snapshot(offset=100)
    progress.unreachable()
    progress.heartbeat_answered()
    assert (progress.state, progress.is_paused, progress.snapshot_offset) == (ProgressState.SNAPSHOT, False, 100)
