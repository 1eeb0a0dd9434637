"""What can be said of a node on its own host: its disk, measured, and its files."""

import math
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from raftd.cli.examine import DAY_SECONDS, expiry_finding, renewal, sync_finding
from raftd.cli.findings import Finding, Level
from raftd.daemon.credentials import check_files, readable_certificates
from raftd.settings import NodeSettings, Settings

SYNCS: Final = 200
MEASURE_SECONDS_MAX: Final = 5.0
_BLOCK: Final = b"\xa5" * 4096
_FILE_BYTES: Final = SYNCS * len(_BLOCK)


def measure_sync(directory: Path, clock: Callable[[], float] = time.monotonic) -> float:
    """The 99th percentile of an fdatasync after 4 KiB, in seconds, on the file system of `directory`.

    As the log does it: into a file whose blocks are there already. The file has no name, and nothing is left of it.
    It takes `SYNCS` of them, or what `MEASURE_SECONDS_MAX` allow.

    Raises:
        OSError: Nothing can be written there.
    """
    took: list[float] = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, _FILE_BYTES)
        os.fsync(file.fileno())
        end = clock() + MEASURE_SECONDS_MAX
        for number in range(SYNCS):
            start = clock()
            os.pwrite(file.fileno(), _BLOCK, number * len(_BLOCK))
            os.fdatasync(file.fileno())
            took.append(clock() - start)
            if clock() > end:
                break
    return sorted(took)[math.ceil(len(took) * 0.99) - 1]


def examine_host(settings: Settings, node: NodeSettings, sync_seconds: float | None) -> Iterator[Finding]:
    """The disk and the files of a node whose host this is.

    Args:
        settings: The file that it goes by.
        node: Its own view of it.
        sync_seconds: What `measure_sync` found; None: it could not be measured.
    """
    of = f"node {node.node_id}"
    if sync_seconds is None:
        advice = "run this as root, or as the user that raftd runs as"
        yield Finding("disk", of, Level.UNKNOWN, f"cannot write to {node.data_directory}", advice)
    else:
        yield sync_finding(f"{of}, measured here", sync_seconds, node.timing.election_timeout_seconds)
    yield from _files(of, node)
    yield from _modes(of, settings.path, node.data_directory)


def _files(of: str, node: NodeSettings) -> Iterator[Finding]:
    """Certificates and keys: whether they can be used, and for how long."""
    for problem in check_files(node):
        yield Finding("files", of, Level.BAD, problem, "raftd check-config --node says the same until it is mended")
    now = time.time()
    for info in readable_certificates(node):
        advice = renewal(info.kind, str(node.node_id))
        yield expiry_finding(of, str(info.path), (info.not_after.timestamp() - now) / DAY_SECONDS, advice)


def _modes(of: str, settings: Path, data: Path) -> Iterator[Finding]:
    """Who may read the data, and who may change the settings."""
    for path, forbidden, advice in (
        (data, stat.S_IRWXG | stat.S_IRWXO, f"chmod 0700 {data}: whoever reads it reads all keys"),
        (settings, stat.S_IWGRP | stat.S_IWOTH, f"chmod go-w {settings}: it says who may do what"),
    ):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError as error:
            yield Finding("files", of, Level.UNKNOWN, f"{path}: {error.strerror}", "run this as root")
            continue
        if mode & forbidden:
            yield Finding("files", of, Level.BAD, f"{path} is open to others (mode {mode:04o})", advice)
        else:
            yield Finding("files", of, Level.OK, f"{path} has mode {mode:04o}")
