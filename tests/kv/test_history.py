"""Held changes, against a list of all that ever were."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.kv import history as history_module
from raftd.kv.changes import Change
from raftd.kv.history import Held, History
from raftd.kv.limits import Limits
from raftd.kv.types import NO_LEASE, Record, Revision

KEYS = [b"a", b"b", b"cc"]
LIMITS = Limits(history_changes_max=12, history_bytes_max=40, history_ms_max=100)


@dataclass
class World:
    """A history, and a list that forgets nothing."""

    limits: Limits = LIMITS
    changes: list[Change] = field(default_factory=list)
    clocks: list[int] = field(default_factory=list)
    present: dict[bytes, Record] = field(default_factory=dict)
    revision: int = 0
    clock_ms: int = 0
    at_once: bool = False
    """Whether the changes of a revision are appended together."""

    def __post_init__(self) -> None:
        self.history = History(self.limits)

    def step(self, writes: dict[bytes, bytes | None]) -> None:
        """Make changes as one revision; None deletes."""
        revision = Revision(self.revision + 1)
        is_full = False
        made: list[Held] = []
        for key, value in writes.items():
            previous = self.present.get(key)
            if value is None:
                if previous is None:
                    continue
                record = None
                del self.present[key]
            else:
                created, version = (revision, 1) if previous is None else (previous[0], previous[2] + 1)
                record = self.present[key] = (created, revision, version, NO_LEASE, b"u", value)
            change = Change(revision, key, previous, record, False, 7, b"u", b"here")
            self.changes.append(change)
            self.clocks.append(self.clock_ms)
            self.revision = revision
            made.append((*change, self.clock_ms))
        if self.at_once:
            is_full = bool(made) and self.history.extend(made)
        else:
            for held in made:
                is_full = self.history.append(held)
        if is_full:
            self.history.trim()

    def tick(self, elapsed_ms: int) -> None:
        self.clock_ms += elapsed_ms
        self.history.trim_old(self.clock_ms)

    def held(self) -> list[Change]:
        return [change for change in self.changes if change.revision > self.history.compacted_revision]

    def state_at(self, revision: int) -> dict[bytes, Record]:
        state: dict[bytes, Record] = {}
        for change in self.changes:
            if change.revision <= revision:
                if change.record is None:
                    del state[change.key]
                else:
                    state[change.key] = change.record
        return state

    def check(self) -> None:
        history, held = self.history, self.held()
        assert [each[:-1] for each in history.held()] == held
        assert len(history) == len(held)
        assert history.bytes_total == sum(
            len(change.key) + (len(change.previous[-1]) if change.previous else 0) for change in held
        )
        assert list(history.absent_keys) == sorted({change.key for change in held} - set(self.present))
        for revision in range(history.compacted_revision, self.revision + 1):
            state, position = self.state_at(revision), history.position_after(revision)
            assert history.count_since(position) == sum(change.revision > revision for change in held)
            assert history.keys_since(position) == {change.key for change in held if change.revision > revision}
            for key in {*self.present, *history.absent_keys}:
                now = self.present.get(key)
                record = now if now is not None and now[1] <= revision else history.record_at(key, position)
                assert record == state.get(key)
                if now is not record:
                    assert self.look_link_by_link(key, position) == record

    def look_link_by_link(self, key: bytes, position: int) -> Record | None:
        """As `record_at`, left after each link and taken up again."""
        at, record, left = self.history.first_since(key, position, 1)
        while not left:
            at, record, left = self.history.first_since(key, position, 1, at)
        return record


steps = st.one_of(
    st.dictionaries(st.sampled_from(KEYS), st.none() | st.binary(max_size=9), min_size=1), st.integers(0, 60)
)


@given(st.lists(steps, max_size=60), st.booleans(), st.booleans())
@settings(deadline=None)
def test_against_a_list_that_forgets_nothing(
    made: list[dict[bytes, bytes | None] | int], tidy_at_once: bool, at_once: bool
) -> None:
    """Whatever was let go, what is held is whole: each key's record at each held revision, and the keys there were."""
    with pytest.MonkeyPatch.context() as patch:
        if tidy_at_once:
            patch.setattr(history_module, "_GONE_MIN", 1)
        world = World(at_once=at_once)
        for each in made:
            if isinstance(each, int):
                world.tick(each)
            else:
                world.step(each)
            newest = [change for change in world.held() if change.revision == world.revision]
            assert len(world.history) <= max(12, len(newest))
            assert world.history.bytes_total <= 40 or len(newest) == len(world.history)
        world.check()


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (lambda history: list(history.absent_keys), [b"a"]),
        (lambda history: [change.revision for change in history.changes_of(b"a", 9)], [3, 2, 1]),
        (lambda history: history.record_at(b"a", history.position_after(2)), (1, 2, 2, NO_LEASE, b"u", b"2")),
        (lambda history: history.trim_old(LIMITS.history_ms_max + 1) or list(history.held()), []),
    ],
    ids=["absent_keys", "changes_of", "record_at", "trim_old"],
)
def test_the_index_is_ready_for_whoever_asks_first(ask: Callable[[History], object], expected: object) -> None:
    """It follows the changes with a delay, and nobody sees that."""
    world = World()
    for value in (b"1", b"2", None):
        world.step({b"a": value})
    assert ask(world.history) == expected


