import logging
from collections.abc import Iterator

import pytest

from raftd import events
from raftd.http.recent import EVENTS_MAX, TEXT_CHARACTERS_MAX, RecentEvents


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    made = logging.getLogger("raftd.test.recent")
    made.setLevel(logging.DEBUG)
    yield made
    made.handlers.clear()


def test_events_are_kept_newest_first(logger: logging.Logger) -> None:
    """With level, name, text and time; what is no event of the catalogue is not for the page."""
    recent = RecentEvents()
    logger.addHandler(recent)
    events.LEADER_ELECTED.log(logger, leader=2, term=5)
    logger.error("a value, perhaps")
    events.LEADER_LOST.log(logger, term=5, reason="silence")
    newest, before = recent.newest()
    assert (newest.level, newest.name, newest.text) == (
        "warning", "leader_lost", "no leader is known in term 5: silence",
    )  # fmt: skip
    assert (before.name, before.text) == ("leader_elected", "node 2 leads term 5")
    assert before.at_seconds <= newest.at_seconds
    assert recent.newest(1) == (newest,)


def test_neither_many_events_nor_a_long_one_take_more(logger: logging.Logger) -> None:
    """The ring and each text have a bound: a remote side may repeat itself, and be long-winded."""
    recent = RecentEvents()
    logger.addHandler(recent)
    for number in range(EVENTS_MAX + 5):
        events.CONNECTION_REFUSED.log(logger, address=number, reason="x" * 10_000)
    kept = recent.newest()
    assert len(kept) == EVENTS_MAX
    assert f"from {EVENTS_MAX + 4}:" in kept[0].text
    assert {len(event.text) for event in kept} == {TEXT_CHARACTERS_MAX}
