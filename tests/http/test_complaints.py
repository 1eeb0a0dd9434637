import logging

import pytest

from raftd import events
from raftd.http.complaints import PERIOD_SECONDS, Complaints, Misuse


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_each_kind_is_told_once_in_a_period(caplog: pytest.LogCaptureFixture) -> None:
    """The first of each kind at once, the others with a count when the period is over."""
    clock = Clock()
    complaints = Complaints(clock)
    with caplog.at_level(logging.DEBUG):
        for number in range(1000):
            complaints.tell(f"192.0.2.1:{number}", Misuse.METHOD)
        complaints.tell("192.0.2.2:1", Misuse.SLOW)
        clock.now += PERIOD_SECONDS
        complaints.tell("192.0.2.3:1", Misuse.METHOD)
    assert [record.args for record in caplog.records] == [
        {"address": "192.0.2.1:0", "reason": Misuse.METHOD.value},
        {"address": "192.0.2.2:1", "reason": Misuse.SLOW.value},
        {"address": "192.0.2.3:1", "reason": f"{Misuse.METHOD.value} (999 like it were not told)"},
    ]
    assert all(getattr(record, "event", None) is events.HTTP_REFUSED for record in caplog.records)
