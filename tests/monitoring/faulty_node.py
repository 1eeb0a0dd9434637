"""raftd as it is, on a machine that is not well: run in the place of `-m raftd`, with faults that a file names.

The file is `faults.json` beside the settings, one object: for each node's id the faults that it has now.
It is read again at every turn, so that a test can let a fault come and go while the node runs:

    {"2": {"sync_seconds": 0.3, "clock_ahead_seconds": 5, "disk_full": true, "state_differs": true}}

Those of `_SINCE_START` count for a process from its start to its end.

Only the seams to the machine are changed (os, time and standard error), and inside of raftd what a broken memory would
change (`state_differs`), what a slow one would (`apply_stalled`), what a slow network would (`queue_full`), and bounds
that take too long to reach.
"""

import dataclasses
import errno
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

_WAIT_SECONDS = 0.02
_SINCE_START: Final = ("version", "bound")
"""The version that the node takes itself for; how many sessions, leases and watches there may be."""
_LOG_LINES_MAX: Final = 16
"""That wait for a log which does not take them."""

Fault = Callable[[str, Any], Any]
"""(name, what it is without the fault) -> what it is now."""


def _argument(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


def faults_of_this_node() -> Fault:
    """What the file names for the node on the command line."""
    path, node = Path(_argument("--config")).parent / "faults.json", _argument("--node")

    read: tuple[int, dict[str, Any]] = (0, {})
    """When the file was changed, and what it said of this node."""

    def fault(name: str, otherwise: Any) -> Any:
        nonlocal read
        try:
            changed_ns = path.stat().st_mtime_ns
        except FileNotFoundError:
            return otherwise
        if read[0] != changed_ns:
            read = changed_ns, json.loads(path.read_bytes()).get(node, {})
        return read[1].get(name, otherwise)

    return fault


def change_the_machine(fault: Fault) -> None:
    """Put the faults between raftd and the machine."""
    sync, allocate, now_ns = os.fdatasync, os.posix_fallocate, time.time_ns
    gather, write, statvfs = os.pwritev, os.pwrite, os.statvfs

    def slow_sync(fd: Any) -> None:
        until = time.monotonic() + fault("sync_seconds", 0.0)
        # In small steps, and as long as the fault is there: a disk that has recovered is recovered at once.
        while time.monotonic() < until and fault("sync_seconds", 0.0):
            threading.Event().wait(_WAIT_SECONDS)
        sync(fd)

    def refuse_when_full() -> None:
        if fault("disk_full", False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full_allocate(descriptor: int, offset: int, length: int) -> None:
        refuse_when_full()
        allocate(descriptor, offset, length)

    def full_gather(descriptor: int, buffers: Any, offset: int, *flags: int) -> int:
        if offset + sum(map(len, buffers)) > os.fstat(descriptor).st_size:
            refuse_when_full()
        return gather(descriptor, buffers, offset, *flags)

    def full_write(descriptor: int, data: Any, offset: int) -> int:
        if offset + len(data) > os.fstat(descriptor).st_size:
            refuse_when_full()
        return write(descriptor, data, offset)

    def full_statvfs(path: Any) -> os.statvfs_result:
        found = statvfs(path)
        if fault("disk_full", False):
            # Of its fields these are the free blocks: all, and those for whoever is not root.
            found = os.statvfs_result((*found[:3], 0, 0, *found[5:]))
        return found

    os.fdatasync, os.posix_fallocate, os.statvfs = slow_sync, full_allocate, full_statvfs
    os.pwritev, os.pwrite = full_gather, full_write
    time.time_ns = lambda: now_ns() + int(fault("clock_ahead_seconds", 0.0) * 1e9)


class StallingLog:
    """A standard error that takes nothing while the fault `log_stalled` is there."""

    def __init__(self, stream: Any, fault: Fault) -> None:
        self._stream = stream
        self._fault = fault

    def write(self, text: str) -> int:
        """Write once it goes."""
        while self._fault("log_stalled", False):
            threading.Event().wait(_WAIT_SECONDS)
        return int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def change_raftd(fault: Fault) -> None:
    """Put the faults into raftd; only now may it look at os and time."""
    from raftd import version  # noqa: PLC0415 - os and time first; likewise below
    from raftd.daemon import logs  # noqa: PLC0415 - as above
    from raftd.kv.limits import Limits  # noqa: PLC0415 - as above
    from raftd.kv.machine import StateMachine  # noqa: PLC0415 - as above
    from raftd.net.peer_link import PeerLink  # noqa: PLC0415 - as above
    from raftd.node.applying import Applier  # noqa: PLC0415 - as above
    from raftd.node.watches import WatchLimits  # noqa: PLC0415 - as above

    if other := fault("version", None):
        version.version = lambda: other  # type: ignore[assignment] # no cache is needed
    if bound := fault("bound", None):
        _lower(Limits, sessions_max=bound, leases_max=bound)
        _lower(WatchLimits, watches_max=bound)
    logs.QUEUED_LINES_MAX = _LOG_LINES_MAX  # type: ignore[misc] # it is Final for everybody else
    audit, apply, send = StateMachine.audit, Applier.apply, PeerLink.send

    def audit_wrongly(self: StateMachine) -> int:
        return audit(self) ^ int(fault("state_differs", False))

    def apply_nothing(self: Applier) -> Any:
        return None if fault("apply_stalled", False) else apply(self)

    def drop(self: PeerLink, frame: bytes) -> bool:
        if fault("queue_full", False):
            self.dropped_total += 1
            return False
        return send(self, frame)

    StateMachine.audit = audit_wrongly  # type: ignore[method-assign] # it is meant
    Applier.apply = apply_nothing  # type: ignore[method-assign] # likewise
    PeerLink.send = drop  # type: ignore[method-assign] # likewise


def _lower(kind: Any, **bounds: int) -> None:
    """Have the dataclass `kind`, each of whose fields has a default, begin with these."""
    defaults = {field.name: field.default for field in dataclasses.fields(kind)} | bounds
    kind.__init__.__defaults__ = tuple(defaults.values())


def main() -> None:
    """Run raftd with the faults."""
    fault = faults_of_this_node()
    change_the_machine(fault)
    sys.stderr = StallingLog(sys.stderr, fault)
    change_raftd(fault)
    from raftd.cli.raftd import main as run  # noqa: PLC0415 - as above

    run()


if __name__ == "__main__":
    main()
