from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import pytest

from raftd.http.histogram import Histogram
from raftd.http.pulse import BEATS_MAX, BEATS_TOLD, Beat, Pulse
from raftd.http.view import NodeStatus


class FakeNode(Protocol):
    now: NodeStatus

    def status(self) -> NodeStatus: ...


class Patient:
    """A node whose clock and histograms a test moves."""

    def __init__(self, node: FakeNode) -> None:
        self.seconds = 100.0
        self.writes, self.syncs = Histogram((0.001, 0.01, 0.1)), Histogram((0.001, 0.01, 0.1))
        self.node = node
        self.pulse = Pulse(node.status, writes=self.writes, syncs=self.syncs, now=lambda: self.seconds)

    def beat(self, *, changes: int = 0, seconds: float = 1.0) -> None:
        self.node.now = replace(self.node.now, revision=self.node.now.revision + changes)
        self.seconds += seconds
        self.pulse.beat()


@pytest.fixture
def patient(node: FakeNode) -> Patient:
    return Patient(node)


def test_a_beat_is_a_rate_and_two_means(patient: Patient) -> None:
    """Of what happened since the beat before, whenever that was; the first has no rate yet."""
    patient.beat()
    assert patient.pulse.beats == (Beat(None, None, None),)
    for seconds in (0.002, 0.004):
        patient.writes.observe(seconds)
    patient.syncs.observe(0.05)
    patient.beat(changes=30, seconds=2.0)
    beat = patient.pulse.beats[-1]
    assert beat.changes_per_second == 15
    assert beat.write_seconds == pytest.approx(0.003)
    assert beat.sync_seconds == pytest.approx(0.05)
    patient.beat()
    assert patient.pulse.beats[-1] == Beat(0.0, None, None)


def test_what_a_restart_applies_again_is_no_load(patient: Patient, leader_with: Callable[..., NodeStatus]) -> None:
    """Rates begin when the log is replayed."""
    patient.node.now = leader_with(replayed=False)
    patient.beat()
    patient.beat(changes=100_000)
    patient.node.now = replace(patient.node.now, replayed=True)
    patient.beat(changes=100_000)
    patient.beat(changes=1)
    assert [beat.changes_per_second for beat in patient.pulse.beats] == [None, None, None, 1.0]


def test_only_the_last_minutes_are_kept(patient: Patient) -> None:
    """The ring has a bound, and the percentiles are of the same time as the beats."""
    patient.writes.observe(0.09)
    patient.beat()
    assert patient.pulse.write_p99_seconds is not None
    assert patient.pulse.write_p99_seconds > 0.01
    assert patient.pulse.sync_p99_seconds is None
    for _ in range(BEATS_MAX):
        patient.writes.observe(0.0005)
        patient.beat()
    assert len(patient.pulse.beats) == BEATS_MAX
    assert patient.pulse.write_p99_seconds <= 0.001


def test_a_clock_that_stands_still_makes_no_beat(patient: Patient) -> None:
    """Nothing is divided by no time."""
    patient.beat(seconds=0.0)
    assert patient.pulse.beats == ()


def test_the_document_is_short(patient: Patient) -> None:
    """The last minute, oldest first, with as many digits as anybody reads."""
    for _ in range(BEATS_TOLD + 10):
        patient.beat(changes=1, seconds=3.0)
    patient.syncs.observe(0.0012345)
    patient.beat()
    document = patient.pulse.document()
    changes, syncs = document["changes_per_second"], document["sync_seconds"]
    assert isinstance(changes, list)
    assert isinstance(syncs, list)
    assert len(changes) == len(syncs) == BEATS_TOLD
    assert changes[-2:] == [0.333, 0.0]
    assert syncs[-2:] == [None, 0.00123]
    assert document["write_p99_seconds"] is None
    assert document["sync_p99_seconds"] == 0.00991
