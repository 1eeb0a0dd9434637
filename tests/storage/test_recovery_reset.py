"""Recovery of a log that was reset: the old log or the new one, whatever a crash left and whatever bit flips."""

import itertools
from pathlib import Path

import pytest

from raftd.consensus.types import HardState, LogIndex, NodeId, Term
from raftd.errors import CorruptionError
from raftd.storage.format import (
    BATCH_HEADER_BYTES,
    RESET,
    SECTOR_BYTES,
    BatchHeader,
    Identity,
    decode_batch_header,
    decode_segment_header,
    encode_batch,
)
from raftd.storage.simulated import SimulatedFileSystem
from raftd.wire.entries import encode_entries
from tests.storage.logs import FIRST, WAL, OpenOn, append, commands, path_of, recover_on


def end_of_first_batch(filesystem: SimulatedFileSystem, path: Path) -> int:
    """The offset behind the mark behind the payload."""
    data = bytes(filesystem.contents(path)[: SECTOR_BYTES + BATCH_HEADER_BYTES])
    header = decode_batch_header(data[SECTOR_BYTES:], decode_segment_header(path, data[:SECTOR_BYTES]).salt)
    assert header is not None
    return SECTOR_BYTES + BATCH_HEADER_BYTES + header.payload_length + 1


@pytest.mark.parametrize("batches_behind", [0, 1], ids=["reset last", "reset before the last"])
def test_every_flipped_bit_of_a_log_that_was_reset_is_refused(
    open_on: OpenOn, identity: Identity, batches_behind: int
) -> None:
    """In what a reset voids and is not removed yet, in its own batch, in what follows it: no bit flips unnoticed.

    Each segment has one batch and is full, so there is no place where a flipped bit could do no harm.
    """
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem, segment_bytes=2 * SECTOR_BYTES)
    append(log, commands(1, 1, b"a"), HardState(Term(1), NodeId(1)))
    log.sync()
    log.reset(LogIndex(6))
    log.sync()
    append(log, commands(7, 1, b"b"))
    log.sync()
    log.reset(LogIndex(4), encode_entries(commands(5, 2, b"c")), entry_count=1, hard_state=HardState(Term(2), None))
    log.sync()
    if batches_behind:
        append(log, commands(6, 2, b"d"))
        log.sync()
    paths = [path_of(number) for number in range(1, 5 + batches_behind)]
    assert sorted(filesystem.list_directory(WAL)) == [path.name for path in paths]
    # Those before are tried with the reset as the last one.
    for path in paths[3 * batches_behind :]:
        contents = filesystem.contents(path)
        ends = (96, end_of_first_batch(filesystem, path) - SECTOR_BYTES)
        for offset in range(2 * SECTOR_BYTES):
            # Zeros that are compared as one: one bit of each byte is enough there.
            is_zeros = offset % SECTOR_BYTES >= ends[offset // SECTOR_BYTES]
            for bit in (offset % 8,) if is_zeros else range(8):
                contents[offset] ^= 1 << bit
                try:
                    found = recover_on(filesystem, identity)
                except CorruptionError as error:
                    assert f"{WAL}/" in str(error)  # noqa: PT017 - ten thousand `raises` take seconds
                else:
                    raise AssertionError((path, offset, bit, found[0].entries))
                contents[offset] ^= 1 << bit
    replay, torn_at = recover_on(filesystem, identity)
    expected = [*commands(5, 2, b"c"), *commands(6, 2, b"d")]
    assert (replay.entries, replay.first_index, torn_at) == (expected[: 1 + batches_behind], 5, None)
    assert sorted(filesystem.list_directory(WAL)) == [path.name for path in paths[3:]]


@pytest.mark.parametrize("data", [(), (b"value" * 200,), (bytes(1100),)], ids=["alone", "dense", "zeros"])
def test_a_torn_reset_leaves_the_log_as_it_was(open_on: OpenOn, identity: Identity, data: tuple[bytes, ...]) -> None:
    """Whatever prefix of its bytes, whatever subset of its sectors came to the disk: all of the new log or the old."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    append(log, commands(1, 1, b"stored"), HardState(Term(1), NodeId(1)))
    log.sync()
    new = commands(8, 2, *data)
    log.reset(LogIndex(7), encode_entries(new), entry_count=len(new), hard_state=HardState(Term(2), None))
    changes = filesystem.unsynced()
    whole = bytes(filesystem.contents(path_of(2)))
    start, end = SECTOR_BYTES, end_of_first_batch(filesystem, path_of(2))
    nothing = whole[:start] + bytes(len(whole) - start)
    trials = []
    for kept in itertools.product((False, True), repeat=len(changes)):
        trials.append(filesystem.copy())
        trials[-1].lose_power(dict(zip(changes, kept, strict=True)).__getitem__)
    for length in range(end - start + 1):
        trials.append(filesystem.copy())
        trials[-1].damage(path_of(2), start + length, bytes(end - start - length))
    for trial in trials:
        found = bytes(trial.contents(path_of(2)))
        replay, torn_at = recover_on(trial, identity)
        names = sorted(trial.list_directory(WAL))
        if found == whole:
            assert (replay.first_index, replay.entries, replay.current_term) == (8, list(new), 2)
            assert names == [path_of(2).name]
        else:
            assert (replay.first_index, replay.entries, replay.current_term) == (1, list(commands(1, 1, b"stored")), 1)
            assert (torn_at is None) == (found == nothing)
            assert names == [FIRST.name, path_of(2).name]


def test_what_a_reset_voids_is_removed_only_when_the_reset_is_durable(open_on: OpenOn, identity: Identity) -> None:
    """A reset that a killed process had not synced is made durable before a start removes what is before it."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    append(log, commands(1, 1, b"a"), HardState(Term(1), NodeId(1)))
    log.sync()
    log.reset(LogIndex(7))
    filesystem.kill()
    calls: list[tuple[str, str]] = []
    filesystem.before_call = lambda call: calls.append((call.name, call.path.name))
    recover_on(filesystem, identity)
    second = path_of(2).name
    assert calls[1:] == [("write", second), ("sync", second), ("unlink", FIRST.name), ("sync_directory", "wal")]


@pytest.mark.parametrize(
    ("first_index", "flags", "message"),
    [
        (9, RESET, "the log is reset, but not at the beginning of a segment"),
        (4, 0, "do not join"),
        (0, 0, "do not join"),
    ],
)
def test_a_whole_batch_behind_a_reset_that_says_nonsense_is_refused(
    open_on: OpenOn, identity: Identity, first_index: int, flags: int, message: str
) -> None:
    """A reset in the midst of a segment would void what is before it there; and nothing goes back before a reset."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    log.reset(LogIndex(4))
    log.sync()
    # Were it not for the reset, the log without its first segment might begin anywhere.
    assert log.remove_released()
    log.close()
    sector = bytes(filesystem.contents(path_of(2))[SECTOR_BYTES : 2 * SECTOR_BYTES])
    last = decode_batch_header(sector, 2)
    assert last is not None
    header = BatchHeader(0, last.crc, last.sequence + 1, 0, 0, first_index, 0, 0, 0, 0, flags)
    filesystem.damage(path_of(2), 2 * SECTOR_BYTES, b"".join(encode_batch(header, b"", 2)[1]))
    with pytest.raises(CorruptionError, match=message):
        recover_on(filesystem, identity)
