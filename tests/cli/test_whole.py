"""Whole numbers on a command line."""

import click
import pytest

from raftd.cli.whole import Whole


@pytest.mark.parametrize("text", ["1_0", "\u0661", "\u00b9", "1.0", "0x1", " 1", "", "-", "+-1"])
def test_what_is_no_number(text: str) -> None:
    """Python's `int` takes some of these."""
    with pytest.raises(click.BadParameter, match="is not a whole number"):
        Whole(0, 20).convert(text, None, None)


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("+7", 7), ("-5", -5), ("007", 7)])
def test_what_is_one(text: str, number: int) -> None:
    """With a sign or without."""
    assert Whole(-9, 9).convert(text, None, None) == number


def test_bounds_hold() -> None:
    """As click has them."""
    with pytest.raises(click.BadParameter, match="not in the range"):
        Whole(0, 20).convert("21", None, None)
