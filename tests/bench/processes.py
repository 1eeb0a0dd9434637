"""Processes, as seen from outside: what they take of the machine, and how to run one to its end."""

import os
import resource
import subprocess
from pathlib import Path
from typing import Final

from raftd.errors import RaftdError

PATIENCE_SECONDS: Final = 60.0
_PROGRAM_SECONDS_MAX: Final = 600.0
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


class ProgramError(RaftdError):
    """A program that was run ended with an error."""


def run_program(command: list[str]) -> str:
    """Run a command to its end, and return what it printed.

    Raises:
        ProgramError: it could not be run, did not end, or did not end well.
    """
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PROGRAM_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        raise ProgramError(f"{command[0]} did not end within {_PROGRAM_SECONDS_MAX:g} s") from None
    except OSError as error:
        raise ProgramError(f"{command[0]} cannot be run: {error.strerror}") from None
    if ended.returncode != 0:
        raise ProgramError(f"{command[0]} ended with exit code {ended.returncode}: {ended.stderr.strip()}")
    return ended.stdout


def cpu_seconds(process_id: int) -> float:
    """CPU time that a process has taken with all its threads, in user and kernel mode (proc(5), stat)."""
    # The second field is a name in parentheses, which may have any character; utime and stime are fields 14 and 15.
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def ended_children_cpu_seconds() -> float:
    """CPU time that processes took which this one has started, and which have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def resident_bytes_max(process_id: int) -> int:
    """The most memory that a process has held so far (proc(5), status, VmHWM)."""
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise ProgramError(f"the system does not say how much memory process {process_id} held")


def children_of(process_id: int) -> list[int]:
    """The processes that the main thread of a process has started, and that are there (proc(5), children)."""
    return [int(each) for each in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()]


def machine() -> str:
    """The machine in a few words, to stand beside figures that are worth nothing without."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{os.cpu_count()} x {models[0] if models else os.uname().machine}, {memory_bytes / (1 << 30):.0f} GiB"
