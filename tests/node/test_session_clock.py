import pytest

from raftd.consensus.types import Term
from raftd.kv.limits import Limits
from raftd.node.session_clock import ADVANCE_INTERVAL_SECONDS, SessionClock


def test_time_is_counted_from_the_beginning_of_leadership() -> None:
    """What passed before is nobody's: the last leader may have proposed it already."""
    clock = SessionClock(10.0)
    assert clock.elapsed_ms(1000.0, Term(3)) == 0
    assert clock.elapsed_ms(1009.9, Term(3)) == 0
    assert clock.elapsed_ms(1010.5, Term(3)) == 10_500


def test_no_time_is_counted_twice() -> None:
    """What was given to propose counts as proposed."""
    clock = SessionClock(10.0)
    clock.elapsed_ms(0.0, Term(1))
    given = sum(clock.elapsed_ms(tick / 10, Term(1)) for tick in range(1, 1000))
    assert given <= 99_900
    assert given > 99_900 - 10_100


@pytest.mark.parametrize("between", [None, Term(2)])
def test_what_was_measured_is_forgotten_with_leadership(between: Term | None) -> None:
    """Sessions may live longer through a change of leader, never shorter; a new term is a new leadership."""
    clock = SessionClock(10.0)
    clock.elapsed_ms(0.0, Term(1))
    assert clock.elapsed_ms(9.0, between) == 0
    later = Term(2) if between else Term(1)
    assert clock.elapsed_ms(11.0, later) == 0
    assert clock.elapsed_ms(22.0, later) in {11_000, 13_000}


def test_an_interval_is_below_what_the_state_machine_takes() -> None:
    """What exceeds the state machine's bound would be forgotten each time, and sessions would never expire."""
    assert Limits().advance_ms_max >= 2 * 1000 * ADVANCE_INTERVAL_SECONDS
