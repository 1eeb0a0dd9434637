import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.client.session import Session
from raftd.errors import LocalProtocolError


def test_sequences_count_upwards() -> None:
    """The first sequence is 1, and each is one more than the one before, answered or not."""
    session = Session(7, 10)
    assert [session.begin(), session.begin()] == [1, 2]
    session.end(1)
    assert session.begin() == 3


def test_an_early_answer_does_not_move_the_first_unanswered() -> None:
    """`first_unanswered` waits for the lowest, however many later ones are answered."""
    session = Session(7, 10)
    for _ in range(3):
        session.begin()
    session.end(2)
    session.end(3)
    assert session.first_unanswered == 1
    session.end(1)
    assert session.first_unanswered == 4


def test_full_until_the_lowest_ends() -> None:
    """The window is one of sequences, not of how many are unanswered: the lowest one alone can fill it."""
    session = Session(7, 2)
    session.begin()
    second = session.begin()
    session.end(second)
    assert session.full
    with pytest.raises(LocalProtocolError):
        session.begin()
    session.end(1)
    assert not session.full
    assert session.begin() == 3


@pytest.mark.parametrize("sequence", [0, 1, 2])
def test_only_what_was_begun_ends_and_once(sequence: int) -> None:
    """Ending what is not unanswered is a bug of the caller's."""
    session = Session(7, 2)
    session.end(session.begin())
    with pytest.raises(LocalProtocolError):
        session.end(sequence)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=60), st.integers(1, 8))
def test_like_a_set(steps: list[int], window: int) -> None:
    """Against a plain set: the first unanswered is its minimum, or the next sequence; it never falls."""
    session, unanswered, next_sequence, highest = Session(1, window), set[int](), 1, 1
    for step in steps:
        if step < 5 and not session.full:
            unanswered.add(session.begin())
            next_sequence += 1
        elif unanswered:
            ended = sorted(unanswered)[step % len(unanswered)]
            unanswered.remove(ended)
            session.end(ended)
        expected = min(unanswered, default=next_sequence)
        assert session.first_unanswered == expected >= highest
        assert session.unanswered == len(unanswered)
        assert session.full == (next_sequence - expected >= window)
        highest = expected
