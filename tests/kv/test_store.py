"""Keys, revisions and versions."""

from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.kv.store import Store

KEYS = [b"a", b"aa", b"b", b"\xff"]


def test_a_key_s_life() -> None:
    """Creation keeps its revision, each put counts a version, and a deleted key begins anew with version 1."""
    store = Store()
    assert store.put(b"k", b"one") == (1, 1, 1, 0, b"one")
    assert store.put(b"other", b"") == (2, 2, 1, 0, b"")
    assert store.put(b"k", b"two") == (1, 3, 2, 0, b"two")
    assert store.modify_revision(b"k") == 3
    assert store.delete(b"k")
    assert (store.revision, store.get(b"k"), store.modify_revision(b"k")) == (4, None, 0)
    assert store.put(b"k", b"three") == (5, 5, 1, 0, b"three")


def test_deleting_an_absent_key_changes_nothing() -> None:
    """Neither revision nor totals move (PyRaft's poisoned log began here)."""
    store = Store()
    store.put(b"k", b"value")
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
            assert store.put(key, value)[1] == revision
        assert store.revision == revision
    assert [(key, record[-1]) for key, record in store] == sorted(model.items())
    assert len(store) == len(model)
    assert store.bytes_total == sum(len(key) + len(value) for key, value in model.items())
