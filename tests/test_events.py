import logging
import re

import pytest

from raftd import events
from raftd.daemon.logs import json_line

ALL = [value for value in vars(events).values() if isinstance(value, events.Event)]


def test_the_catalogue_is_complete_and_unambiguous() -> None:
    """Every event is in the catalogue, under its own name, with an id that no other has."""
    assert list(events.CATALOGUE) == ALL
    assert len({event.name for event in ALL}) == len({event.message_id for event in ALL}) == len(ALL)
    for event in ALL:
        assert getattr(events, event.name.upper()) is event
        assert re.fullmatch(r"[0-9a-f]{32}", event.message_id)


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.name)
def test_texts_and_levels(event: events.Event, caplog: pytest.LogCaptureFixture) -> None:
    """Each text is complete with its own fields, whose names hide nothing of a JSON line."""
    assert not {"time", "level", "message", "logger", "event", "traceback"} & set(event.fields)
    logger = logging.getLogger("raftd.test")
    with caplog.at_level(logging.DEBUG):
        event.log(logger, **{name: f"<{name}>" for name in event.fields})
    (record,) = caplog.records
    assert record.levelno == event.level
    assert "%" not in record.getMessage()
    assert all(f"<{name}>" in record.getMessage() for name in event.fields)
    assert f'"event": "{event.name}"' in json_line(record, None)
