"""What UTF-8 has."""

import pytest

from raftd.encoding.text import is_utf8


@pytest.mark.parametrize("text", ["", "a", "ä\0", "✓", "\U0010ffff"])
def test_text_is_utf8(text: str) -> None:
    """Whatever its characters are."""
    assert is_utf8(text)


@pytest.mark.parametrize("text", ["\ud800", "\udfff z", "a\ud83d"])
def test_half_of_a_surrogate_pair_is_not(text: str) -> None:
    """It is no character."""
    assert not is_utf8(text)
