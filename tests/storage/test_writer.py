"""The log writer: one sync for everything that waits, in order, and an end for ever at the first failure."""

import errno
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raftd.consensus.types import Entry, EntryKind, HardState, LogIndex, NodeId, Term
from raftd.errors import LocalProtocolError, StorageError
from raftd.storage.log import Log
from raftd.storage.recovery import Recovered
from raftd.storage.simulated import Call, SimulatedFileSystem
from raftd.storage.writer import LogWriter, Submission, SyncRecord
from raftd.wire.entries import encode_entries

OpenOn = Callable[..., tuple[Log, Recovered]]
PATIENCE_SECONDS = 10.0


def entry(index: int, data: bytes = b"x") -> Entry:
    return LogIndex(index), Term(1), EntryKind.COMMAND, data


def of_entries(token: str, first: int, *data: bytes, hard_state: HardState | None = None) -> Submission[str]:
    payload = encode_entries([entry(first + i, item) for i, item in enumerate(data)])
    return Submission(token, hard_state, LogIndex(first), len(data), payload)


class Writer:
    """A writer on a simulated disk whose syncs wait for leave, and everything that it reported."""

    def __init__(self, open_on: OpenOn, **settings: int) -> None:
        self.filesystem = SimulatedFileSystem()
        self.log, _ = open_on(self.filesystem, segment_bytes=1 << 16, **settings)
        self.stored: list[list[str]] = []
        self.failures: list[BaseException] = []
        self.syncs: list[SyncRecord] = []
        self.calls: list[str] = []
        self.now = 100.0
        self.error: OSError | None = None
        self.entered = threading.Semaphore(0)
        self.leave = threading.Semaphore(0)
        self.filesystem.before_call = self.before_call
        self.writer: LogWriter[str] = LogWriter(
            self.log,
            on_stored=self.stored.append,
            on_failure=self.failures.append,
            clock=lambda: self.now,
            on_sync=self.syncs.append,
            queue_bytes_max=1000,
            batch_bytes_max=500,
        )

    def before_call(self, call: Call) -> None:
        self.calls.append(call.name)
        if call.name == "sync":
            self.entered.release()
            assert self.leave.acquire(timeout=PATIENCE_SECONDS)
            if self.error is not None:
                raise self.error

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
    assert held.calls == ["write", "sync"] * 2
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
    assert held.syncs[0] == SyncRecord(1, len(submissions[0].payload), 0.0, 7.0)


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
    assert held.calls == ["write", "sync"]


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

    def before_call(call: Call) -> None:
        if call.path == Path("/data/reserve"):
            {"unlink": refused, "sync": restored}.get(call.name, threading.Event()).set()

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
