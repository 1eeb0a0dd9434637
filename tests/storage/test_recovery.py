"""Recovery: every acknowledged batch is found again, or the log is refused; never less, never something else."""

import copy
import itertools
import random
from collections.abc import Hashable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus.types import Entry, HardState, NodeId, Term
from raftd.errors import CorruptionError
from raftd.storage.data_directory import DataDirectory
from raftd.storage.format import (
    BATCH_HEADER_BYTES,
    RESET,
    SECTOR_BYTES,
    BatchHeader,
    Identity,
    decode_segment_header,
    encode_batch,
    round_to_sectors,
)
from raftd.storage.log import Log, open_log
from raftd.storage.recovery import Replay, SegmentReader, find_tear, read_batches
from raftd.storage.simulated import SimulatedFileSystem
from raftd.wire.entries import encode_entries
from tests.storage.logs import FIRST, OpenOn, append, batch_positions, commands, recover_on


def write_fifty_records(log: Log) -> list[Entry]:
    """Append 50 batches: entries, hard states alone, truncations, of one sector and of several."""
    model: list[Entry] = []
    term = 0
    for number in range(50):
        hard_state = None
        if number % 7 == 0:
            term += 1
            hard_state = HardState(Term(term), NodeId(1 + number % 3) if number % 2 else None)
        first = len(model) + 1
        if number % 11 == 10:
            first -= 2
        new = () if number % 7 == 0 and number % 2 else commands(first, term, b"%d" % number, bytes([number] * 9))
        if number % 20 == 13:
            new = commands(first, term, bytes(range(256)) * 3)
        append(log, new, hard_state)
        log.sync()
        if new:
            model[first - 1 :] = new
    return model


def test_every_flipped_bit_is_refused_or_harmless(open_on: OpenOn) -> None:
    """After any single bit of 50 records flips, the log is refused with file and offset, or it is exactly right.

    Recovery reads forwards only: so what precedes the flipped batch is read once, not once for each bit.
    """
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem, segment_bytes=100 * SECTOR_BYTES)
    model = write_fifty_records(log)
    state = log.hard_state
    log.close()
    contents = filesystem.contents(FIRST)
    positions = batch_positions(filesystem, FIRST)
    assert len(positions) == 50
    file = filesystem.open(FIRST)
    header = decode_segment_header(FIRST, file.read(0, SECTOR_BYTES))
    replay = Replay(header)
    harmless = 0
    for start, content_end in positions:
        for offset in range(start, round_to_sectors(content_end)):
            for bit in range(8):
                # The zeros behind a batch are compared as one: one bit of each byte is enough there.
                if offset >= content_end and bit != offset % 8:
                    continue
                trial = copy.copy(replay)
                trial.entries = replay.entries.copy()
                contents[offset] ^= 1 << bit
                reader = SegmentReader(file)
                try:
                    _, position = read_batches(trial, reader, header.salt, start)
                    torn_end = find_tear(trial, reader, header.salt, position)
                except CorruptionError as error:
                    assert str(FIRST) in str(error)  # noqa: PT017 - either outcome is right - a hundred thousand `raises` take a minute
                    assert f"offset {start}" in str(error)  # noqa: PT017 - either outcome is right
                else:
                    assert torn_end is None
                    assert trial.entries == model
                    harmless += 1
                contents[offset] ^= 1 << bit
        end = replay.take(SegmentReader(file), header.salt, start)
        assert end == round_to_sectors(content_end)
    assert harmless == 0
    assert replay.entries == model
    assert (replay.current_term, replay.voted_for) == (state.current_term, state.voted_for or 0)


