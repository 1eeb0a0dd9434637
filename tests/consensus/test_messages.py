"""Messages are values: what was said cannot be changed on its way."""

from dataclasses import FrozenInstanceError, fields
from typing import get_args

import pytest

from raftd.consensus import Message
from tests.consensus.words import heartbeat


@pytest.mark.parametrize("kind", get_args(Message))
def test_every_message_carries_its_term(kind: type) -> None:
    """The term comes first in each: no message can be judged without it (§5.1)."""
    assert fields(kind)[0].name == "term"


def test_messages_are_values() -> None:
    """Equal contents are equal messages, and none can be changed: one object goes to several peers."""
    assert heartbeat(1, 2) == heartbeat(1, 2)
    assert hash(heartbeat(1, 2)) == hash(heartbeat(1, 2))
    with pytest.raises(FrozenInstanceError):
        heartbeat(1).round = 5  # type: ignore[misc]  # wrong on purpose
