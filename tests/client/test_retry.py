"""The decisions of a client, without a network: what it does next, and what it may say at the end."""

import random
from collections.abc import Callable

import pytest

from raftd.client.errors import (
    ClientError,
    Denied,
    InvalidRequest,
    LimitReached,
    NotPossible,
    OutcomeUnknown,
    SessionExpired,
    TlsError,
    TooLarge,
    Unavailable,
)
from raftd.client.retry import Attempts, Route
from raftd.client.tls import PerhapsRejected, RejectedByServer
from raftd.consensus.types import NodeId
from raftd.wire.client import Refusal, RefusalCode

A, B, C = "a:1", "b:1", "c:1"

CERTAIN = {code for code in RefusalCode if code is not RefusalCode.OUTCOME_UNKNOWN}
FINAL = {
    RefusalCode.DENIED: Denied,
    RefusalCode.BAD_REQUEST: InvalidRequest,
    RefusalCode.TOO_LARGE: TooLarge,
    RefusalCode.NOT_POSSIBLE: NotPossible,
    RefusalCode.FULL: LimitReached,
}


def write(leader: str | None = None) -> tuple[Route, Attempts]:
    route = Route([A, B, C])
    route.leader = leader
    return route, Attempts(route, is_write=True)


def redirect(address: str) -> Refusal:
    return Refusal(RefusalCode.NOT_LEADER, "", NodeId(9), address)


def go(attempts: Attempts) -> str:
    endpoint = attempts.next()
    assert endpoint is not None
    return endpoint


# Where to go.


def test_who_answers_reads_is_asked_again_but_is_not_taken_for_the_leader() -> None:
    """A follower may have answered; it comes first only while no leader is known and it still answers."""
    route = Route([A, B, C])
    first = Attempts(route, is_write=False, is_read=True)
    go(first)
    first.answered(B)
    assert route.leader is None
    assert [go(Attempts(route, is_write=False, is_read=True)) for _ in range(4)] == [B] * 4
    Attempts(route, is_write=True).answered(C)
    assert go(Attempts(route, is_write=False, is_read=True)) == C
    route.forget(C)
    route.forget(B)
    assert {go(Attempts(route, is_write=False, is_read=True)) for _ in range(3)} == {A, B, C}


def test_the_leader_first_then_each_once() -> None:
    """A round goes to the known leader and then to every other endpoint, and is over."""
    _, attempts = write(leader=B)
    order = []
    while (endpoint := attempts.next()) is not None:
        order.append(endpoint)
        attempts.unreachable(endpoint, "down")
    assert order[0] == B
    assert sorted(order) == [A, B, C]
    assert attempts.rounds == 1


def test_rounds_begin_elsewhere_each_time() -> None:
    """Without a leader no endpoint is everybody's first: one that swallows all time must not block each call."""
    route = Route([A, B, C])
    assert [Attempts(route, is_write=True).next() for _ in range(4)] == [A, B, C, A]


def test_a_leader_that_was_found_meanwhile_is_asked_first() -> None:
    """A request that had to wait before its first sending goes where others have found the leader."""
    route, attempts = write()
    route.leader = C
    assert attempts.next() == C


@pytest.mark.parametrize("address", [C, "stranger:1"])
def test_a_redirection_is_followed_at_once_and_remembered(address: str) -> None:
    """NOT_LEADER with an address leads there next, in this request and in later ones, known or not."""
    route, attempts = write()
    endpoint = go(attempts)
    attempts.refused(endpoint, redirect(address), before=attempts.sent())
    assert go(attempts) == address
    assert Attempts(route, is_write=True).next() == address


@pytest.mark.parametrize("address", ["", "no port:x", A])
def test_a_useless_redirection_is_ignored(address: str) -> None:
    """No address, a malformed one, or one that was tried in this round: the next endpoint is asked."""
    route, attempts = write(leader=A)
    attempts.refused(go(attempts), redirect(address), before=attempts.sent())
    assert route.leader is None
    assert go(attempts) == B


def test_a_redirection_within_the_round_makes_no_second_visit() -> None:
    """Who was asked out of turn is not asked again when its turn comes."""
    _, attempts = write()
    attempts.refused(go(attempts), redirect(C), before=attempts.sent())
    assert [attempts.next() for _ in range(3)] == [C, B, None]


def test_redirections_are_bounded() -> None:
    """Nodes that make up addresses hold a round no longer than four strangers and each endpoint."""
    _, attempts = write()
    hops = 0
    while (endpoint := attempts.next()) is not None:
        attempts.refused(endpoint, redirect(f"stranger{hops}:1"), before=attempts.sent())
        hops += 1
    assert hops == 3 + 4


