"""What the kernel says of this process, under the names that Prometheus' clients agree on.

prometheus-client has a collector for these. It opens three files for them, and lists all descriptors to count them:
with ten thousand connections that took 9 ms of the event loop. And each call that lets other threads have Python's lock
may cost a wait for them; so there are as few here as can be.
"""

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from raftd.http.family import Family, Kind, Sample

_VIRTUAL: Final = Family("process_virtual_memory_bytes", Kind.GAUGE, "Virtual memory size in bytes.")
_RESIDENT: Final = Family("process_resident_memory_bytes", Kind.GAUGE, "Resident memory size in bytes.")
_STARTED: Final = Family("process_start_time_seconds", Kind.GAUGE, "When the process started, since the epoch.")
_PROCESSOR: Final = Family("process_cpu_seconds_total", Kind.COUNTER, "Processor time spent, by user and system.")
_OPEN: Final = Family("process_open_fds", Kind.GAUGE, "Number of open file descriptors.")
_OPEN_MAX: Final = Family("process_max_fds", Kind.GAUGE, "Maximum number of open file descriptors.")

_PAGE_BYTES: Final = os.sysconf("SC_PAGESIZE")
_START_TICKS_FIELD: Final = 19
"""`starttime` of proc(5), counted from the field after the program's name."""


class Process:
    """This process.

    Args:
        directory: What the kernel shows of it (proc(5)). Of what is not there nothing is told.
    """

    def __init__(self, directory: Path = Path("/proc/self")) -> None:
        self._pages = str(directory / "statm")
        self._descriptors = str(directory / "fd")
        self._started_at = _started_at(directory / "stat")

    def samples(self) -> Iterator[tuple[Family, list[Sample]]]:
        """What is so now."""
        yield _PROCESSOR, [((), time.process_time())]
        yield _OPEN_MAX, [((), resource.getrlimit(resource.RLIMIT_NOFILE)[0])]
        if self._started_at is not None:
            yield _STARTED, [((), self._started_at)]
        try:
            virtual, resident, *_ = _read(self._pages).split()
            descriptors = _count(self._descriptors)
        except OSError:
            return
        yield _VIRTUAL, [((), int(virtual) * _PAGE_BYTES)]
        yield _RESIDENT, [((), int(resident) * _PAGE_BYTES)]
        yield _OPEN, [((), descriptors)]


def _count(directory: str) -> int:
    """How many entries /proc/self/fd has: its size, but for kernels before 6.2, which say 0."""
    if size := os.stat(directory).st_size:  # noqa: PTH116 - pathlib makes objects of it; likewise below
        return size
    return len(os.listdir(directory)) - 1  # noqa: PTH208 - one is open to list them


def _started_at(path: Path) -> float | None:
    try:
        fields = path.read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    booted_at = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted_at + int(fields[_START_TICKS_FIELD]) / os.sysconf("SC_CLK_TCK")


def _read(path: str) -> bytes:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, 256)
    finally:
        os.close(file)