def test_every_flipped_bit_of_the_last_record_and_of_the_segment_header_is_refused(
    open_on: OpenOn, identity: Identity
) -> None:
    """The same through the front door, where it matters most: the last record may look like a tear and is none."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem, segment_bytes=4096)
    append(log, commands(1, 1, b"first"), HardState(Term(1), NodeId(1)))
    log.sync()
    append(log, commands(2, 1, b"last"))
    log.sync()
    log.close()
    contents = filesystem.contents(FIRST)
    for offset in itertools.chain(range(SECTOR_BYTES), range(2 * SECTOR_BYTES, 3 * SECTOR_BYTES)):
        for bit in (offset % 8, (offset + 3) % 8):
            contents[offset] ^= 1 << bit
            with pytest.raises(CorruptionError, match=r"\.wal: damaged at offset \d+: .* a majority"):
                recover_on(filesystem, identity)
            contents[offset] ^= 1 << bit


def test_a_flipped_bit_behind_the_log_loses_nothing(open_on: OpenOn, identity: Identity) -> None:
    """A bit that flips where nothing was written yet is refused, or cut off with nothing lost."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem, segment_bytes=4096)
    append(log, commands(1, 1, b"first"), HardState(Term(1), NodeId(1)))
    log.sync()
    log.close()
    for offset in range(2 * SECTOR_BYTES, 4096, 5):
        trial = filesystem.copy()
        trial.damage(FIRST, offset, b"\x10")
        try:
            replay, torn_at = recover_on(trial, identity)
        except CorruptionError:
            continue
        assert replay.entries == list(commands(1, 1, b"first"))
        assert torn_at == 2 * SECTOR_BYTES
        assert not any(trial.contents(FIRST)[2 * SECTOR_BYTES :])


def test_a_file_cut_short_is_refused_at_every_length(open_on: OpenOn, identity: Identity) -> None:
    """A file shorter than it was made is never taken for a shorter log."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem, segment_bytes=100 * SECTOR_BYTES)
    write_fifty_records(log)
    log.close()
    for length in range(100 * SECTOR_BYTES - 1, -1, -1):
        filesystem.cut(FIRST, length)
        with pytest.raises(CorruptionError, match=f"{FIRST}: damaged at offset"):
            recover_on(filesystem, identity)


@pytest.mark.parametrize("data", [b"value" * 200, bytes(1500), bytes(900) + b"\x01" + bytes(600), b""])
def test_every_prefix_of_the_last_batch_is_cut(open_on: OpenOn, identity: Identity, data: bytes) -> None:
    """When the last batch was written up to any byte, what is found is all before it, or it too if it is whole."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    append(log, commands(1, 1, b"stored"), HardState(Term(1), NodeId(1)))
    log.sync()
    before = filesystem.copy()
    append(log, commands(2, 2, data), HardState(Term(2), None))
    start, end = batch_positions(filesystem, FIRST)[-1]
    batch = bytes(filesystem.contents(FIRST)[start:end])
    for length in range(len(batch) + 1):
        trial = before.copy()
        trial.damage(FIRST, start, batch[:length])
        replay, torn_at = recover_on(trial, identity)
        if length == len(batch):
            assert replay.entries == [*commands(1, 1, b"stored"), *commands(2, 2, data)]
            assert (replay.current_term, torn_at) == (2, None)
        else:
            assert replay.entries == list(commands(1, 1, b"stored"))
            assert (replay.current_term, replay.voted_for) == (1, 1)
            assert torn_at == (start if length else None)
            assert trial.contents(FIRST) == before.contents(FIRST)


@pytest.mark.parametrize(
    "data",
    [b"value" * 500, b"x" * 600 + bytes(1100) + b"y" * 700, bytes(2300)],
    ids=["dense", "zeros within", "only zeros"],
)
def test_every_subset_of_the_last_batch_s_sectors_is_cut(open_on: OpenOn, identity: Identity, data: bytes) -> None:
    """Whichever sectors of the last batch came to the disk, what is found is all before it, or it too if it is whole.

    And a crash in the middle of cutting the rest off, again with any subset, changes nothing of that.
    """
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    append(log, commands(1, 1, b"stored"), HardState(Term(1), NodeId(1)))
    log.sync()
    before = bytes(filesystem.contents(FIRST))
    append(log, commands(2, 2, data), HardState(Term(2), None))
    changes = filesystem.unsynced()
    assert len(changes) >= 5
    whole = bytes(filesystem.contents(FIRST))
    generator = random.Random(1)
    for kept in itertools.product((False, True), repeat=len(changes)):
        chosen = dict(zip(changes, kept, strict=True))
        trial = filesystem.copy()
        trial.lose_power(chosen.__getitem__)
        found = bytes(trial.contents(FIRST))
        expected = list(commands(1, 1, b"stored"))
        if found == whole:
            expected += commands(2, 2, data)
        replay, torn_at = recover_on(trial, identity)
        assert replay.entries == expected
        assert (torn_at is not None) == (found not in {before, whole})
        again = filesystem.copy()
        again.lose_power(chosen.__getitem__)
        again.before_call = lambda call: _fail_sync(call.name)
        with pytest.raises(OSError, match="sync"):
            recover_on(again, identity)
        again.lose_power(lambda _: generator.random() < 0.5)
        assert recover_on(again, identity)[0].entries == expected