@pytest.mark.parametrize("code", [RefusalCode.NO_LEADER, RefusalCode.STOPPING, RefusalCode.UNAVAILABLE])
def test_who_cannot_is_not_the_leader_and_the_next_is_asked(code: RefusalCode) -> None:
    """A node that knows no leader or is going down is left at once."""
    route, attempts = write(leader=A)
    attempts.refused(go(attempts), Refusal(code), before=attempts.sent())
    assert route.leader is None
    assert go(attempts) == B


def test_an_overloaded_leader_is_asked_again_after_a_pause() -> None:
    """OVERLOADED ends the round, and the next begins at the same node."""
    route, attempts = write(leader=B)
    attempts.refused(go(attempts), Refusal(RefusalCode.OVERLOADED), before=attempts.sent())
    assert attempts.next() is None
    assert (go(attempts), route.leader) == (B, B)


def test_a_postponing_leader_is_asked_again_after_a_pause() -> None:
    """The same when the state machine says that too much is under way."""
    _, attempts = write(leader=B)
    attempts.postponed(go(attempts), "too many", before=attempts.sent())
    assert attempts.next() is None
    assert go(attempts) == B
    assert not attempts.possibly_applied


def test_who_answers_leads() -> None:
    """An answer makes its node the leader, unless any node could have given it."""
    route, attempts = write()
    attempts.answered(C)
    assert route.leader == C
    anyone = Route([A, B], leads=False)
    Attempts(anyone, is_write=False).answered(B)
    assert anyone.leader is None


def test_a_lost_leader_is_forgotten() -> None:
    """After a connection ended, or could not be had, the next request does not begin there."""
    route, attempts = write(leader=B)
    attempts.sent()
    attempts.lost(go(attempts), "reset")
    assert route.leader is None
    route.leader = route.reader = C
    attempts.unreachable(B, "refused")
    assert (route.leader, route.reader) == (C, C)
    attempts.unreachable(C, "refused")
    assert route.reader is None
    assert route.leader is None


def test_pauses_double_with_jitter_up_to_a_bound() -> None:
    """The n-th pause is between half and all of 20 ms · 2^n, and never more than half a second."""
    _, attempts = write()
    generator = random.Random(1)
    for rounds in range(1, 40):
        while attempts.next() is not None:
            pass
        assert attempts.rounds == rounds
        longest = min(0.5, 0.02 * 2**rounds)
        assert longest / 2 <= attempts.pause_seconds(generator) <= longest
        assert min(attempts.pause_seconds(generator) for _ in range(50)) < 0.6 * longest


def test_who_has_no_deadline_may_pause_longer() -> None:
    """As it says itself, and then as rarely as that."""
    attempts = Attempts(Route([A]), is_write=False, is_read=True, pause_seconds_max=3.0)
    for _ in range(20):
        while attempts.next() is not None:
            pass
    assert 1.5 <= attempts.pause_seconds(random.Random(1)) <= 3.0


# What may be said at the end.


@pytest.mark.parametrize("code", sorted(CERTAIN - FINAL.keys()))
def test_refused_everywhere_is_certainly_not_written(code: RefusalCode) -> None:
    """When each sending was refused before it was proposed, the deadline ends in Unavailable."""
    _, attempts = write()
    for _ in range(2):
        attempts.refused(go(attempts), Refusal(code), before=attempts.sent())
        attempts.next()
    assert not attempts.possibly_applied
    assert type(attempts.given_up("late")) is Unavailable


@pytest.mark.parametrize("code", sorted(set(RefusalCode) - FINAL.keys()))
def test_one_sending_without_word_is_never_forgotten(code: RefusalCode) -> None:
    """After a lost connection, refusals of later sendings say nothing about the first: OutcomeUnknown."""
    _, attempts = write()
    attempts.sent()
    attempts.lost(go(attempts), "reset")
    attempts.refused(go(attempts), Refusal(code), before=attempts.sent())
    assert type(attempts.given_up("late")) is OutcomeUnknown


def test_the_nodes_own_doubt_is_doubt() -> None:
    """OUTCOME_UNKNOWN from a leader that lost its office leaves it open, and another node is asked."""
    route, attempts = write(leader=A)
    attempts.refused(go(attempts), Refusal(RefusalCode.OUTCOME_UNKNOWN), before=attempts.sent())
    assert attempts.possibly_applied
    assert route.leader is None
    assert type(attempts.given_up("late")) is OutcomeUnknown


def test_no_word_from_the_only_sending() -> None:
    """A deadline while a write awaits its answer is OutcomeUnknown."""
    _, attempts = write()
    go(attempts)
    attempts.sent()
    assert type(attempts.given_up("late")) is OutcomeUnknown


