"""A draft: what its own operations see, what is committed, and that nobody else sees any of it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.kv.draft import Draft
from raftd.kv.leases import LeaseTable
from raftd.kv.limits import Limits
from raftd.kv.store import Store
from raftd.kv.types import NO_LEASE, LeaseId, Record, Revision
from tests.kv.test_store import put

KEYS = [b"a", b"b", b"b\x00", b"c", b"d"]
LEASE = LeaseId(1)


def draft_over(*keys: bytes) -> tuple[Draft, Store]:
    store, leases = Store(), LeaseTable(Limits(keys_per_lease_max=2))
    leases.grant(LEASE, b"u", 0)
    for key in keys:
        put(store, key, b"old")
    return Draft(store, leases, b"u"), store


def test_a_lease_has_room_for_what_the_draft_has_left_it() -> None:
    """What its own operations put on the lease, or took from it, counts as if it were committed."""
    draft, _ = draft_over()
    first = draft.put(b"a", b"", LEASE)
    assert draft.has_room(LEASE, b"b")
    draft.put(b"b", b"", LEASE)
    assert not draft.has_room(LEASE, b"c")
    assert draft.has_room(LEASE, b"b")
    draft.delete(b"a", first)
    assert draft.has_room(LEASE, b"c")
    draft.put(b"c", b"", LEASE)
    assert not draft.has_room(LEASE, b"d")
    draft.delete_all([b"b", b"c"])
    draft.put(b"d", b"", LEASE)
    assert draft.has_room(LEASE, b"e")
    draft.put(b"e", b"", LEASE)
    assert not draft.has_room(LEASE, b"f")
    assert not draft.has_room(LeaseId(9), b"g")


@given(
    present=st.sets(st.sampled_from(KEYS)),
    writes=st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.binary(max_size=3)), max_size=12),
    low=st.sampled_from([b"", *KEYS]),
    high=st.sampled_from([b"", *KEYS]),
    all_deleted_at=st.integers(0, 12),
)
@settings(deadline=None)
def test_against_a_dict(
    present: set[bytes], writes: list[tuple[bytes, bytes | None]], low: bytes, high: bytes, all_deleted_at: int
) -> None:
    """Later operations see the earlier ones, the net changes make of the store what they saw, and it is untouched."""
    draft, store = draft_over(*sorted(present))
    before = dict(list(store))
    model: dict[bytes, Record] = dict(before)
    touched: list[bytes] = []
    for number, (key, value) in enumerate(writes):
        if number == all_deleted_at:
            assert draft.delete_all(sorted(model)) == sorted(model.items())
            touched += [each for each in sorted(model) if each not in touched]
            model.clear()
        record = draft.get(key)
        assert record == model.get(key)
        if value is not None:
            model[key] = draft.put(key, value, NO_LEASE)
            created, version = (draft.revision, 1) if record is None else (record[0], record[2] + 1)
            assert model[key] == (created, draft.revision, version, NO_LEASE, b"u", value)
        elif record is not None:
            draft.delete(key, record)
            del model[key]
        else:
            continue
        touched += [key] if key not in touched else []
    expected = [key for key in sorted(model) if low <= key and (not high or key < high)]
    assert list(draft.keys(low, high)) == expected
    assert draft.count(low, high) == len(expected)
    assert dict(list(store)) == before
    changes = draft.changes()
    assert [key for key, _, _ in changes] == [key for key in touched if key in before or key in model]
    assert all(change == (change[0], before.get(change[0]), model.get(change[0])) for change in changes)
    size = sum(len(key) + len(record[-1]) for key, record in before.items())
    new_size = sum(len(key) + len(record[-1]) for key, record in model.items())
    assert draft.growth() == (len(model) - len(before), new_size - size)
    store.revision = Revision(store.revision + 1)
    for change in changes:
        store.change(*change)
    assert dict(list(store)) == model


def test_keys_are_counted_against_their_lease() -> None:
    """Those that come to it in this draft, less those that leave it; a key that has it needs no more room."""
    draft, _ = draft_over(b"a", b"b", b"c")
    assert draft.has_room(LEASE, b"a")
    draft.put(b"a", b"", LEASE)
    draft.put(b"b", b"", LEASE)
    assert draft.has_room(LEASE, b"a")
    assert not draft.has_room(LEASE, b"c")
    draft.put(b"a", b"", NO_LEASE)
    assert draft.has_room(LEASE, b"c")
    record = draft.get(b"b")
    assert record is not None
    draft.delete(b"b", record)
    draft.put(b"c", b"", LEASE)
    assert draft.has_room(LEASE, b"b")
    assert not draft.has_room(LeaseId(2), b"b")


class Counted(bytes):
    """A key that counts how often one of its kind is looked up."""

    looked_up = 0

    def __hash__(self) -> int:
        Counted.looked_up += 1
        return super().__hash__()


def test_keys_that_are_gone_are_not_gone_over_one_by_one() -> None:
    """A transaction may delete ten thousand keys, and go over their range with each of its other operations."""
    keys = [Counted(b"%05d" % number) for number in range(5000)]
    draft, _ = draft_over(*keys)
    draft.delete_all(keys[:4990])
    Counted.looked_up = 0
    for _ in range(100):
        assert next(draft.keys(b"", b"")) == keys[4990]
    assert Counted.looked_up < 100 * 2 * 1024