def _fail_sync(name: str) -> None:
    if name == "sync":
        raise OSError(5, "sync")


def test_a_missing_sector_that_one_bit_could_explain_is_refused(open_on: OpenOn, identity: Identity) -> None:
    """A sector with one bit set that is empty may be a tear or a flipped bit: nothing is cut on a guess."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    data = bytes(900) + b"\x10" + bytes(1600)
    append(log, commands(1, 1, data), HardState(Term(1), NodeId(1)))
    log.sync()
    offset = bytes(filesystem.contents(FIRST)).index(b"\x10", SECTOR_BYTES + 200)
    filesystem.damage(FIRST, offset, b"\0")
    with pytest.raises(CorruptionError, match=f"offset {SECTOR_BYTES}: the payload of batch 1"):
        recover_on(filesystem, identity)


def test_damage_in_a_batch_that_fills_its_sectors_is_refused(open_on: OpenOn, identity: Identity) -> None:
    """The empty sector behind it is not one of its own that is missing."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    append(log, commands(1, 1, b"x" * 946), HardState(Term(1), NodeId(1)))
    log.sync()
    assert batch_positions(filesystem, FIRST) == [(SECTOR_BYTES, 3 * SECTOR_BYTES)]
    filesystem.damage(FIRST, SECTOR_BYTES + 200, b"y")
    with pytest.raises(CorruptionError, match=f"offset {SECTOR_BYTES}: the payload of batch 1"):
        recover_on(filesystem, identity)


@pytest.mark.parametrize(("length", "second"), [(945, 1536), (946, 1536), (947, 2048)])
def test_a_batch_begins_in_the_sector_behind_the_mark_of_the_last(
    open_on: OpenOn, identity: Identity, length: int, second: int
) -> None:
    """Neither in the mark's own, nor one too far: that is the format, which the next release must find."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    for index, data in ((1, b"x" * length), (2, b"y")):
        append(log, commands(index, 1, data), HardState(Term(1), NodeId(1)))
    log.sync()
    assert [start for start, _ in batch_positions(filesystem, FIRST)] == [SECTOR_BYTES, second]
    assert recover_on(filesystem, identity)[0].entries == [*commands(1, 1, b"x" * length), *commands(2, 1, b"y")]


def test_a_tear_with_bytes_behind_it_is_refused(open_on: OpenOn, identity: Identity) -> None:
    """A crash leaves nothing where nothing was written, in the last sector of the batch or behind it."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    append(log, commands(1, 1, b"x" * 1200), HardState(Term(1), NodeId(1)))
    log.sync()
    [(start, end)] = batch_positions(filesystem, FIRST)
    filesystem.damage(FIRST, start + SECTOR_BYTES, bytes(SECTOR_BYTES))
    for offset in (end, round_to_sectors(end)):
        trial = filesystem.copy()
        trial.damage(FIRST, offset, b"\1")
        with pytest.raises(CorruptionError, match=f"batch 1 ends before {end}, and there are bytes behind it"):
            recover_on(trial, identity)
    assert recover_on(filesystem, identity)[1] == start


def test_a_cut_leaves_the_segment_as_long_as_it_was(open_on: OpenOn, identity: Identity) -> None:
    """Else the next start would find that it is not as long as its header says."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem, segment_bytes=2048)
    append(log, commands(1, 1, b"a"), HardState(Term(1), NodeId(1)))
    log.sync()
    append(log, commands(2, 1, b"torn" * 200))
    filesystem.damage(FIRST, 1024, bytes(SECTOR_BYTES))
    for torn_at in (1024, None):
        assert recover_on(filesystem, identity)[1] == torn_at
        assert len(filesystem.contents(FIRST)) == 2048


def test_a_missing_sector_before_a_later_batch_is_refused(open_on: OpenOn, identity: Identity) -> None:
    """What looks torn, but precedes a batch that is there, was acknowledged: it is damage."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    for index in range(1, 4):
        append(log, commands(index, 1, b"a" * 700), HardState(Term(1), NodeId(1)))
        log.sync()
    (start, _), *_ = batch_positions(filesystem, FIRST)
    for sector in range(2):
        trial = filesystem.copy()
        trial.damage(FIRST, start + sector * SECTOR_BYTES, bytes(SECTOR_BYTES))
        with pytest.raises(CorruptionError, match=f"damaged at offset {start}: batch 1 is not valid"):
            recover_on(trial, identity)


