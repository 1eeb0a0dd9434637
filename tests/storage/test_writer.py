"""The log writer: one sync for everything that waits, in order, and an end for ever at the first failure."""

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftd.consensus.types import Entry, EntryKind, HardState, LogIndex, NodeId, Term
from raftd.errors import InvariantViolation, LocalProtocolError, StorageError
from raftd.storage.simulated import Call, SimulatedFileSystem
from raftd.storage.writer import LogWriter, Submission, SyncRecord
from raftd.wire.entries import encode_entries
from tests.storage.logs import OpenOn

PATIENCE_SECONDS = 10.0


def entry(index: int, data: bytes = b"x") -> Entry:
    return LogIndex(index), Term(1), EntryKind.COMMAND, data


def of_entries(token: str, first: int, *data: bytes, hard_state: HardState | None = None) -> Submission[str]:
    payload = encode_entries([entry(first + i, item) for i, item in enumerate(data)])
    return Submission(token, hard_state, LogIndex(first), len(data), payload)


class Writer:
    """A writer on a simulated disk whose syncs wait for leave, and everything that it reported."""

    def __init__(self, open_on: OpenOn, segment_bytes: int = 1 << 16) -> None:
        self.filesystem = SimulatedFileSystem()
        self.log, _ = open_on(self.filesystem, segment_bytes=segment_bytes)
        self.stored: list[list[str]] = []
        self.failures: list[BaseException] = []
        self.syncs: list[SyncRecord] = []
        self.calls: list[str] = []
        self.now = 100.0
        self.error: OSError | None = None
        self.entered = threading.Semaphore(0)
        self.leave = threading.Semaphore(0)
        self.unlinked = threading.Semaphore(0)
        self.reported = threading.Semaphore(0)
        self.filesystem.before_call = self.before_call
        self.writer: LogWriter[str] = LogWriter(
            self.log,
            on_stored=self.on_stored,
            on_failure=self.failures.append,
            clock=lambda: self.now,
            on_sync=self.syncs.append,
            queue_bytes_max=2000,
            batch_bytes_max=500,
        )

    def before_call(self, call: Call) -> None:
        self.calls.append(call.name)
        if call.name == "unlink":
            self.unlinked.release()
        if call.name == "sync":
            self.entered.release()
            assert self.leave.acquire(timeout=PATIENCE_SECONDS)
            if self.error is not None:
                raise self.error

    def on_stored(self, tokens: list[str]) -> None:
        self.stored.append(tokens)
        self.calls += tokens
        self.reported.release()

    def fill(self, count: int) -> None:
        """Store so many entries, and let all syncs end from now on."""
        self.let(1000)
        for index in range(1, count + 1):
            self.writer.submit(of_entries(str(index), index, b"a"))
            assert self.reported.acquire(timeout=PATIENCE_SECONDS)
        del self.calls[:]

    def submit_during_a_report(self, *items: Submission[str] | LogIndex) -> None:
        """Have the thread find all of these at once: submissions, and indexes to compact up to."""
        entered, leave = threading.Event(), threading.Event()

        def on_stored(tokens: list[str]) -> None:
            self.on_stored(tokens)
            entered.set()
            assert leave.wait(PATIENCE_SECONDS)

        self.writer._on_stored = on_stored
        self.writer.submit(Submission("hold"))
        assert entered.wait(PATIENCE_SECONDS)
        for item in items:
            if isinstance(item, Submission):
                self.writer.submit(item)
            else:
                self.writer.compact(item)
        leave.set()

    def wait_for_unlinks(self, count: int) -> None:
        """Wait until so many segments more are being removed."""
        for _ in range(count):
            assert self.unlinked.acquire(timeout=PATIENCE_SECONDS)

    def segments(self) -> list[int]:
        """The segments that are there."""
        names = self.filesystem.list_directory(Path("/data/wal"))
        return sorted(int(name.removesuffix(".wal")) for name in names if name.endswith(".wal"))

    def wait_for_sync(self) -> None:
        """Wait until the thread is within fdatasync."""
        assert self.entered.acquire(timeout=PATIENCE_SECONDS)

    def let(self, syncs: int = 1) -> None:
        """Let so many syncs end."""
        self.leave.release(syncs)


