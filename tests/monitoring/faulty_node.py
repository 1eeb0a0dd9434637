"""raftd as it is, on a machine that is not well: run in the place of `-m raftd`, with faults that a file names.

The file is `faults.json` beside the settings, one object: for each node's id the faults that it has now.
It is read again at every turn, so that a test can let a fault come and go while the node runs:

    {"2": {"sync_seconds": 0.3, "clock_ahead_seconds": 5, "disk_full": true, "state_differs": true, "version": "0.0.9"}}

Only the seams to the machine are changed (os and time), and for `state_differs` what a broken memory would change.
"""

import errno
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

_WAIT_SECONDS = 0.02


def _argument(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


def main() -> None:
    """Put the faults between raftd and the machine, and run it."""
    path, node = Path(_argument("--config")).parent / "faults.json", _argument("--node")

    def fault(name: str, otherwise: Any) -> Any:
        try:
            return json.loads(path.read_bytes()).get(node, {}).get(name, otherwise)
        except FileNotFoundError:
            return otherwise

    sync, allocate, now_ns = os.fdatasync, os.posix_fallocate, time.time_ns
    gather, write, statvfs = os.pwritev, os.pwrite, os.statvfs

    def slow_sync(fd: Any) -> None:
        until = time.monotonic() + fault("sync_seconds", 0.0)
        # In small steps, and as long as the fault is there: a disk that has recovered is recovered at once.
        while time.monotonic() < until and fault("sync_seconds", 0.0):
            threading.Event().wait(_WAIT_SECONDS)
        sync(fd)

    def refuse_when_full() -> None:
        if fault("disk_full", otherwise=False):
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
        if fault("disk_full", otherwise=False):
            # Of its fields these are the free blocks: all, and those for whoever is not root.
            found = os.statvfs_result((*found[:3], 0, 0, *found[5:]))
        return found

    os.fdatasync, os.posix_fallocate, os.statvfs = slow_sync, full_allocate, full_statvfs
    os.pwritev, os.pwrite = full_gather, full_write
    time.time_ns = lambda: now_ns() + int(fault("clock_ahead_seconds", 0.0) * 1e9)

    from raftd import version  # noqa: PLC0415 - only now may raftd look at os and time
    from raftd.kv.machine import StateMachine  # noqa: PLC0415 - as above

    if other := fault("version", None):
        version.version = lambda: other  # type: ignore[assignment] # no cache is needed

    audit = StateMachine.audit

    def audit_wrongly(self: StateMachine) -> int:
        return audit(self) ^ int(fault("state_differs", otherwise=False))

    StateMachine.audit = audit_wrongly  # type: ignore[method-assign] # as above

    from raftd.cli.raftd import main as run  # noqa: PLC0415 - as above

    run()


if __name__ == "__main__":
    main()