def test_what_follows_a_cut_is_recovered(open_on: OpenOn) -> None:
    """After a tear was cut off, the log goes on, and nothing of the torn batch ever comes back."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    append(log, commands(1, 1, b"a"), HardState(Term(1), NodeId(1)))
    log.sync()
    append(log, commands(2, 1, b"torn" * 600))
    changes = filesystem.unsynced()
    filesystem.lose_power(lambda change: change != changes[1])
    log, recovered = open_on(filesystem)
    assert recovered.torn_at == (FIRST, 1024)
    append(log, commands(2, 2, b"b"), HardState(Term(2), None))
    log.sync()
    filesystem.lose_power(lambda _: False)
    _, recovered = open_on(filesystem)
    assert recovered.entries == [*commands(1, 1, b"a"), *commands(2, 2, b"b")]
    assert recovered.torn_at is None


def test_what_a_killed_process_had_not_synced_is_durable_once_it_was_read(open_on: OpenOn) -> None:
    """What the next process reads and acts on is not lost by a power cut, though nobody synced it before."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    append(log, commands(1, 1, b"a"), HardState(Term(1), NodeId(1)))
    filesystem.kill()
    _, recovered = open_on(filesystem)
    filesystem.lose_power(lambda _: False)
    assert open_on(filesystem)[1] == recovered
    assert recovered.entries == list(commands(1, 1, b"a"))


def test_what_a_failed_sync_left_in_memory_only_is_written_again(open_on: OpenOn) -> None:
    """After a failed sync the kernel holds bytes that it believes written: they are written again before use."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    append(log, commands(1, 1, b"a"), HardState(Term(1), NodeId(1)))
    filesystem.before_call = lambda call: _fail_sync(call.name)
    with pytest.raises(Exception, match="sync"):
        log.sync()
    filesystem.kill()
    _, recovered = open_on(filesystem)
    filesystem.lose_power(lambda _: False)
    assert open_on(filesystem)[1] == recovered


def test_a_renamed_segment_is_durable_once_it_was_read(open_on: OpenOn) -> None:
    """A name that a killed process had not synced is synced before anything is appended behind it."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem, segment_bytes=1024)
    append(log, commands(1, 1, b"a"), HardState(Term(1), NodeId(1)))
    log.sync()
    original = filesystem.sync_directory
    filesystem.sync_directory = lambda _: None  # type: ignore[method-assign,assignment]  # the fault to find
    append(log, commands(2, 1, b"b"))
    log.sync()
    filesystem.sync_directory = original  # type: ignore[method-assign]  # the fault to find
    filesystem.kill()
    _, recovered = open_on(filesystem, segment_bytes=1024)
    assert len(recovered.entries) == 2
    filesystem.lose_power(lambda _: False)
    assert open_on(filesystem, segment_bytes=1024)[1] == recovered


def test_another_log_s_batch_never_fits(open_on: OpenOn, identity: Identity) -> None:
    """A batch with the right sequence, even with the right salt, does not continue a log that it was not written to."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    append(log, commands(1, 1, b"a"), HardState(Term(1), NodeId(1)))
    log.sync()
    log.close()
    _, buffers = encode_batch(BatchHeader(0, 12345, 2, 1, 1, 2, 1, 0, 0, 0), encode_entries(commands(2, 1, b"b")), 1)
    filesystem.damage(FIRST, 1024, b"".join(buffers))
    with pytest.raises(CorruptionError, match="batch 2 does not continue batch 1"):
        recover_on(filesystem, identity)


@pytest.mark.parametrize(
    ("header", "payload", "message"),
    [
        (BatchHeader(0, 0, 1, 1, 1, 3, 1, 0, 0, 0), encode_entries(commands(3, 1, b"b")), "do not join"),
        (BatchHeader(0, 0, 1, 1, 1, 0, 1, 0, 0, 0), encode_entries(commands(3, 1, b"b")), "do not join"),
        (BatchHeader(0, 0, 1, 1, 1, 0, 1, 0, 0, 0, RESET), encode_entries(commands(3, 1, b"b")), "do not join"),
        (BatchHeader(0, 0, 1, 1, 1, 1, 2, 0, 0, 0), encode_entries(commands(1, 1, b"b")), "1 entries where 2 are due"),
        (BatchHeader(0, 0, 1, 1, 1, 1, 1, 0, 0, 0), b"garbage", "header bytes|behind the end"),
    ],
)
def test_a_whole_batch_that_says_nonsense_is_refused(
    open_on: OpenOn, identity: Identity, header: BatchHeader, payload: bytes, message: str
) -> None:
    """Right checksums around what this log cannot say are damage."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    log.close()
    filesystem.damage(FIRST, SECTOR_BYTES, b"".join(encode_batch(header, payload, 1)[1]))
    with pytest.raises(CorruptionError, match=message):
        recover_on(filesystem, identity)