def test_never_sent() -> None:
    """When no connection could be had nothing was written, and each endpoint's reason is told."""
    _, attempts = write()
    for reason in ("connection refused", "no route", "silent"):
        attempts.unreachable(go(attempts), reason)
    error = attempts.given_up("not done within 5 s")
    assert type(error) is Unavailable
    assert str(error) == "not done within 5 s (a:1: connection refused; b:1: no route; c:1: silent)"


def test_the_latest_reason_of_each_node_is_told() -> None:
    """What befell this request there, of strangers too; what befell others is not this one's story."""
    route, attempts = write()
    attempts.unreachable(B, "connection refused")
    other = Attempts(route, is_write=True)
    other.refused(go(other), redirect("stranger:1"), before=other.sent())
    assert str(other.given_up("late")) == "late (a:1: not leader)"
    assert go(other) == "stranger:1"
    assert "stranger:1: no answer in time" in str(other.given_up("late"))
    other.lost("stranger:1", "reset")
    assert "stranger:1: reset" in str(other.given_up("late"))
    other.postponed("stranger:1", "too many in flight", before=False)
    assert str(other.given_up("late")) == "late (a:1: not leader; stranger:1: too many in flight)"
    assert "stranger" not in str(Attempts(route, is_write=True).given_up("late"))


def test_who_only_waited_tells_what_others_met() -> None:
    """A call that waited for another one to open the session names the reasons that that one met."""
    route, attempts = write()
    attempts.unreachable(go(attempts), "connection refused")
    assert "a:1: connection refused" in str(Attempts(route, is_write=True).given_up("late"))


def test_who_has_been_nowhere_says_no_more_than_why_it_ends() -> None:
    """There is nobody's reason to tell, also when a node that others could not reach has answered since."""
    route, attempts = write()
    attempts.unreachable(go(attempts), "connection refused")
    attempts.answered(A)
    assert str(Attempts(route, is_write=True).given_up("late")) == "late"


@pytest.mark.parametrize(
    ("message", "told"), [("", "late (a:1: no leader)"), ("in an election", "late (a:1: in an election)")]
)
def test_a_refusal_is_told_in_the_nodes_words(message: str, told: str) -> None:
    """Where it has none, the code says it."""
    _, attempts = write()
    attempts.refused(go(attempts), Refusal(RefusalCode.NO_LEADER, message), before=attempts.sent())
    assert str(attempts.given_up("late")) == told


@pytest.mark.parametrize("code", FINAL)
def test_final_refusals_end_it(code: RefusalCode) -> None:
    """Denied, malformed and too large are not tried again, and keep the node's words."""
    _, attempts = write()
    with pytest.raises(FINAL[code], match="the node's words"):
        attempts.refused(go(attempts), Refusal(code, "the node's words"), before=attempts.sent())


@pytest.mark.parametrize("code", FINAL)
def test_final_refusals_after_doubt_keep_the_doubt(code: RefusalCode) -> None:
    """A final refusal of a repetition does not say that the first sending was refused too."""
    _, attempts = write()
    attempts.sent()
    attempts.lost(go(attempts), "reset")
    with pytest.raises(OutcomeUnknown, match="the node's words"):
        attempts.refused(go(attempts), Refusal(code, "the node's words"), before=attempts.sent())


def test_an_expired_session_before_any_doubt_begins_again() -> None:
    """The only sending was answered, and not applied: it may be made anew in a new session, after a pause."""
    _, attempts = write(leader=B)
    go(attempts)
    assert attempts.session_expired(before=attempts.sent()) is None
    assert not attempts.possibly_applied
    assert attempts.next() is None
    assert go(attempts) == B


def test_an_expired_session_after_doubt_is_an_error() -> None:
    """An earlier sending may have been applied while the session lived: a second apply would be a lie."""
    _, attempts = write()
    attempts.sent()
    attempts.lost(go(attempts), "reset")
    go(attempts)
    assert isinstance(attempts.session_expired(before=attempts.sent()), SessionExpired)


@pytest.mark.parametrize("code", sorted(set(RefusalCode) - FINAL.keys()))
def test_a_read_is_never_in_doubt(code: RefusalCode) -> None:
    """A read changes nothing: it ends in Unavailable, whatever happened to it."""
    attempts = Attempts(Route([A, B, C]), is_write=False)
    attempts.sent()
    attempts.lost(go(attempts), "reset")
    attempts.refused(go(attempts), Refusal(code), before=attempts.sent())
    assert type(attempts.given_up("late")) is Unavailable


# Certificates.


def end_round(attempts: Attempts) -> None:
    while attempts.next() is not None:
        pass


