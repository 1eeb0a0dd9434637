"""Keys, revisions and versions."""

from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.errors import LocalProtocolError
from raftd.kv.store import Store
from raftd.kv.types import NO_LEASE, Record, Revision

KEYS = [b"a", b"aa", b"b", b"\xff"]


def put(store: Store, key: bytes, value: bytes) -> Record:
    """Write a value as a command of its own would."""
    store.revision = Revision(store.revision + 1)
    previous = store.get(key)
    created, version = (store.revision, 1) if previous is None else (previous[0], previous[2] + 1)
    record = (created, store.revision, version, NO_LEASE, b"alice", value)
    store.change(key, previous, record)
    return record


def delete(store: Store, key: bytes) -> bool:
    """Delete a key as a command of its own would, and say whether it was there."""
    record = store.get(key)
    if record is not None:
        store.revision = Revision(store.revision + 1)
        store.change(key, record, None)
    return record is not None


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.binary(max_size=5))))
@settings(deadline=None)
def test_against_a_dict(changes: list[tuple[bytes, bytes | None]]) -> None:
    """After any puts and deletes, contents, totals and revision are those of a plain dict, in byte order."""
    store = Store()
    model: dict[bytes, bytes] = {}
    revision = 0
    for key, value in changes:
        if value is None:
            revision += key in model
            assert delete(store, key) == (model.pop(key, None) is not None)
        else:
            revision += 1
            model[key] = value
            assert put(store, key, value)[1] == revision
        assert store.revision == revision
    assert [(key, record[-1]) for key, record in store] == sorted(model.items())
    assert len(store) == len(model)
    assert store.bytes_total == sum(len(key) + len(value) for key, value in model.items())


@given(
    batches=st.lists(
        st.dictionaries(st.binary(min_size=1, max_size=1), st.none() | st.binary(max_size=5), max_size=40), max_size=6
    ),
    walked=st.integers(0, 6),
)
@settings(deadline=None)
def test_many_changes_are_as_one_by_one(batches: list[dict[bytes, bytes | None]], walked: int) -> None:
    """A store that is changed a revision at a time, and one a key at a time, are the same, to a walk over them too."""
    together, single = Store(), Store()
    walks = []
    for number, batch in enumerate(batches):
        if number == walked:
            walks = [store.begin_walk() for store in (together, single)]
        revision = Revision(number + 1)
        changes = []
        for key, value in batch.items():
            previous = together.get(key)
            record = None if value is None else (revision, revision, 1, NO_LEASE, b"alice", value)
            if previous is not None or record is not None:
                changes.append((key, previous, record))
        together.revision = single.revision = revision
        together.change_all(changes)
        for change in changes:
            single.change(*change)
        assert list(together) == list(single)
        assert len(together) == len(single)
        assert together.bytes_total == single.bytes_total
    shown = [list(filter(None, walk.resume())) for walk in walks]
    assert shown[:1] == shown[1:]


changes_of_keys = st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.binary(max_size=5)), max_size=12)


@given(before=changes_of_keys, between=st.lists(changes_of_keys, max_size=8), steps=st.integers(1, 3))
@settings(deadline=None)
def test_a_walk_sees_the_store_as_it_was(
    before: list[tuple[bytes, bytes | None]], between: list[list[tuple[bytes, bytes | None]]], steps: int
) -> None:
    """In byte order, each key once, whatever changes whenever the walk is left; and nothing is kept at its end."""
    store = Store()
    change(store, before)
    expected = list(store)
    walk = store.begin_walk()
    assert (walk.revision, walk.key_count, walk.bytes_total) == (store.revision, len(store), store.bytes_total)
    seen: list[tuple[bytes, Record]] = []
    for changes in between:
        change(store, changes)
        seen += [item for item in islice(walk.resume(), steps) if item is not None]
    seen += [item for item in walk.resume() if item is not None]
    assert seen == expected
    assert walk.kept_count == 0
    change(store, before)
    assert walk.kept_count == 0


def change(store: Store, changes: list[tuple[bytes, bytes | None]]) -> None:
    for key, value in changes:
        if value is None:
            delete(store, key)
        else:
            put(store, key, value)


def test_one_walk_at_a_time() -> None:
    """A second one is refused until the first is ended."""
    store = Store()
    store.begin_walk()
    with pytest.raises(LocalProtocolError):
        store.begin_walk()
    store.end_walk()
    store.begin_walk()


def test_what_a_walk_has_shown_can_be_put_back() -> None:
    """A store that is made of another one's records is the same, and goes on the same."""
    store = Store()
    for key in reversed(KEYS):
        put(store, key, b"value")
    twin = Store(store.revision)
    for key, record in store:
        twin.create(key, record)
    assert list(twin) == list(store)
    assert (len(twin), twin.revision, twin.bytes_total) == (len(store), store.revision, store.bytes_total)
    assert put(twin, b"a", b"") == put(store, b"a", b"")
    assert delete(twin, b"b")
    assert [key for key, _ in twin] == [b"a", b"aa", b"\xff"]
