import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftd.wire.duration import DurationError, parse_duration, show_duration


@given(st.integers(0, 10**12))
def test_a_duration_survives_being_shown(milliseconds: int) -> None:
    """Every whole number of milliseconds has a text, which means the same."""
    assert parse_duration(show_duration(milliseconds / 1000)) == milliseconds


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("0s", 0),
        ("250ms", 250),
        ("1.5s", 1500),
        ("90 s", 90_000),
        ("2m", 120_000),
        ("1h", 3_600_000),
        ("1d", 86_400_000),
    ],
)
def test_units(text: str, milliseconds: int) -> None:
    """Each unit counts as it should, and a fraction may be given."""
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0004, "0s"),
        (0.001, "1ms"),
        (1.5, "1500ms"),
        (90, "90s"),
        (120, "2m"),
        (5400, "90m"),
        (7200, "2h"),
        (86_400, "1d"),
        (90_000, "25h"),
    ],
)
def test_the_largest_whole_unit_is_shown(seconds: float, text: str) -> None:
    """As a person would write it: never with a fraction."""
    assert show_duration(seconds) == text


@pytest.mark.parametrize(
    "text", ["", "5", "1.5", "-1s", "1us", "1 parsec", "1s ", " 1s", "1:30", "1e3s", "\u0663s", "9" * 16 + "s"]
)
def test_other_texts_are_refused(text: str) -> None:
    """A bare number above all: it could be of any unit."""
    with pytest.raises(DurationError, match="is not a duration"):
        parse_duration(text)


def test_milliseconds_are_the_finest() -> None:
    """What would be rounded is refused."""
    assert parse_duration("0.001s") == 1
    with pytest.raises(DurationError, match="finer than a millisecond"):
        parse_duration("0.0001s")
