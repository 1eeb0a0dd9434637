import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector

from raftd.http.process import Process


def samples(process: Process) -> Mapping[str, float]:
    return {family.name: value for family, told in process.samples() for _, value in told}


def test_it_says_what_other_clients_of_prometheus_say() -> None:
    """The same names and types as prometheus-client's collector has, and about the same values."""
    theirs = {
        sample.name: sample.value
        for family in ProcessCollector(registry=CollectorRegistry()).collect()
        for sample in family.samples
    }
    ours = samples(Process())
    assert ours.keys() == theirs.keys()
    assert ours["process_open_fds"] == theirs["process_open_fds"] - 1  # it counts the one by which it counts
    assert ours["process_max_fds"] == theirs["process_max_fds"]
    assert ours["process_virtual_memory_bytes"] == pytest.approx(theirs["process_virtual_memory_bytes"], rel=0.1)
    assert ours["process_resident_memory_bytes"] == pytest.approx(theirs["process_resident_memory_bytes"], rel=0.1)
    assert ours["process_cpu_seconds_total"] == pytest.approx(theirs["process_cpu_seconds_total"], abs=1.0)
    assert ours["process_start_time_seconds"] == pytest.approx(theirs["process_start_time_seconds"], abs=2.0)


def test_the_start_stays_the_same() -> None:
    """It is worked out once: a clock that is set would look like a restart."""
    process = Process()
    assert len({samples(process)["process_start_time_seconds"] for _ in range(3)}) == 1


@pytest.mark.skipif(not Path("/proc/self/fd").stat().st_size, reason="this kernel does not tell how many there are")
def test_descriptors_are_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ten thousand connections that would hold the event loop up for 9 ms a scrape."""
    before = samples(Process())["process_open_fds"]
    opened = [os.dup(1) for _ in range(100)]
    monkeypatch.delattr(os, "listdir")
    try:
        assert samples(Process())["process_open_fds"] == before + 100
    finally:
        for descriptor in opened:
            os.close(descriptor)


def test_an_older_kernel_has_them_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the directory's size is 0."""
    expected = samples(Process())["process_open_fds"]
    stat = os.stat

    def older(path: str) -> os.stat_result:
        return os.stat_result((*stat(path)[:6], 0, *stat(path)[7:]))

    monkeypatch.setattr(os, "stat", older)
    assert samples(Process())["process_open_fds"] == expected


def test_nothing_is_made_up(tmp_path: Path) -> None:
    """Where the kernel shows nothing of the process, only what it tells otherwise is there."""
    assert samples(Process(tmp_path)).keys() == {"process_cpu_seconds_total", "process_max_fds"}
