"""Backups in a directory: what each is called, and which are to go.

A name is `CLUSTER-NODE-TIME-INDEX.backup`, with the time in UTC. Only files with such names are ever looked at, and one
is removed only if its own header says the same as its name: so it is a backup that was made here, of this very cluster
and through this node. Anything else in the directory is somebody's.
"""

import re
from pathlib import Path

from raftd.cli.backup_file import BackupFileError, Contents, inspect, time_of
from raftd.cli.new_file import SUFFIX, discard_unfinished
from raftd.storage.backup_format import BackupHeader


def name_of(header: BackupHeader) -> str:
    """What a backup's file is called."""
    stamp = f"{time_of(header):%Y%m%dT%H%M%SZ}"
    return f"{header.cluster_name}-{header.node_id}-{stamp}-{header.last_included_index}.backup"


def rotate(directory: Path, header: BackupHeader, keep: int) -> list[Path]:
    """Remove all but the newest `keep` backups of the node that `header` names; returns them, the oldest first.

    Newer is what has more of the log: a node's clock may have been set back. The backup with this very header has just
    been made, and stays whatever the others are. What processes that were killed have left unfinished is removed, too.

    Raises:
        OSError: something cannot be removed.
    """
    begin = re.escape(f"{header.cluster_name}-{header.node_id}-")
    pattern = re.compile(rf"{begin}[0-9]{{8}}T[0-9]{{6}}Z-[0-9]+\.backup({re.escape(SUFFIX)})?", re.ASCII)
    just_made = directory / name_of(header)
    found: list[tuple[bool, int, int, Path]] = []
    for path in directory.iterdir():
        match = pattern.fullmatch(path.name)
        if match is None or path.is_symlink() or not path.is_file():
            continue
        if match[1]:
            discard_unfinished(path)
        elif (other := _made_here(path, header)) is not None:
            found.append((path == just_made, other.last_included_index, other.wall_clock_ms, path))
    old = [path for _, _, _, path in sorted(found)[:-keep]]
    for path in old:
        path.unlink()
    return old


def _made_here(path: Path, header: BackupHeader) -> BackupHeader | None:
    """The header of a file if it is a backup of the same node of the same cluster, under its own name."""
    try:
        contents: Contents = inspect(path)
    except BackupFileError:
        return None
    other = contents.header
    is_same = (other.cluster_id, other.node_id) == (header.cluster_id, header.node_id)
    return other if is_same and name_of(other) == path.name else None