def test_a_rejected_certificate_of_ours_ends_it_after_one_round() -> None:
    """It is the same certificate everywhere: no waiting for the deadline, though other nodes are just down."""
    _, attempts = write()
    attempts.unreachable(go(attempts), "down")
    attempts.unreachable(go(attempts), "x", RejectedByServer("expired"))
    attempts.unreachable(go(attempts), "down")
    with pytest.raises(TlsError, match="expired"):
        attempts.next()


def test_one_stranger_among_the_nodes_does_not_end_it() -> None:
    """A node with a bad certificate is a node that is down: the others may come back."""
    _, attempts = write()
    attempts.unreachable(go(attempts), "x", TlsError("self-signed"))
    end_round(attempts)
    assert type(attempts.given_up("late")) is Unavailable


def test_only_strangers_end_it() -> None:
    """When no endpoint's certificate is acceptable, waiting cannot help."""
    _, attempts = write()
    for _ in range(3):
        attempts.unreachable(go(attempts), "x", TlsError("self-signed"))
    with pytest.raises(TlsError, match="self-signed"):
        attempts.next()


def reject(attempts: Attempts) -> None:
    attempts.unreachable(go(attempts), "x", RejectedByServer("the certificate"))
    end_round(attempts)


def suspect(attempts: Attempts) -> None:
    for _ in range(3):
        attempts.unreachable(go(attempts), "x", PerhapsRejected("the certificate"))
        end_round(attempts)


def meet_strangers(attempts: Attempts) -> None:
    while (endpoint := attempts.next()) is not None:
        attempts.unreachable(endpoint, "x", TlsError("the certificate"))


@pytest.mark.parametrize("fail", [reject, suspect, meet_strangers])
def test_certificates_after_doubt_keep_the_doubt(fail: Callable[[Attempts], None]) -> None:
    """That no node can be reached any more does not say that the first sending was not applied."""
    _, attempts = write()
    attempts.sent()
    attempts.lost(go(attempts), "reset")
    end_round(attempts)
    with pytest.raises(OutcomeUnknown, match="the certificate"):
        fail(attempts)


def believe_the_third_time(attempts: Attempts) -> None:
    """Suspect a rejection in two rounds, which changes nothing, and in a third, which ends it."""
    for _ in range(2):
        attempts.unreachable(go(attempts), "x", PerhapsRejected("no word"))
        end_round(attempts)
    attempts.unreachable(go(attempts), "x", PerhapsRejected("no word"))
    with pytest.raises(TlsError, match="no word"):
        end_round(attempts)


def test_a_suspected_rejection_is_believed_the_third_time() -> None:
    """One node that ends a connection at the certificate may have died; in three rounds in a row it means it."""
    _, attempts = write()
    believe_the_third_time(attempts)


def test_a_suspected_rejection_is_forgotten_when_a_node_is_met() -> None:
    """The rounds must follow each other: a node that talks to us proves that our certificate is good."""
    _, attempts = write()
    for _ in range(2):
        attempts.unreachable(go(attempts), "x", PerhapsRejected("no word"))
        end_round(attempts)
    for _ in range(5):
        attempts.unreachable(go(attempts), "x", PerhapsRejected("no word"))
        attempts.refused(go(attempts), Refusal(RefusalCode.NO_LEADER), before=attempts.sent())
        end_round(attempts)
    believe_the_third_time(attempts)


def test_a_suspected_rejection_is_forgotten_after_a_round_without() -> None:
    """The rounds must follow each other: a node that dies now and then while it is dialled rejects nobody."""
    _, attempts = write()
    for _ in range(5):
        for _ in range(2):
            attempts.unreachable(go(attempts), "x", PerhapsRejected("no word"))
            end_round(attempts)
        attempts.unreachable(go(attempts), "down")
        end_round(attempts)
    believe_the_third_time(attempts)


def test_a_node_that_was_met_outweighs_bad_certificates() -> None:
    """As long as one node talks to us, the others' certificates do not end it."""
    _, attempts = write()
    attempts.refused(go(attempts), Refusal(RefusalCode.NO_LEADER), before=attempts.sent())
    for _ in range(2):
        attempts.unreachable(go(attempts), "x", RejectedByServer("unknown authority"))
    assert attempts.next() is None
    while (endpoint := attempts.next()) is not None:  # nor in the next round, in which nobody says so
        attempts.unreachable(endpoint, "down")
    attempts.unreachable(go(attempts), "x", RejectedByServer("unknown authority"))
    with pytest.raises(TlsError, match="unknown authority"):  # in this round no node has talked to us
        end_round(attempts)


def test_every_error_is_a_client_error() -> None:
    """Whatever ends a request can be caught as ClientError."""
    for error in (*FINAL.values(), OutcomeUnknown, SessionExpired, TlsError, Unavailable):
        assert issubclass(error, ClientError)
