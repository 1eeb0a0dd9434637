"""Keys, revisions and versions."""

from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.errors import LocalProtocolError
from raftd.kv.store import Store
from raftd.kv.types import Record

KEYS = [b"a", b"aa", b"b", b"\xff"]


def test_a_key_s_life() -> None:
    """Creation keeps its revision, each put counts a version, and a deleted key begins anew with version 1."""
    store = Store()
    assert store.put(b"k", b"one", b"alice") == (1, 1, 1, 0, b"alice", b"one")
    assert store.put(b"other", b"", b"alice") == (2, 2, 1, 0, b"alice", b"")
    assert store.put(b"k", b"two", b"alice") == (1, 3, 2, 0, b"alice", b"two")
    assert store.modify_revision(b"k") == 3
    assert store.delete(b"k")
    assert (store.revision, store.get(b"k"), store.modify_revision(b"k")) == (4, None, 0)
    assert store.put(b"k", b"three", b"alice") == (5, 5, 1, 0, b"alice", b"three")


def test_deleting_an_absent_key_changes_nothing() -> None:
    """Neither revision nor totals move (PyRaft's poisoned log began here)."""
    store = Store()
    store.put(b"k", b"value", b"alice")
    assert not store.delete(b"absent")
    assert (store.revision, len(store), store.bytes_total) == (1, 1, 6)


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
            assert store.delete(key) == (model.pop(key, None) is not None)
        else:
            revision += 1
            model[key] = value
            assert store.put(key, value, b"alice")[1] == revision
        assert store.revision == revision
    assert [(key, record[-1]) for key, record in store] == sorted(model.items())
    assert len(store) == len(model)
    assert store.bytes_total == sum(len(key) + len(value) for key, value in model.items())


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
            store.delete(key)
        else:
            store.put(key, value, b"alice")


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
        store.put(key, b"value", b"alice")
    twin = Store(store.revision)
    for key, record in store:
        twin.append(key, record)
    assert list(twin) == list(store)
    assert (len(twin), twin.revision, twin.bytes_total) == (len(store), store.revision, store.bytes_total)
    assert twin.put(b"a", b"", b"alice") == store.put(b"a", b"", b"alice")
    assert twin.delete(b"b")
    assert [key for key, _ in twin] == [b"a", b"aa", b"\xff"]