@pytest.fixture
def held(open_on: OpenOn) -> Iterator[Writer]:
    held = Writer(open_on)
    yield held
    held.let(1000)
    assert held.writer.close(timeout=PATIENCE_SECONDS)


@pytest.fixture
def held_small(open_on: OpenOn) -> Iterator[Writer]:
    """One whose segments hold one small batch each."""
    held = Writer(open_on, segment_bytes=1024)
    yield held
    held.let(1000)
    assert held.writer.close(timeout=PATIENCE_SECONDS)


def test_everything_that_comes_during_a_sync_shares_the_next(held: Writer, open_on: OpenOn) -> None:
    """Twenty submissions while one sync runs need one more write and one more sync, and are reported at once."""
    held.writer.submit(of_entries("first", 1, b"a", hard_state=HardState(Term(1), NodeId(1))))
    held.wait_for_sync()
    for index in range(2, 22):
        held.writer.submit(of_entries(str(index), index, b"b"))
    held.let()
    held.wait_for_sync()
    assert held.stored == [["first"]]
    held.let()
    assert held.writer.close(timeout=PATIENCE_SECONDS)
    assert held.stored == [["first"], [str(index) for index in range(2, 22)]]
    assert held.calls == ["write", "sync", "first", "write", "sync", *map(str, range(2, 22))]
    held.filesystem.lose_power(lambda _: False)
    assert open_on(held.filesystem)[1].entries == [entry(1, b"a"), *(entry(index, b"b") for index in range(2, 22))]


def test_nothing_is_reported_before_its_sync_has_ended(held: Writer) -> None:
    """A submission is not stored while fdatasync runs, however long."""
    held.writer.submit(of_entries("a", 1, b"a"))
    held.wait_for_sync()
    assert held.stored == []
    assert held.calls == ["write", "sync"]


def test_hard_states_and_entries_of_a_group_are_one_record(held: Writer, open_on: OpenOn) -> None:
    """The newest hard state of a group is stored with all its entries, or not at all."""
    held.writer.submit(of_entries("block", 1, b"a", hard_state=HardState(Term(1), None)))
    held.wait_for_sync()
    held.writer.submit(Submission("vote", HardState(Term(2), NodeId(3))))
    held.writer.submit(of_entries("entries", 2, b"b"))
    held.writer.submit(Submission("next vote", HardState(Term(3), NodeId(2))))
    held.let(2)
    assert held.writer.close(timeout=PATIENCE_SECONDS)
    assert held.stored == [["block"], ["vote", "entries", "next vote"]]
    assert held.calls.count("write") == 2
    held.filesystem.kill()
    _, recovered = open_on(held.filesystem)
    assert recovered.hard_state == HardState(Term(3), NodeId(2))
    assert recovered.entries == [entry(1, b"a"), entry(2, b"b")]


def test_entries_that_replace_others_get_a_batch_of_their_own(held: Writer, open_on: OpenOn) -> None:
    """A truncation within what is queued is stored after what it truncates, in order."""
    held.writer.submit(of_entries("block", 1, b"a"))
    held.wait_for_sync()
    held.writer.submit(of_entries("old", 2, b"b", b"c", b"d"))
    held.writer.submit(of_entries("new", 3, b"C"))
    held.writer.submit(of_entries("after", 4, b"D"))
    held.let(3)
    assert held.writer.close(timeout=PATIENCE_SECONDS)
    assert held.stored == [["block"], ["old"], ["new", "after"]]
    held.filesystem.kill()
    assert [data for _, _, _, data in open_on(held.filesystem)[1].entries] == [b"a", b"b", b"C", b"D"]


def test_a_group_has_a_bound(held: Writer) -> None:
    """What is joined into one batch stays below the bound, though one submission may exceed it alone."""
    held.writer.submit(of_entries("block", 1, b"a"))
    held.wait_for_sync()
    for index in range(2, 6):
        held.writer.submit(of_entries(str(index), index, b"b" * 200))
    held.let(10)
    assert held.writer.close(timeout=PATIENCE_SECONDS)
    assert held.stored == [["block"], ["2", "3"], ["4", "5"]]


