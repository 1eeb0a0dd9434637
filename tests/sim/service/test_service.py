"""The judges of transactions, leases and watches: each promise is refused when it is broken by hand."""

import random

import pytest

from raftd.consensus import Term
from raftd.kv import answers, commands
from raftd.kv.answers import Answer, Outcome
from raftd.kv.commands import Revision, SessionId, Stamp
from raftd.kv.operations import Increment, Range, Write
from raftd.kv.pages import history_body, range_body
from raftd.kv.queries import HistoryQuery
from raftd.kv.results import increment_body
from raftd.kv.types import LeaseId
from raftd.wire.client import encode_pong
from raftd.wire.frames import LENGTH_BYTES
from raftd.wire.watch import encode_progress, encode_watching
from tests.sim.oracle import Violation
from tests.sim.service.service import Service
from tests.sim.service.stream import Stream
from tests.sim.service.watcher import Watcher
from tests.sim.world import World, build

SEED = 4
"""It has users and watchers."""


@pytest.fixture
def world() -> World:
    world = build(SEED, 6.0)
    world.run()
    return world


@pytest.fixture
def service(world: World) -> Service:
    assert world.service is not None
    assert world.service.reference.revision > 10
    return world.service


def answer(outcome: Outcome, revision: int, body: bytes = b"") -> Answer:
    return Answer(outcome, Term(1), Revision(revision), body)


def test_a_write_is_answered_as_the_model_does_it(service: Service) -> None:
    """The same increment at the next place of the log gives another number, and another revision."""
    reference, revision = service.reference, Revision(service.reference.revision + 1)
    data = Stamp("user-0").at(0) + commands.write(SessionId(1), 1, 1, Write(Increment(b"other", 2)))
    right = answers.encode(Outcome.OK, Term(1), revision, increment_body(2, 1, revision))
    reference.first_applied(1, commands.decode(data), right, is_done=True)
    assert reference.changes[-1].key == b"other"
    with pytest.raises(Violation, match="and the log says"):
        reference.first_applied(2, commands.decode(data), right, is_done=True)


def test_what_is_read_is_what_was_there(service: Service) -> None:
    """A get, a page, a history, a lease that are not what the log says, or of a revision that is to come."""
    reference = service.reference
    now = reference.revision
    present = next(change.key for change in reversed(reference.changes) if change.key in reference.model.now)
    missing, empty = b"no such key", range_body(Revision(now), 0, (), more=False)
    reference.check_get(missing, answer(Outcome.NOT_FOUND, now))
    with pytest.raises(Violation, match="is read as"):
        reference.check_get(present, answer(Outcome.NOT_FOUND, now))
    with pytest.raises(Violation, match="the newest is"):
        reference.check_get(missing, answer(Outcome.NOT_FOUND, now + 1))
    with pytest.raises(Violation, match="is shown as"):
        reference.check_page(Range(b"", b""), None, answer(Outcome.OK, now, empty))
    with pytest.raises(Violation, match="is answered with"):
        reference.check_page(Range(b"", b""), None, answer(Outcome.NOT_FOUND, now))
    with pytest.raises(Violation, match="is said to be compacted"):
        reference.check_compacted(now, now)
    none = history_body(Revision(0), (), more=False)
    with pytest.raises(Violation, match="and the log says"):
        reference.check_history(HistoryQuery(present), answer(Outcome.OK, now, none))
    reference.check_lease(LeaseId(1 << 40), answer(Outcome.LEASE_NOT_FOUND, now))
    reference.model.grant(LeaseId(1 << 40), b"user-9", 1_000)
    with pytest.raises(Violation, match="and the log says"):
        reference.check_lease(LeaseId(1 << 40), answer(Outcome.LEASE_NOT_FOUND, now))


def test_a_lease_has_all_its_time(world: World, service: Service) -> None:
    """By the clock of the leader from its first day on, by each keep-alive, and for its holder."""
    times = service.lease_times
    process = next(process for process in world.processes.values() if process.is_up)
    times.leads(process)
    times.exists(7, 1, 1_000)
    with pytest.raises(Violation, match="after it began to lead"):
        times.proposed(process, process.raft.current_term, [7])
    world.timeline.now += 2.0
    times.proposed(process, process.raft.current_term, [7])
    process.stood_still += 2.0
    with pytest.raises(Violation, match="after it began to lead"):
        times.proposed(process, process.raft.current_term, [7])
    process.stood_still -= 2.0
    times.kept_alive(process, 7)
    with pytest.raises(Violation, match="or kept it alive"):
        times.proposed(process, process.raft.current_term, [7])
    times.promised(7, world.timeline.now)
    times.expired(7, world.timeline.now, 2)
    with pytest.raises(Violation, match="its holder counts on it"):
        times.promised(7, world.timeline.now + 0.5)


def follow(service: Service) -> tuple[Watcher, Stream, int]:
    """A watcher that is connected and has been told of all there is, and the id of its watch."""
    watcher = service.watchers[0]
    watcher._begin_anew()
    watcher._low, watcher._high = b"", b""
    watcher._connect()
    stream, request_id = watcher._stream, watcher._request_id
    assert stream is not None
    return watcher, stream, request_id


def test_a_watch_is_told_what_the_log_says(service: Service) -> None:
    """A mark that leaves out a change, or is ahead of the log, or a beginning that is too late to be called now."""
    newest = service.reference.revision
    watcher, stream, request_id = follow(service)
    watcher._position.revision = None
    watcher._asked_known = newest
    with pytest.raises(Violation, match="was known before"):
        watcher._take(stream, encode_watching(request_id, newest - 1)[LENGTH_BYTES:])
    watcher, stream, request_id = follow(service)
    watcher._position.revision, watcher._flags = newest - 1, type(watcher._flags)(0)
    watcher._take(stream, encode_watching(request_id, newest - 1)[LENGTH_BYTES:])
    with pytest.raises(Violation, match="is told of revision"):
        watcher._take(stream, encode_progress(request_id, newest + 1)[LENGTH_BYTES:])
    with pytest.raises(Violation, match="but not"):
        watcher._take(stream, encode_progress(request_id, newest)[LENGTH_BYTES:])


def test_a_stream_keeps_its_order_and_breaks_off_whole() -> None:
    """Frames arrive in the order in which they left, the slow reader's too; after the end there are none."""
    world = build(SEED, 6.0)
    process = next(iter(world.processes.values()))
    world.timeline.after(0.0, process.start)
    world.timeline.run_until(0.1)
    came: list[bytes] = []
    lost: list[Stream] = []
    stream = Stream(process, "user-0", random.Random(1), lambda _, payload: came.append(payload), lost.append)
    frames = [encode_pong(number) for number in range(30)]
    for frame in frames[:10]:
        stream.send(frame)
    stream.stand_still(1.0)
    for frame in frames[10:]:
        stream.send(frame)
    assert stream.unsent_bytes == sum(len(frame) - LENGTH_BYTES for frame in frames[10:])
    world.timeline.run_until(world.timeline.now + 0.9)
    assert came == [frame[LENGTH_BYTES:] for frame in frames[:10]]
    world.timeline.run_until(world.timeline.now + 1.0)
    assert came == [frame[LENGTH_BYTES:] for frame in frames]
    assert stream.unsent_bytes == 0
    process.end("ends", lose_power=False)
    world.timeline.run_until(world.timeline.now + 1.0)
    assert lost == [stream]
    stream.send(frames[0])
    world.timeline.run_until(world.timeline.now + 1.0)
    assert len(came) == len(frames)
