"""The log: what it takes, what it refuses, and that no crash at any call loses or invents anything."""

import contextlib
import errno
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from raftd.consensus.types import Entry, EntryKind, HardState, LogIndex, NodeId, Term
from raftd.errors import CorruptionError, DataDirectoryError, InvariantViolation, StorageError
from raftd.storage.data_directory import DataDirectory
from raftd.storage.filesystem import RealFileSystem
from raftd.storage.format import PAYLOAD_BYTES_MAX, Identity
from raftd.storage.log import Log, open_log
from raftd.storage.recovery import Recovered
from raftd.storage.simulated import Call, SimulatedCrash, SimulatedFileSystem
from raftd.wire.entries import encode_entries

OpenOn = Callable[..., tuple[Log, Recovered]]
State = tuple[HardState, list[Entry]]
WAL = Path("/data/wal")
NOTHING: State = (HardState(Term(0), None), [])


def commands(first: int, term: int, *data: bytes) -> tuple[Entry, ...]:
    return tuple((LogIndex(first + i), Term(term), EntryKind.COMMAND, item) for i, item in enumerate(data))


def append(log: Log, entries: tuple[Entry, ...], hard_state: HardState | None = None) -> None:
    log.append(
        encode_entries(entries),
        first_index=entries[0][0] if entries else None,
        entry_count=len(entries),
        hard_state=hard_state,
    )


def test_a_new_log_is_empty(open_on: OpenOn) -> None:
    """A directory that was never used gives an empty log in term 0 that begins at entry 1."""
    log, recovered = open_on(SimulatedFileSystem())
    assert (recovered.hard_state, recovered.entries, recovered.first_index, recovered.torn_at) == (*NOTHING, 1, None)
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
    """Append across several segments: entries, votes, truncations, large batches; tell of each step twice."""
    entries: list[Entry] = []
    steps: list[tuple[tuple[Entry, ...], HardState | None]] = [
        ((), HardState(Term(1), NodeId(1))),
        (commands(1, 1, b"a" * 300, b"b" * 300), None),
        (commands(3, 1, b"c" * 600), None),
        (commands(2, 2, b"d"), HardState(Term(2), None)),
        ((), HardState(Term(3), NodeId(2))),
        (commands(3, 3, b"e" * 3000), None),
        (commands(4, 3, b"f" * 900), None),
        (commands(4, 4, b"g"), HardState(Term(4), NodeId(3))),
    ]
    for new, hard_state in steps:
        if new:
            entries = entries[: new[0][0] - 1] + list(new)
        state = (log.hard_state if hard_state is None else hard_state, entries)
        attempt(state)
        append(log, new, hard_state)
        log.sync()
        stored(state)
        log.prepare()


def crash_at(number: int) -> Callable[[Call], None]:
    """End the process at the number-th call from now."""
    left = number

    def before_call(_: Call) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise SimulatedCrash

    return before_call


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
        log, _ = open_on(filesystem, segment_bytes=2048, reserve_bytes=1000)
        script(log, stored, attempted.append)
    except SimulatedCrash:
        return attempted, acknowledged, False
    return attempted, acknowledged, True


def test_a_crash_at_any_call_loses_nothing_acknowledged(open_on: OpenOn) -> None:
    """What was acknowledged is found, and at most the one batch after it, whatever call the process or machine ends at.

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
            _, recovered = open_on(filesystem.copy(), segment_bytes=2048)
            assert (recovered.hard_state, recovered.entries) in allowed, (number, fate)
            # The recovery is cut off too, at a call of its own.
            filesystem.before_call = crash_at(generator.randrange(1, 15))
            read = None
            with contextlib.suppress(SimulatedCrash):
                read = open_on(filesystem, segment_bytes=2048, reserve_bytes=1000)[1]
            filesystem.lose_power(lambda _: generator.random() < 0.5)
            _, after = open_on(filesystem, segment_bytes=2048)
            assert (after.hard_state, after.entries) in allowed, (number, fate)
            if read is not None:
                assert (after.hard_state, after.entries) == (read.hard_state, read.entries), (number, fate)
    assert number > 60


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


def test_compacting_removes_whole_segments_only(open_on: OpenOn, identity: Identity) -> None:
    """Segments go when a snapshot holds all that they held; the log then begins later, and is read as before."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem, segment_bytes=2048)
    for index in range(1, 11):
        append(log, commands(index, 1, b"a" * 300), HardState(Term(1), NodeId(1)))
        log.sync()
    log.compact(LogIndex(2))
    assert log.first_index == 1
    log.compact(LogIndex(7))
    assert log.first_index == 7
    with pytest.raises(InvariantViolation, match="do not join"):
        append(log, commands(6, 2, b"a"))
    filesystem.lose_power(lambda _: False)
    directory = DataDirectory(filesystem, Path("/data"), identity)
    log, recovered = open_log(directory, segment_bytes=2048, reserve_bytes=0, compacted_index=LogIndex(7))
    assert recovered.entries == [entry for i in range(7, 11) for entry in commands(i, 1, b"a" * 300)]
    assert (recovered.first_index, log.first_index, log.next_index) == (7, 7, 11)


