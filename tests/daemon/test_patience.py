"""Waiting at the start, with a time that is the test's."""

import os
import signal
from dataclasses import dataclass, field

import pytest

from raftd.daemon.patience import PATIENCE_SECONDS, Interrupted, Missing, wait_for


@dataclass
class Boot:
    """What is there from when on, and what was said meanwhile."""

    later: list[tuple[float, str]]
    now: float = 0.0
    statuses: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def attempt(self) -> str:
        for until, missing in self.later:
            if self.now < until:
                raise Missing(missing)
        return "all"

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wait(self) -> str:
        return wait_for(self.attempt, self.statuses.append, self.lines.append, clock=lambda: self.now, sleep=self.sleep)


def test_each_reason_is_told_once_in_the_log_and_always_in_the_status() -> None:
    """And nothing is told of what is there."""
    boot = Boot([(20.0, "a"), (60.0, "b")])
    assert boot.wait() == "all"
    assert boot.lines == ["a", "b"]
    assert list(dict.fromkeys(boot.statuses)) == ["a", "b"]
    assert len(boot.statuses) > 10
    assert 60.0 <= boot.now <= 65.0
    at_once = Boot([])
    assert (at_once.wait(), at_once.now, at_once.statuses, at_once.lines) == ("all", 0.0, [], [])


def test_it_ends_with_what_is_missing_last() -> None:
    """Not before two minutes, or systemd would count too many starts."""
    boot = Boot([(20.0, "a"), (1e9, "b")])
    with pytest.raises(Missing, match=r"^b$"):
        boot.wait()
    assert PATIENCE_SECONDS <= boot.now <= PATIENCE_SECONDS + 5.0


def test_sigterm_ends_it_and_means_afterwards_what_it_meant() -> None:
    """As in a container, whose first process has no default for it."""

    def attempt() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise Missing("a")

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted):
        wait_for(attempt, lambda _: None, lambda _: None, clock=lambda: 0.0, sleep=lambda _: None)
    assert signal.getsignal(signal.SIGTERM) is before
