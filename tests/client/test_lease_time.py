from hypothesis import given
from hypothesis import strategies as st

from raftd.client.lease_time import LeaseTime

SECONDS = st.floats(0.001, 100.0)


@given(
    st.floats(1.0, 100.0),
    st.lists(st.tuples(SECONDS, SECONDS, SECONDS, st.booleans()), max_size=20),
    st.floats(-0.05, 0.05),
)
def test_never_longer_than_at_the_cluster(
    ttl: float, exchanges: list[tuple[float, float, float, bool]], drift: float
) -> None:
    """Whatever the ways to and fro take, a holder counts a lease as lost before the leader may let it expire.

    The leader counts from when it confirms, which lies between sending and answer, with a clock that runs up to a
    twentieth faster or slower.
    """
    now = 0.0
    time = LeaseTime(ttl, sent_at=now)
    deadline = now + ttl / (1 + drift)
    for pause, there, back, is_answered in exchanges:
        now += pause
        assert time.lost(now) or now < deadline
        sent_at = now
        if sent_at + there < deadline:
            deadline = sent_at + there + ttl / (1 + drift)
            now += there + back
            if is_answered:
                time.confirmed(sent_at, now)
        else:
            now += there + back
            time.end()
        assert time.lost(now) or now < deadline
        assert time.lost(time.certain_until)
        assert time.certain_until < deadline or time.lost(now)


def test_lost_is_lost() -> None:
    """A confirmation that comes after the time was up does not bring it back: others were told that it is gone."""
    time = LeaseTime(10.0, sent_at=100.0)
    assert (time.remaining(100.0), time.lost(108.9)) == (9.0, False)
    assert LeaseTime(10.0, sent_at=100.0).lost(109.0)
    time.confirmed(107.0, 109.5)
    assert time.lost(109.5)
    assert time.remaining(110.0) == 0.0
    assert (time.remaining(100.0), time.lost(100.0)) == (0.0, True)  # not even by a clock that went back


def test_kept_alive_three_times() -> None:
    """It is due again a third of its time after the last sending that was confirmed; an old answer changes nothing."""
    time = LeaseTime(9.0, sent_at=0.0)
    assert time.due_at == 3.0
    time.confirmed(3.0, 3.5)
    assert time.due_at == 6.0
    time.confirmed(1.0, 4.0)
    assert time.due_at == 6.0
    time.end()
    assert time.lost(3.6)