def test_what_has_nothing_to_store_waits_only_for_what_is_before_it(held: Writer) -> None:
    """Nothing queued before it: reported without a sync. Something before it: reported with it, and never earlier."""
    held.writer.submit(Submission("at once"))
    held.writer.submit(of_entries("a", 1, b"a"))
    held.wait_for_sync()
    assert held.stored == [["at once"]]
    held.writer.submit(Submission("later"))
    held.writer.submit(of_entries("b", 2, b"b"))
    held.writer.submit(Submission("last"))
    held.let()
    held.wait_for_sync()
    assert held.stored == [["at once"], ["a"], ["later"]]
    held.let()
    assert held.writer.close(timeout=PATIENCE_SECONDS)
    assert held.stored == [["at once"], ["a"], ["later"], ["b", "last"]]
    assert held.calls.count("sync") == 2


def test_a_failed_sync_is_reported_once_and_nothing_else_is(held: Writer) -> None:
    """The sync fails once and would succeed afterwards: no acknowledgement ever, one failure, no second try."""
    held.writer.submit(of_entries("a", 1, b"a"))
    held.wait_for_sync()
    held.writer.submit(of_entries("b", 2, b"b"))
    held.error = OSError(errno.EIO, "Input/output error")
    held.let(100)
    assert held.writer.close(timeout=PATIENCE_SECONDS)
    assert held.stored == []
    assert [type(error) for error in held.failures] == [StorageError]
    assert str(held.failures[0]) == "/data/wal: cannot sync the log: Input/output error"
    assert held.calls == ["write", "sync"]


def test_a_failed_write_is_reported_once(open_on: OpenOn) -> None:
    """A write that fails ends the writer as a sync that fails does; later submissions are dropped."""
    held = Writer(open_on)
    failed = threading.Event()

    def on_failure(error: BaseException) -> None:
        held.failures.append(error)
        failed.set()

    held.writer._on_failure = on_failure

    def before_call(call: Call) -> None:
        raise OSError(errno.EIO, "Input/output error", str(call.path))

    held.filesystem.before_call = before_call
    held.writer.submit(of_entries("a", 1, b"a"))
    assert failed.wait(PATIENCE_SECONDS)
    held.filesystem.before_call = lambda _: None
    held.writer.submit(of_entries("b", 2, b"b"))
    assert held.writer.close(timeout=PATIENCE_SECONDS)
    assert (held.stored, len(held.failures)) == ([], 1)


def test_a_report_that_fails_is_a_failure(open_on: OpenOn) -> None:
    """If nobody can be told what is stored, the writer does not go on as if somebody had been."""
    held = Writer(open_on)

    def on_stored(_: list[str]) -> None:
        raise RuntimeError("the loop is gone")

    held.writer._on_stored = on_stored
    held.let(10)
    held.writer.submit(of_entries("a", 1, b"a"))
    assert held.writer.close(timeout=PATIENCE_SECONDS)
    assert [str(error) for error in held.failures] == ["the loop is gone"]


def test_the_gauges_show_what_waits_and_since_when(held: Writer) -> None:
    """Bytes and submissions count until they are stored; a sync that hangs shows its age."""
    assert (held.writer.queued_bytes, held.writer.queued_count) == (0, 0)
    assert held.writer.busy_since is None
    submissions = [of_entries("a", 1, b"a"), of_entries("b", 2, b"bb"), Submission[str]("c")]
    held.writer.submit(submissions[0])
    held.wait_for_sync()
    held.now = 107.0
    for submission in submissions[1:]:
        held.writer.submit(submission)
    assert held.writer.busy_since == 100.0
    assert held.writer.queued_bytes == sum(len(submission.payload) for submission in submissions)
    assert held.writer.queued_count == 3
    held.let(10)
    assert held.writer.close(timeout=PATIENCE_SECONDS)
    assert (held.writer.queued_bytes, held.writer.queued_count) == (0, 0)
    assert getattr(held.writer, "busy_since") is None  # noqa: B009 - mypy remembers the value above
    assert held.syncs[0] == SyncRecord(1, len(submissions[0].payload), 0.0, 7.0, LogIndex(1), 1)


def test_the_queue_has_a_bound(held: Writer) -> None:
    """Past the bound a submission is refused and nothing of it is queued; one alone may exceed it."""
    held.writer.submit(of_entries("a", 1, b"a" * 2000))
    held.wait_for_sync()
    before = held.writer.queued_count
    with pytest.raises(LocalProtocolError, match="bytes wait to be written, and no more may"):
        held.writer.submit(of_entries("b", 2, b"b"))
    assert held.writer.queued_count == before