def test_a_whole_batch_of_an_older_term_is_refused(open_on: OpenOn, identity: Identity) -> None:
    """Terms never go down: right checksums around one that does are damage."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    log.append(hard_state=HardState(Term(5), None))
    log.sync()
    header = BatchHeader(0, log._chain, 2, 4, 0, 1, 0, 0, 0, 0)
    log.close()
    filesystem.damage(FIRST, 2 * SECTOR_BYTES, b"".join(encode_batch(header, b"", 1)[1]))
    with pytest.raises(CorruptionError, match="term 4 behind term 5"):
        recover_on(filesystem, identity)


def test_a_client_s_bytes_cannot_pass_for_a_batch(open_on: OpenOn, identity: Identity) -> None:
    """A value that holds a batch, header and all, at a sector of a torn batch, leaves the tear a tear."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    _, buffers = encode_batch(BatchHeader(0, 0, 99, 1, 1, 1, 0, 0, 0, 0), b"", 0)
    forged = b"".join(buffers)
    lead = SECTOR_BYTES - BATCH_HEADER_BYTES - 13
    append(log, commands(1, 1, b"v" * lead + forged + b"v" * 600), HardState(Term(1), NodeId(1)))
    assert bytes(filesystem.contents(FIRST)[1024 : 1024 + SECTOR_BYTES]) == forged
    first = filesystem.unsynced()[0]

    def survives(change: Hashable) -> bool:
        return change != first

    filesystem.lose_power(survives)
    replay, torn_at = recover_on(filesystem, identity)
    assert (replay.entries, torn_at) == ([], SECTOR_BYTES)


@settings(max_examples=300, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), junk=st.binary(min_size=1, max_size=1200), cut=st.booleans())
def test_garbage_is_refused_or_leaves_a_prefix(place: float, junk: bytes, *, cut: bool) -> None:
    """Whatever is written over a log, it is refused with a file, or what is found is a beginning of what was stored."""
    filesystem, states = _three_batches()
    size = len(filesystem.contents(FIRST))
    filesystem.damage(FIRST, min(int(place * size), size - len(junk)), bytes(len(junk)) if cut else junk)
    identity = Identity(bytes(16), NodeId(1))
    try:
        replay, _ = recover_on(filesystem, identity)
    except CorruptionError as error:
        assert str(FIRST) in str(error)  # noqa: PT017 - either outcome is right - either end is right
    else:
        assert replay.entries in states


def _three_batches() -> tuple[SimulatedFileSystem, list[list[Entry]]]:
    """Give a log of three batches, and what it holds after each."""
    filesystem = SimulatedFileSystem()
    directory = DataDirectory(filesystem, Path("/data"), Identity(bytes(16), NodeId(1)))
    log, recovered = open_log(directory, segment_bytes=5120, reserve_bytes=0, entropy=lambda count: b"\7" * count)
    states = [recovered.entries]
    for index in range(1, 4):
        new = commands(index, 1, bytes([index]) * 700)
        append(log, new, HardState(Term(1), NodeId(1)))
        log.sync()
        states.append([*states[-1], *new])
    log.close()
    filesystem.kill()
    return filesystem, states


def test_a_log_larger_than_a_chunk_is_read(open_on: OpenOn) -> None:
    """Batches that cross the chunks of reading, and ones larger than a chunk and than a segment, are recovered."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem, segment_bytes=3 << 20)
    model: list[Entry] = []
    for number, size in enumerate((400_000, 1_500_000, 300_001, 4_000_000, 7, 700_000), start=1):
        new = commands(number, 1, bytes([number]) * size)
        append(log, new, HardState(Term(1), NodeId(1)))
        log.sync()
        model += new
    log.close()
    filesystem.kill()
    _, recovered = open_on(filesystem, segment_bytes=3 << 20)
    assert recovered.entries == model
