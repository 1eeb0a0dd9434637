"""The log: what it takes, what it refuses, and that no crash at any call loses or invents anything."""

import contextlib
import errno
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from raftd.consensus.types import Entry, HardState, LogIndex, NodeId, Term
from raftd.errors import CorruptionError, DataDirectoryError, InvariantViolation, StorageError
from raftd.storage.data_directory import DataDirectory
from raftd.storage.filesystem import RealFileSystem
from raftd.storage.format import PAYLOAD_BYTES_MAX, Identity
from raftd.storage.log import Log, open_log
from raftd.storage.simulated import Call, SimulatedCrash, SimulatedFileSystem
from tests.storage.logs import WAL, OpenOn, State, append, commands, crash_at, reset, state_of

NOTHING: State = (HardState(Term(0), None), 1, [])


def test_a_new_log_is_empty(open_on: OpenOn) -> None:
    """A directory that was never used gives an empty log in term 0 that begins at entry 1."""
    log, recovered = open_on(SimulatedFileSystem())
    assert (*state_of(recovered), recovered.torn_at) == (*NOTHING, None)
    assert (log.first_index, log.next_index) == (1, 1)


def test_entries_and_hard_state_come_back(open_on: OpenOn) -> None:
    """What was appended and synced is what the next process finds, the newest hard state and the last of each index."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    append(log, commands(1, 1, b"a", b"b", b"c"), HardState(Term(1), NodeId(2)))
    append(log, commands(2, 2, b"B"), HardState(Term(2), None))
    append(log, (), HardState(Term(2), NodeId(3)))
    log.sync()
    filesystem.lose_power(lambda _: False)
    log, recovered = open_on(filesystem)
    assert recovered.hard_state == log.hard_state == HardState(Term(2), NodeId(3))
    assert recovered.entries == [*commands(1, 1, b"a"), *commands(2, 2, b"B")]
    assert log.next_index == 3


def test_the_real_file_system_serves_as_well(identity: Identity, tmp_path: Path) -> None:
    """On the operating system's files, over several segments and processes, the same comes back."""
    entries = [entry for index in range(1, 31) for entry in commands(index, 1, b"a" * 300 * (index % 7))]
    for start in range(0, 40, 10):
        directory = DataDirectory(RealFileSystem(), tmp_path / "1", identity)
        log, recovered = open_log(directory, segment_bytes=4096, reserve_bytes=4096)
        assert recovered.entries == entries[:start]
        assert recovered.hard_state == HardState(Term(start and 1), NodeId(1) if start else None)
        for entry in entries[start : start + 10]:
            append(log, (entry,), HardState(Term(1), NodeId(1)))
            log.sync()
            log.prepare()
        log.close()
        directory.close()


def test_a_log_that_was_closed_has_no_file_open(
    identity: Identity, tmp_path: Path, nothing_stays_open: Callable[[], AbstractContextManager[None]]
) -> None:
    """Neither what it has written and removed, nor what it has read."""
    path = tmp_path / "1"
    for start in (0, 10):
        with nothing_stays_open():
            directory = DataDirectory(RealFileSystem(), path, identity)
            log, _ = open_log(directory, segment_bytes=2048, reserve_bytes=2048, compacted_index=LogIndex(start))
            for index in range(start + 1, start + 11):
                append(log, commands(index, 1, b"a" * 600), HardState(Term(1), NodeId(1)))
                log.sync()
                log.prepare()
            log.compact(LogIndex(start + 6))
            log.close()
            directory.close()


@pytest.mark.parametrize("damaged", [1, 3], ids=["first segment", "last segment"])
def test_a_log_that_was_refused_has_no_file_open(
    identity: Identity, tmp_path: Path, nothing_stays_open: Callable[[], AbstractContextManager[None]], damaged: int
) -> None:
    """Whoever asked may try again, in the same process."""
    directory = DataDirectory(RealFileSystem(), tmp_path / "1", identity)
    log, _ = open_log(directory, segment_bytes=1024)
    for index in range(1, 4):
        append(log, commands(index, 1, b"a"), HardState(Term(1), NodeId(1)))
        log.sync()
    log.close()
    with nothing_stays_open(), pytest.raises(CorruptionError, match="nothing holds those from"):
        open_log(directory, compacted_index=LogIndex(-5))
    (tmp_path / "1" / "identity").unlink()
    directory.is_new = True
    with nothing_stays_open(), pytest.raises(DataDirectoryError):
        open_log(directory)
    directory.is_new = False
    path = tmp_path / "1" / "wal" / f"{damaged:020d}.wal"
    contents = bytearray(path.read_bytes())
    contents[520] ^= 1
    path.write_bytes(contents)
    with nothing_stays_open(), pytest.raises(CorruptionError):
        open_log(directory)
    directory.close()