def test_a_crash_while_compacting_leaves_no_gap(open_on: OpenOn, identity: Identity) -> None:
    """Segments go oldest first, each for good before the next."""
    generator = random.Random(3)
    for number in range(1, 10):
        filesystem = SimulatedFileSystem()
        log, _ = open_on(filesystem, segment_bytes=1024)
        for index in range(1, 7):
            append(log, commands(index, 1, b"a"), HardState(Term(1), NodeId(1)))
            log.sync()
        filesystem.before_call = crash_at(number)
        with contextlib.suppress(SimulatedCrash):
            log.compact(LogIndex(5))
        filesystem.lose_power(lambda _: generator.random() < 0.5)
        _, recovered = open_log(
            DataDirectory(filesystem, Path("/data"), identity),
            segment_bytes=1024,
            reserve_bytes=0,
            compacted_index=LogIndex(5),
        )
        assert recovered.entries[-1] == commands(6, 1, b"a")[0]


def test_a_log_without_an_identity_is_refused(open_on: OpenOn) -> None:
    """A log with contents whose identity is gone is not taken over."""
    filesystem = SimulatedFileSystem()
    log, _ = open_on(filesystem)
    append(log, (), HardState(Term(1), NodeId(1)))
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


class LogAgainstList(RuleBasedStateMachine):
    """Random appends, truncations, votes, restarts and power cuts, against a list.

    Terms are odd and greater than one: so no sector has just one bit set, which a tear could empty and recovery would
    then rightly refuse (test_recovery.py has that case).
    """

    def __init__(self) -> None:
        super().__init__()
        self.filesystem = SimulatedFileSystem()
        self.hard_state = HardState(Term(0), None)
        self.entries: list[Entry] = []
        self.unsynced: State | None = None
        self.start()

    def start(self) -> Recovered:
        identity = Identity(bytes(16), NodeId(1))
        directory = DataDirectory(self.filesystem, Path("/data"), identity)
        self.log, recovered = open_log(directory, segment_bytes=4096, reserve_bytes=0)
        return recovered

    @rule(
        back=st.integers(0, 3),
        sizes=st.lists(st.sampled_from([0, 1, 30, 500, 2000, 6000]), max_size=4),
        term_step=st.sampled_from([0, 2]),
        vote=st.sampled_from([None, NodeId(1), NodeId(2)]),
        fill=st.sampled_from([b"\0", b"x"]),
        sync=st.booleans(),
    )
    def append(
        self, back: int, sizes: list[int], term_step: int, vote: NodeId | None, fill: bytes, *, sync: bool
    ) -> None:
        term = Term(max(3, self.hard_state.current_term + term_step))
        state = HardState(term, vote) if term > self.hard_state.current_term else self.hard_state
        first = max(1, len(self.entries) + 1 - back)
        new = commands(first, term, *(fill * size for size in sizes))
        append(self.log, new, state)
        entries = self.entries[: first - 1] + list(new) if new else self.entries
        if sync:
            self.log.sync()
            self.hard_state, self.entries = state, entries
        else:
            # One batch at a time may be unsynced, as in the writer: end the process here, one way or the other.
            self.unsynced = (state, entries)

    @rule(data=st.data(), power=st.booleans())
    def restart(self, data: st.DataObject, *, power: bool) -> None:
        self.check(data.draw(st.randoms(use_true_random=False)), power=power)

    @rule()
    def prepare(self) -> None:
        self.log.prepare()

    def check(self, generator: random.Random, *, power: bool) -> None:
        if power:
            self.filesystem.lose_power(lambda _: generator.random() < 0.5)
        else:
            self.filesystem.kill()
        recovered = self.start()
        found = (recovered.hard_state, recovered.entries)
        assert found in [(self.hard_state, self.entries), self.unsynced]
        self.hard_state, self.entries = found
        self.unsynced = None

    @invariant()
    def one_unsynced_batch_only(self) -> None:
        if self.unsynced is not None:
            self.check(random.Random(len(self.entries)), power=True)
        assert self.log.next_index == len(self.entries) + 1
        assert self.log.hard_state == self.hard_state


TestLogAgainstList = LogAgainstList.TestCase
TestLogAgainstList.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