def test_closing_stores_what_is_queued(held: Writer) -> None:
    """`close` drains by default, and nothing can be submitted after it."""
    for index in range(1, 5):
        held.writer.submit(of_entries(str(index), index, b"a"))
    held.let(100)
    assert held.writer.close(timeout=PATIENCE_SECONDS)
    assert [token for tokens in held.stored for token in tokens] == ["1", "2", "3", "4"]
    with pytest.raises(LocalProtocolError, match="closed"):
        held.writer.submit(Submission("late"))


def test_closing_without_draining_drops_what_is_not_begun(held: Writer) -> None:
    """What is being written is still reported; what only waits is neither written nor reported."""
    held.writer.submit(of_entries("a", 1, b"a"))
    held.wait_for_sync()
    held.writer.submit(of_entries("b", 2, b"b"))
    assert not held.writer.close(drain=False, timeout=0)
    held.let(100)
    assert held.writer.close(timeout=PATIENCE_SECONDS)
    assert held.stored == [["a"]]
    assert held.calls == ["write", "sync", "a"]


def test_a_writer_without_work_waits_for_a_full_disk_to_have_space(
    open_on: OpenOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`disk_low` ends by itself when there is space for the reserve again, without a submission."""
    monkeypatch.setattr("raftd.storage.writer.RESERVE_RETRY_SECONDS", 0.001)
    filesystem = SimulatedFileSystem(space=1 << 16)
    log, _ = open_on(filesystem, segment_bytes=1 << 15, reserve_bytes=1 << 16)
    assert log.disk_low
    refused = threading.Event()
    restored = threading.Event()

    def free_bytes(_: Path) -> int:
        refused.set()
        return 0 if filesystem.space else 1 << 30

    def before_call(call: Call) -> None:
        if call == Call("sync", Path("/data/reserve")):
            restored.set()

    monkeypatch.setattr(filesystem, "free_bytes", free_bytes)
    filesystem.before_call = before_call
    ticks = iter(range(1_000_000_000))
    writer: LogWriter[str] = LogWriter(
        log, on_stored=lambda _: None, on_failure=lambda _: None, clock=lambda: float(next(ticks))
    )
    assert refused.wait(PATIENCE_SECONDS)
    assert writer.disk_low
    filesystem.space = None
    assert restored.wait(PATIENCE_SECONDS)
    assert writer.close(timeout=PATIENCE_SECONDS)
    assert not writer.disk_low


class IdleWriter(LogWriter[str]):
    """One whose thread was not started: its work is done where a test asks for it."""

    def _start(self) -> None:
        pass


def test_a_full_disk_is_asked_again_once_in_a_while(open_on: OpenOn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not after each of a thousand batches; and it is only asked, while it has no space."""
    filesystem = SimulatedFileSystem(space=1 << 16)
    log, _ = open_on(filesystem, segment_bytes=1 << 15, reserve_bytes=1 << 16)
    assert log.disk_low
    now = 100.0
    writer = IdleWriter(log, on_stored=lambda _: None, on_failure=lambda _: None, clock=lambda: now)
    tries: list[float] = []

    calls: list[Call] = []

    def free_bytes(_: Path) -> int:
        assert writer.busy_since == now, "a disk that hangs in it shows"
        tries.append(now)
        return 1 << 14

    monkeypatch.setattr(filesystem, "free_bytes", free_bytes)
    filesystem.before_call = calls.append
    for at in (100.0, 100.5, 100.9, 101.0, 101.5):
        now = at
        writer._prepare()
        assert writer.busy_since is None
    assert tries == [100.0, 101.0]
    assert calls == []


def test_a_batch_that_is_stored_runs_no_more(open_on: OpenOn) -> None:
    """Whoever hears of it finds the writer at rest: what comes then is another write."""
    log, _ = open_on(SimulatedFileSystem())
    busy_since: list[float | None] = []
    writer = IdleWriter(
        log,
        on_stored=lambda _: None,
        on_failure=lambda _: None,
        clock=lambda: 100.0,
        on_sync=lambda _: busy_since.append(writer.busy_since),
    )
    writer._store([of_entries("a", 1, b"a")])
    assert busy_since == [None]


def test_nobody_needs_to_hear_of_each_batch(open_on: OpenOn) -> None:
    """Metrics are for those who ask for them."""
    log, _ = open_on(SimulatedFileSystem())
    writer = IdleWriter(log, on_stored=lambda _: None, on_failure=lambda _: None, clock=lambda: 100.0)
    writer._store([of_entries("a", 1, b"a")])
    assert log.next_index == 2


def test_a_writer_without_work_ends_without_a_word(held: Writer) -> None:
    """There is nothing to store, and nothing has failed."""
    assert held.writer.close(timeout=PATIENCE_SECONDS)
    assert (held.stored, held.failures) == ([], [])


def test_a_reset_begins_a_batch_and_what_follows_joins_it(held: Writer, open_on: OpenOn) -> None:
    """The reset, its entries and those behind them: one batch, one sync, after the batch of all that came before."""
    held.writer.submit(of_entries("block", 1, b"a", hard_state=HardState(Term(1), None)))
    held.wait_for_sync()
    held.writer.submit(of_entries("before", 2, b"b"))
    held.writer.submit(of_entries("reset", 10, b"c", b"d")._replace(log_base=LogIndex(9)))
    held.writer.submit(Submission("vote", HardState(Term(2), NodeId(3))))
    held.writer.submit(of_entries("after", 12, b"e"))
    held.writer.submit(Submission("reset alone", log_base=LogIndex(4)))
    held.writer.submit(of_entries("behind it", 5, b"f"))
    held.writer.submit(of_entries("instead", 5, b"g"))
    held.let(100)
    assert held.writer.close(timeout=PATIENCE_SECONDS)
    assert held.stored == [
        ["block"],
        ["before"],
        ["reset", "vote", "after"],
        ["reset alone", "behind it"],
        ["instead"],
    ]
    assert [sync.submissions for sync in held.syncs] == [1, 1, 3, 2, 1]
    held.filesystem.lose_power(lambda _: False)
    _, recovered = open_on(held.filesystem, compacted_index=9)
    assert (recovered.first_index, recovered.entries) == (5, [entry(5, b"g")])
    assert recovered.hard_state == HardState(Term(2), NodeId(3))


def test_a_reset_is_stored_and_not_before_its_sync(held: Writer) -> None:
    """A submission with a log base only is one that must be stored; nothing is removed while that is under way."""
    assert Submission("reset", log_base=LogIndex(0)).must_store
    held.writer.submit(Submission("reset", log_base=LogIndex(9)))
    # The space of the new segment, its header, the batch.
    for _ in range(3):
        held.wait_for_sync()
        assert (held.stored, held.calls.count("unlink")) == ([], 0)
        held.let()
    held.writer.submit(of_entries("behind", 10, b"a"))
    held.wait_for_sync()
    assert held.stored == [["reset"]]


def test_entries_that_do_not_join_their_reset_are_a_bug(held: Writer) -> None:
    """Refused where it was made, before the log could say something that nobody meant."""
    with pytest.raises(InvariantViolation, match="entries from 12 on in a log that begins behind 9"):
        held.writer.submit(of_entries("reset", 12, b"c")._replace(log_base=LogIndex(9)))
    assert held.writer.queued_count == 0


def test_a_hole_behind_a_reset_is_not_stored(held: Writer) -> None:
    """Entries of a later submission that do not join a reset are not taken for ones that would: the log refuses."""
    held.submit_during_a_report(Submission("reset", log_base=LogIndex(9)), of_entries("hole", 12, b"c"))
    held.let(100)
    assert held.writer.close(timeout=PATIENCE_SECONDS)
    assert held.stored == [["hold"], ["reset"]]
    assert [type(error) for error in held.failures] == [InvariantViolation]


def test_segments_that_a_reset_voids_go_one_between_two_batches(held_small: Writer) -> None:
    """Behind a reset the oldest segment goes after each batch, so that no batch waits for more than one removal."""
    held_small.fill(4)
    held_small.submit_during_a_report(
        Submission("reset", log_base=LogIndex(9)),
        *(of_entries(str(index), index, b"a" * 300) for index in range(10, 13)),
    )
    held_small.wait_for_unlinks(4)
    assert held_small.writer.close(timeout=PATIENCE_SECONDS)
    assert held_small.stored[5:] == [["reset", "10"], ["11"], ["12"]]
    calls = [call for call in held_small.calls if call in {"rename", "unlink"}]
    assert calls == ["rename", "unlink"] * 3 + ["unlink"]
    assert held_small.segments() == [5, 6, 7]


def test_an_idle_writer_compacts_at_once(held_small: Writer) -> None:
    """Without any further submission all segments go that are needed no more, and the newest one never."""
    held_small.fill(6)
    held_small.writer.compact(LogIndex(4))
    held_small.wait_for_unlinks(4)
    # A lower one is overtaken.
    held_small.writer.compact(LogIndex(3))
    held_small.writer.compact(LogIndex(1000))
    held_small.wait_for_unlinks(1)
    assert held_small.writer.close(timeout=PATIENCE_SECONDS)
    assert held_small.segments() == [6]
    assert held_small.log.first_index == 6


def test_compaction_waits_for_what_was_submitted_before_it(held_small: Writer) -> None:
    """Nothing is removed before an earlier submission is stored; then it is, though later ones still wait."""
    held_small.fill(3)
    held_small.submit_during_a_report(
        of_entries("earlier", 4, b"b" * 300),
        of_entries("earlier too", 5, b"b" * 300),
        LogIndex(2),
        of_entries("later", 6, b"b" * 300),
    )
    held_small.wait_for_unlinks(2)
    calls = [call for call in held_small.calls if call in {"earlier", "earlier too", "later", "unlink"}]
    assert calls == ["earlier", "earlier too", "unlink", "later", "unlink"]


def test_a_busy_writer_compacts_between_batches(held_small: Writer) -> None:
    """One segment after each batch while batches wait; the rest when there is nothing to write."""
    held_small.fill(5)
    held_small.submit_during_a_report(LogIndex(5), *(of_entries(str(i), i, b"a" * 300) for i in range(6, 9)))
    held_small.wait_for_unlinks(5)
    assert held_small.writer.close(timeout=PATIENCE_SECONDS)
    assert [call for call in held_small.calls if call in {"rename", "unlink"}] == ["rename", "unlink"] * 3 + [
        "unlink"
    ] * 2
    assert held_small.segments() == [6, 7, 8]


def test_calls_to_compact_become_one(held: Writer) -> None:
    """While the disk is busy only the highest index counts; after `close` none does."""
    released: list[LogIndex] = []
    held.log.release = released.append  # type: ignore[method-assign,assignment]  # to see what it is told
    held.submit_during_a_report(*map(LogIndex, (3, 7, 5, 7, 9, 2)), of_entries("a", 1, b"a"))
    held.let(100)
    assert held.writer.close(timeout=PATIENCE_SECONDS)
    assert released == [9]
    held.writer.compact(LogIndex(20))
    assert held.writer._queue.empty()


def test_a_removal_that_fails_is_the_end(held_small: Writer) -> None:
    """As with any failure of the disk: said once, and nothing is stored after it."""
    held_small.fill(3)
    failed = threading.Event()

    def on_failure(error: BaseException) -> None:
        held_small.failures.append(error)
        failed.set()

    def before_call(call: Call) -> None:
        if call.name == "unlink":
            raise OSError(errno.EIO, "Input/output error")

    held_small.writer._on_failure = on_failure
    held_small.filesystem.before_call = before_call
    held_small.writer.compact(LogIndex(2))
    assert failed.wait(PATIENCE_SECONDS)
    held_small.writer.submit(of_entries("late", 4, b"a"))
    assert held_small.writer.close(timeout=PATIENCE_SECONDS)
    assert [str(error) for error in held_small.failures] == ["/data/wal: cannot remove a segment: Input/output error"]
    assert held_small.stored == [["1"], ["2"], ["3"]]


def test_a_removal_that_hangs_shows(held_small: Writer) -> None:
    """`busy_since` tells of a disk that takes its time to remove a file, too."""
    held_small.fill(3)
    entered, leave = threading.Event(), threading.Event()

    def before_call(call: Call) -> None:
        if call.name == "unlink":
            entered.set()
            assert leave.wait(PATIENCE_SECONDS)

    held_small.filesystem.before_call = before_call
    held_small.writer.compact(LogIndex(1))
    assert entered.wait(PATIENCE_SECONDS)
    assert held_small.writer.busy_since == held_small.now
    leave.set()
    assert held_small.writer.close(timeout=PATIENCE_SECONDS)
    assert getattr(held_small.writer, "busy_since") is None  # noqa: B009 - mypy remembers the value above