def test_entries_can_be_dropped_without_new_ones(open_on: OpenOn) -> None:
    """A batch without entries that begins within the log truncates it."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    append(log, commands(1, 1, b"a", b"b", b"c"), HardState(Term(1), NodeId(2)))
    log.append(first_index=LogIndex(2))
    log.sync()
    filesystem.kill()
    assert open_on(filesystem)[1].entries == list(commands(1, 1, b"a"))


@pytest.mark.parametrize(
    ("first_index", "hard_state", "message"),
    [
        (5, None, "do not join the log"),
        (0, None, "do not join the log"),
        (3, HardState(Term(1), None), "term 1 after term 2"),
        (3, HardState(Term(2), NodeId(3)), "second vote in term 2: 3 after 1"),
        (3, HardState(Term(2), None), "second vote in term 2: None after 1"),
    ],
)
def test_what_a_log_cannot_say_is_a_bug(
    open_on: OpenOn, first_index: int, hard_state: HardState | None, message: str
) -> None:
    """A hole, a term that goes back, a vote that changes: refused, and nothing has changed."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    append(log, commands(1, 2, b"a", b"b"), HardState(Term(2), NodeId(1)))
    log.sync()
    before = bytes(filesystem.contents(WAL / "00000000000000000001.wal"))
    with pytest.raises(InvariantViolation, match=message):
        log.append(b"", first_index=LogIndex(first_index), hard_state=hard_state)
    assert bytes(filesystem.contents(WAL / "00000000000000000001.wal")) == before
    append(log, commands(3, 2, b"c"))


def test_a_batch_beyond_the_format_is_a_bug(open_on: OpenOn) -> None:
    """A payload whose length the header cannot hold is refused before anything is written."""

    class Huge(bytes):
        def __len__(self) -> int:
            return PAYLOAD_BYTES_MAX + 1

    log, _ = open_on(SimulatedFileSystem())
    with pytest.raises(InvariantViolation, match="4294967296 bytes"):
        log.append(Huge())


def script(log: Log, stored: Callable[[State], None], attempt: Callable[[State], None]) -> None:
    """Append across several segments: entries, votes, truncations, large batches, resets; tell of each step twice.

    After each step one of the segments that a reset left behind goes: some are still there at the next reset.
    """
    first_index = 1
    entries: list[Entry] = []
    steps: list[tuple[int | None, tuple[Entry, ...], HardState | None]] = [
        (None, (), HardState(Term(1), NodeId(1))),
        (None, commands(1, 1, b"a" * 300, b"b" * 300), None),
        (None, commands(3, 1, b"c" * 600), None),
        (None, commands(2, 2, b"d"), HardState(Term(2), None)),
        (None, (), HardState(Term(3), NodeId(2))),
        (None, commands(3, 3, b"e" * 3000), None),
        (None, commands(4, 3, b"f" * 900), None),
        (None, commands(4, 4, b"g"), HardState(Term(4), NodeId(3))),
        (50, (), None),
        (None, commands(51, 5, b"h" * 900), HardState(Term(5), None)),
        (None, commands(52, 5, b"i" * 900), None),
        (51, commands(52, 6, b"j" * 300, b"k" * 900), HardState(Term(6), NodeId(1))),
        (None, commands(53, 6, b"l" * 900), None),
        (2, commands(3, 6, b"m" * 2500), None),
        (None, commands(4, 6, b"n"), None),
    ]
    for base_index, new, hard_state in steps:
        if base_index is not None:
            first_index, entries = base_index + 1, list(new)
        elif new:
            entries = entries[: new[0][0] - first_index] + list(new)
        state = (log.hard_state if hard_state is None else hard_state, first_index, entries)
        attempt(state)
        if base_index is None:
            append(log, new, hard_state)
        else:
            reset(log, base_index, new, hard_state)
        assert (log.first_index, log.next_index) == (first_index, first_index + len(entries))
        log.sync()
        stored(state)
        log.prepare()
        log.remove_released()


def run_until_call(open_on: OpenOn, filesystem: SimulatedFileSystem, number: int) -> tuple[list[State], int, bool]:
    """Run `script` until the number-th call.

    Returns:
        The states that were attempted, how many of them were acknowledged, and whether the script came to its end.
    """
    attempted = [NOTHING]
    acknowledged = 0

    def stored(_: State) -> None:
        nonlocal acknowledged
        acknowledged += 1

    filesystem.before_call = crash_at(number)
    try:
        log, _ = open_on(filesystem, segment_bytes=2048, reserve_bytes=1000, compacted_index=51)
        script(log, stored, attempted.append)
    except SimulatedCrash:
        return attempted, acknowledged, False
    return attempted, acknowledged, True


