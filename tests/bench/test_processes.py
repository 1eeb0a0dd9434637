"""What can be seen of processes, by the one that the tests run in."""

import os
import sys
import time

import pytest

from tests.bench.processes import (
    ProgramError,
    children_of,
    cpu_seconds,
    ended_children_cpu_seconds,
    machine,
    resident_bytes_max,
    run_program,
)


def test_counts_cpu_time() -> None:
    """What a process says of its own CPU time is what is read, within the clock's ticks."""
    assert cpu_seconds(os.getpid()) == pytest.approx(time.process_time(), abs=0.1)


def test_counts_memory() -> None:
    """A process that holds a hundred megabytes has held so much."""
    held = bytearray(os.urandom(1 << 20) * 100)
    assert resident_bytes_max(os.getpid()) > len(held)


def test_runs_programs() -> None:
    """The output of a program comes back, and its CPU time is counted when it has ended."""
    before = ended_children_cpu_seconds()
    assert run_program([sys.executable, "-c", "print('here')"]) == "here\n"
    assert ended_children_cpu_seconds() > before


@pytest.mark.parametrize("command", [[sys.executable, "-c", "exit('no')"], ["/there/is/no/such/program"]])
def test_tells_of_programs_that_fail(command: list[str]) -> None:
    """One line says which program, and why."""
    with pytest.raises(ProgramError, match=r"ended with exit code 1: no|cannot be run"):
        run_program(command)


def test_describes_the_machine() -> None:
    """Cores and memory are there; nobody has started anything here."""
    assert machine().startswith(f"{os.cpu_count()} x ")
    assert os.getpid() not in children_of(os.getpid())
