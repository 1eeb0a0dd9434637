"""What the tests of the log share: entries, and the calls and looks that most of them need."""

from collections.abc import Callable
from pathlib import Path

from raftd.consensus.types import Entry, EntryKind, HardState, LogIndex, Term
from raftd.storage.filesystem import FileSystem
from raftd.storage.format import (
    BATCH_HEADER_BYTES,
    SECTOR_BYTES,
    Identity,
    decode_batch_header,
    decode_segment_header,
    round_to_sectors,
)
from raftd.storage.log import Log
from raftd.storage.recovery import Recovered, Replay, recover
from raftd.storage.reserve import Reserve
from raftd.storage.segment import SegmentDirectory
from raftd.storage.simulated import Call, SimulatedCrash, SimulatedFileSystem
from raftd.wire.entries import encode_entries

OpenOn = Callable[..., tuple[Log, Recovered]]
State = tuple[HardState, int, list[Entry]]
"""Hard state, the log's first index, entries."""
WAL = Path("/data/wal")
FIRST = WAL / "00000000000000000001.wal"


def commands(first: int, term: int, *data: bytes) -> tuple[Entry, ...]:
    return tuple((LogIndex(first + i), Term(term), EntryKind.COMMAND, item) for i, item in enumerate(data))


def append(log: Log, entries: tuple[Entry, ...], hard_state: HardState | None = None) -> None:
    log.append(
        encode_entries(entries),
        first_index=entries[0][0] if entries else None,
        entry_count=len(entries),
        hard_state=hard_state,
    )


def reset(log: Log, base_index: int, entries: tuple[Entry, ...] = (), hard_state: HardState | None = None) -> None:
    log.reset(LogIndex(base_index), encode_entries(entries), entry_count=len(entries), hard_state=hard_state)


def state_of(recovered: Recovered) -> State:
    return recovered.hard_state, recovered.first_index, recovered.entries


def segments_in(filesystem: SimulatedFileSystem) -> list[int]:
    return sorted(int(name[:-4]) for name in filesystem.list_directory(WAL) if name.endswith(".wal"))


def crash_at(number: int) -> Callable[[Call], None]:
    """End the process at the number-th call from now."""
    left = number

    def before_call(_: Call) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise SimulatedCrash

    return before_call


def recover_on(filesystem: FileSystem, identity: Identity) -> tuple[Replay, int | None]:
    replay, tail, torn_at = recover(
        SegmentDirectory(filesystem, WAL, Reserve(filesystem, Path("/data/reserve"), 0)), identity
    )
    tail.file.close()
    return replay, torn_at


def batch_positions(filesystem: SimulatedFileSystem, path: Path) -> list[tuple[int, int]]:
    """The batches of a sound segment: (offset, offset behind the mark behind the payload)."""
    data = bytes(filesystem.contents(path))
    salt = decode_segment_header(path, data[:SECTOR_BYTES]).salt
    found = []
    position = SECTOR_BYTES
    while position < len(data) and (header := decode_batch_header(data[position : position + 64], salt)) is not None:
        end = position + BATCH_HEADER_BYTES + header.payload_length + 1
        found.append((position, end))
        position = round_to_sectors(end)
    return found


def path_of(number: int) -> Path:
    return WAL / f"{number:020d}.wal"