@given(st.lists(st.integers(1, 5), max_size=10), st.integers(0, 10), st.integers(0, 20), st.integers(0, 8))
@settings(deadline=None)
def test_any_part_can_be_read(sizes: list[int], after: int, limit: int, skipped: int) -> None:
    """A read gives so many changes behind so many after a revision; it may begin and end within one."""
    world = World(Limits())
    for number, size in enumerate(sizes):
        world.step(dict.fromkeys(KEYS[:size], b"%d" % number))
    rest = [change for change in world.changes if change.revision > after]
    after = min(after, world.revision)
    assert world.history.changes_after(after, limit, skipped) == rest[skipped : skipped + limit]


@given(st.lists(st.sampled_from(KEYS), max_size=40), st.sampled_from(KEYS), st.integers(0, 45))
@settings(deadline=None)
def test_one_key_s_changes_come_newest_first(keys: list[bytes], key: bytes, before: int) -> None:
    """Those that are held and below the revision asked for."""
    world = World()
    for each in keys:
        world.step({each: b"v"})
    expected = [change for change in reversed(world.held()) if change.key == key and change.revision < before]
    assert list(world.history.changes_of(key, before)) == expected


def test_a_chain_that_was_let_go_of_has_an_end() -> None:
    """Whoever was on the way along it finds nothing more, and no other key's changes."""
    world = World()
    for _ in range(4):
        world.step({b"a": b"v"})
    history = world.history
    at, _, left = history.first_since(b"a", history.position_after(0), 2, history.newest_of(b"a"))
    assert left == 0
    assert [change.revision for change in history.changes_from(at, 9)] == [2, 1]
    for _ in range(20):
        world.step({b"b": b"v"})
    position = history.position_after(history.compacted_revision)
    assert history.first_since(b"a", position, 2, at) == (at, None, 2)
    assert list(history.changes_from(at, 99)) == []


def test_a_change_is_held_for_its_time() -> None:
    """It goes when the clock shows the full time, not before, and then even the newest goes."""
    world = World()
    world.step({b"a": b"1"})
    world.tick(50)
    world.step({b"b": b"1"})
    world.tick(49)
    assert len(world.history) == 2
    world.tick(1)
    assert [change.key for change in world.held()] == [b"b"]
    world.tick(50)
    assert (world.history.compacted_revision, len(world.history), world.history.bytes_total) == (2, 0, 0)
    world.step({b"a": None})
    assert world.history.changes_after(2, 10) == world.changes[2:]


def test_the_newest_revision_is_held_whatever_it_has() -> None:
    """Whoever follows sees each revision, unless the one after it is there already."""
    world = World()
    world.step({b"%d" % number: b"v" for number in range(100)})
    assert len(world.history) == 100
    world.step({b"0": b"v"})
    assert (len(world.history), world.history.compacted_revision) == (1, 1)


def test_one_command_lets_go_of_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much is let go by several commands, the clock's among them."""
    monkeypatch.setattr(history_module, "_TRIMMED_MAX", 3)
    world = World(Limits(history_changes_max=1000, history_bytes_max=30))
    for number in range(20):
        world.step({b"%d" % number: b""})
    world.step({b"0": b"x" * 30})
    assert (len(world.history), world.history.compacted_revision) == (20, 1)
    world.step({b"0": b""})
    assert (len(world.history), world.history.compacted_revision) == (18, 4)
    world.tick(0)
    assert (len(world.history), world.history.compacted_revision) == (15, 7)
    world.check()


def test_what_is_let_go_leaves_nothing_behind() -> None:
    """However long keys are written, as much is kept as is held, and a bit more."""
    world = World(Limits(history_changes_max=100))
    for number in range(5000):
        world.step({b"busy": b"", b"%d" % number: b""} if number % 3 else {b"%d" % (number - 1): None})
    history = world.history
    assert len(history._changes) == len(history._older) <= 2 * max(100, history_module._GONE_MIN) + 2
    assert set(history._newest_of) == {change.key for change in world.held()}


@given(st.lists(st.dictionaries(st.sampled_from(KEYS), st.none() | st.binary(max_size=9), min_size=1), max_size=30))
@settings(deadline=None)
def test_a_history_can_be_put_back_from_its_end(made: list[dict[bytes, bytes | None]]) -> None:
    """Newest first, as a snapshot has it, and what is put back goes on like the first."""
    world, twin = World(), World()
    for each in made:
        world.step(each)
    twin.history = History(LIMITS, world.history.compacted_revision)
    twin.changes, twin.clocks, twin.revision = list(world.changes), list(world.clocks), world.revision
    twin.present = dict(world.present)
    for held in reversed(world.history.held()):
        assert twin.history.oldest_previous(held[1], world.present.get(held[1])) == held[3]
        twin.history.prepend(held)
    twin.history.end_prepending()
    twin.check()
    for each in made:
        world.step(each)
        twin.step(each)
    world.check()
    twin.check()
    assert twin.history.held() == world.history.held()


@pytest.mark.parametrize("at_once", [False, True])
def test_a_history_is_full_behind_its_bound(at_once: bool) -> None:
    """What fills it to the last byte stays; one byte more, and the oldest revisions go."""
    world = World(Limits(history_changes_max=100, history_bytes_max=3, history_ms_max=100), at_once=at_once)
    for key in (b"a", b"b", b"c"):
        world.step({key: b"value"})
    assert (len(world.history), world.history.bytes_total) == (3, 3)
    world.step({b"d": b""})
    assert (len(world.history), world.history.bytes_total, world.history.compacted_revision) == (3, 3, 1)