def test_a_crash_at_any_call_loses_nothing_acknowledged(open_on: OpenOn) -> None:
    """What was acknowledged is found, and at most the one batch after it, whatever call the process or machine ends at.

    So of a reset there is the log before it or the one behind it, never a mix.
    Whatever survives of the unsynced, and whatever call the recovery after it ends at.
    """
    generator = random.Random(20)
    fates: list[Callable[[object], bool] | None] = [
        None,
        lambda _: False,
        lambda _: True,
        *[lambda _: generator.random() < 0.5] * 3,
    ]
    number = 0
    finished = False
    while not finished:
        number += 1
        crashed = SimulatedFileSystem()
        attempted, acknowledged, finished = run_until_call(open_on, crashed, number)
        allowed = attempted[acknowledged:]
        assert len(allowed) <= 2
        for fate in fates:
            filesystem = crashed.copy()
            if fate is not None:
                filesystem.lose_power(fate)
            _, recovered = open_on(filesystem.copy(), segment_bytes=2048, compacted_index=51)
            assert state_of(recovered) in allowed, (number, fate)
            # The recovery is cut off too, at a call of its own.
            filesystem.before_call = crash_at(generator.randrange(1, 20))
            read = None
            with contextlib.suppress(SimulatedCrash):
                read = open_on(filesystem, segment_bytes=2048, reserve_bytes=1000, compacted_index=51)[1]
            filesystem.lose_power(lambda _: generator.random() < 0.5)
            _, after = open_on(filesystem, segment_bytes=2048, compacted_index=51)
            assert state_of(after) in allowed, (number, fate)
            if read is not None:
                assert state_of(after) == state_of(read), (number, fate)
    assert number > 140


@pytest.mark.parametrize("where", ["/data", "/data/wal"])
def test_a_directory_that_is_not_synced_is_found_out(open_on: OpenOn, where: str) -> None:
    """The simulated disk would notice: without syncing a directory, acknowledged entries are lost or refused."""
    filesystem = SimulatedFileSystem()
    original = filesystem.sync_directory
    filesystem.sync_directory = (  # type: ignore[method-assign]  # the fault to find
        lambda path: None if path == Path(where) else original(path)
    )
    log, _ = open_on(filesystem)
    append(log, commands(1, 1, b"a"), HardState(Term(1), NodeId(1)))
    log.sync()
    filesystem.sync_directory = original  # type: ignore[method-assign]  # the fault to find
    filesystem.lose_power(lambda _: False)
    try:
        _, recovered = open_on(filesystem)
    except CorruptionError:
        return
    assert recovered.entries == []


def test_a_failed_sync_is_the_last(open_on: OpenOn) -> None:
    """After fdatasync has failed once the log takes nothing more, though the disk says that all is well again."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    append(log, commands(1, 1, b"a"), HardState(Term(1), NodeId(1)))
    filesystem.before_call = fail("sync", errno.EIO)
    with pytest.raises(StorageError, match="/data/wal: cannot sync the log: Input/output error"):
        log.sync()
    filesystem.before_call = lambda _: None
    for call in (log.sync, log.append, log.prepare):
        with pytest.raises(StorageError, match="the disk failed before"):
            call()


def fail(name: str, number: int) -> Callable[[Call], None]:
    def before_call(call: Call) -> None:
        if call.name == name:
            raise OSError(number, {errno.EIO: "Input/output error", errno.ENOSPC: "No space left on device"}[number])

    return before_call


@pytest.mark.parametrize("name", ["write", "sync", "rename", "sync_directory", "create", "allocate"])
def test_a_failure_while_a_segment_is_made_is_the_last(open_on: OpenOn, name: str) -> None:
    """A rotation that fails half-way acknowledges nothing, and what was acknowledged before is found again."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem, segment_bytes=1024)
    append(log, commands(1, 1, b"a"), HardState(Term(1), NodeId(1)))
    log.sync()
    filesystem.before_call = fail(name, errno.EIO)
    with pytest.raises(StorageError, match="cannot write the log: Input/output error"):
        append(log, commands(2, 1, b"b"))
    filesystem.lose_power(lambda _: True)
    assert open_on(filesystem)[1].entries == list(commands(1, 1, b"a"))


def test_the_next_segment_is_prepared_once_half_of_this_one_is_used(open_on: OpenOn) -> None:
    """Then a rotation has little left to do; and not before, since most of its space would be taken for nothing."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem, segment_bytes=4096)
    for index in range(1, 5):
        assert "segment.new" not in filesystem.list_directory(WAL)
        append(log, commands(index, 1, b"a"), HardState(Term(1), NodeId(1)))
        log.sync()
        log.prepare()
    assert len(filesystem.contents(WAL / "segment.new")) == 4096


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_failure_to_prepare_is_the_last_unless_the_disk_is_full(open_on: OpenOn, number: int) -> None:
    """A full disk is no failure before there is something to write."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem, segment_bytes=1024)
    append(log, commands(1, 1, b"a"), HardState(Term(1), NodeId(1)))
    log.sync()
    filesystem.before_call = fail("allocate", number)
    if number == errno.EIO:
        with pytest.raises(StorageError, match="cannot prepare a segment: Input/output error"):
            log.prepare()
    else:
        log.prepare()
    filesystem.before_call = lambda _: None
    with pytest.raises(StorageError) if number == errno.EIO else contextlib.nullcontext():
        append(log, commands(2, 1, b"b"))


def test_a_full_disk_says_so(open_on: OpenOn) -> None:
    """No space for the next segment and no reserve: one line, and nothing acknowledged is lost."""
    filesystem = SimulatedFileSystem(space=6200)
    log, _ = open_on(filesystem, segment_bytes=2048)
    for index in range(1, 4):
        append(log, commands(index, 1, b"a" * 600), HardState(Term(1), NodeId(1)))
        log.sync()
    with pytest.raises(StorageError, match="/data/wal: cannot write the log: No space left on device"):
        append(log, commands(4, 1, b"a" * 600))
    filesystem.lose_power(lambda _: False)
    _, recovered = open_on(filesystem, segment_bytes=2048)
    assert recovered.entries == [entry for i in range(1, 4) for entry in commands(i, 1, b"a" * 600)]


def test_the_reserve_carries_the_log_over_a_full_disk(open_on: OpenOn) -> None:
    """A full disk costs the reserve first; the log goes on, says so, and takes the space back when there is some."""
    filesystem = SimulatedFileSystem(space=6200)
    log, _ = open_on(filesystem, segment_bytes=2048, reserve_bytes=2048)
    index = 0
    while not log.disk_low:
        index += 1
        append(log, commands(index, 1, b"a" * 300), HardState(Term(1), NodeId(1)))
        log.sync()
        log.prepare()
    append(log, commands(index + 1, 1, b"b"))
    log.sync()
    log.prepare()
    assert log.disk_low
    filesystem.space = 100_000
    log.prepare()
    assert not log.disk_low
    assert filesystem.contents(Path("/data/reserve")) == bytes(2048)
    filesystem.lose_power(lambda _: False)
    assert len(open_on(filesystem)[1].entries) == index + 1


def test_a_rotation_syncs_what_nobody_had_synced(open_on: OpenOn) -> None:
    """A new segment, as a reset makes it, never follows one that a power cut could still shorten."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem, segment_bytes=1024)
    append(log, commands(1, 1, b"a"), HardState(Term(1), NodeId(1)))
    append(log, commands(2, 1, b"b"))
    filesystem.lose_power(lambda _: False)
    assert open_on(filesystem, segment_bytes=1024)[1].entries == list(commands(1, 1, b"a"))


@pytest.mark.parametrize(("entries", "hard_state"), [((), HardState(Term(1), NodeId(1))), (commands(1, 1, b"a"), None)])
def test_a_log_without_an_identity_is_refused(
    open_on: OpenOn, entries: tuple[Entry, ...], hard_state: HardState | None
) -> None:
    """A log with contents whose identity is gone is not taken over."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    append(log, entries, hard_state)
    log.sync()
    filesystem.kill()
    filesystem.unlink(Path("/data/identity"))
    with pytest.raises(DataDirectoryError, match="no identity file says whose it is"):
        open_on(filesystem)


def test_a_closed_log_takes_nothing(open_on: OpenOn) -> None:
    """After `close` every call is refused."""
    log, _ = open_on(SimulatedFileSystem())
    log.close()
    log.close()
    with pytest.raises(StorageError, match="closed"):
        log.append()


def test_a_disk_that_takes_no_new_files_ends_neither_a_writer_nor_a_start(open_on: OpenOn) -> None:
    """The reserve gives its inode to the next segment; that it cannot be made anew is no error, now or at a start."""
    filesystem = SimulatedFileSystem()
    files_max: float = 7  # with directories, lock, identity, segments and the reserve

    def before_call(call: Call) -> None:
        if call.name == "create" and len(list(filesystem._files(filesystem._root, Path("/")))) >= files_max:
            raise OSError(errno.ENOSPC, "No space left on device")

    filesystem.before_call = before_call
    log, _ = open_on(filesystem, segment_bytes=2048, reserve_bytes=2048)
    index = 0
    while not log.disk_low:
        index += 1
        append(log, commands(index, 1, b"a" * 300), HardState(Term(1), NodeId(1)))
        log.sync()
        log.prepare()
    log.prepare()
    log.close()
    filesystem.kill()
    filesystem.before_call = before_call
    files_max = 0
    log, recovered = open_on(filesystem, segment_bytes=2048, reserve_bytes=2048)
    assert log.disk_low
    assert len(recovered.entries) == index
    files_max = float("inf")
    log.prepare()
    assert not log.disk_low
