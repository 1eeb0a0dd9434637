"""The changes of a snapshot: nothing is accepted that no history can have."""

import pytest

from raftd.errors import DecodeError
from raftd.kv.limits import VALUE_BYTES_MAX
from raftd.kv.snapshot import CHANGE, FLAG_BY_LEASE, FLAG_PREVIOUS, PREVIOUS
from raftd.kv.snapshot_loader import SnapshotLoader
from tests.kv.test_snapshot_loader import head, load, record, snapshot_of


def change(
    key: bytes = b"k",
    previous: bytes = b"",
    *,
    revision: int = 2,
    clock_ms: int = 500_000,
    flags: int | None = None,
) -> bytes:
    """A change of user `u` at address `here`."""
    if flags is None:
        flags = FLAG_PREVIOUS if previous else 0
    return CHANGE.pack(flags, revision, clock_ms, 7, 1, 4, len(key)) + b"uhere" + key + previous


def before(value: bytes = b"old", *, create: int = 1, modify: int = 1, version: int = 1) -> bytes:
    return PREVIOUS.pack(create, modify, version, 0, 1, len(value)) + b"w" + value


ONE_KEY = record(b"k", b"v", create=1, modify=2, version=2)


def with_changes(*changes: bytes, keys: bytes = ONE_KEY, history_bytes: int = 4, compacted: int = 1) -> bytes:
    size = 2 if keys else 0
    counts = {"change_count": len(changes), "history_bytes": history_bytes, "compacted_revision": compacted}
    return head(key_count=bool(keys), bytes_total=size, **counts) + keys + b"".join(changes)


def test_a_good_history_made_by_hand() -> None:
    """The cases below are refused for what they are about, since without it they would be accepted."""
    snapshot = with_changes(change(previous=before()))
    machine = load(snapshot)
    assert snapshot_of(machine) == snapshot
    (held,) = machine.history.held()
    assert held == (2, b"k", (1, 1, 1, 0, b"w", b"old"), machine._store.get(b"k"), False, 7, b"u", b"here", 500_000)
    both = with_changes(
        change(previous=before(b"", create=3, modify=3), revision=9, flags=FLAG_PREVIOUS | FLAG_BY_LEASE),
        change(revision=3, clock_ms=1),
        change(previous=before(b"", modify=1), revision=2, clock_ms=0),
        keys=b"",
        history_bytes=3,
    )
    machine = load(both)
    assert [each[3] and each[3][:3] for each in machine.history.held()] == [None, (3, 3, 1), None]
    assert list(machine.history.absent_keys) == [b"k"]
    assert snapshot_of(machine) == both


@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [
        (with_changes(change(previous=before()), history_bytes=5), "4 bytes of changes"),
        (with_changes(history_bytes=1), "0 bytes of changes"),
        (with_changes(history_bytes=0, compacted=10), "up to 10"),
        (with_changes(change(previous=before(), flags=5)), "flags 0x5"),
        (with_changes(change(previous=before()), compacted=2), "revision 2 comes after one of 9"),
        (with_changes(change(previous=before(), revision=10)), "revision 10 comes after one of 9"),
        (with_changes(change(previous=before(), clock_ms=500_001)), "500001 ms comes after"),
        (with_changes(change(b"", before())), "key of 0 bytes"),
        (with_changes(change(b"k" * 4097, before())), "key of 4097 bytes"),
        (with_changes(change(previous=before(), revision=3)), "did not make"),
        (with_changes(change(b"other")), "did not make"),
        (with_changes(change(previous=before(modify=2))), "before revision 2"),
        (with_changes(change(previous=before(create=0))), "before revision 2"),
        (with_changes(change(previous=before(create=2))), "before revision 2"),
        (with_changes(change(previous=before(version=0))), "before revision 2"),
        (
            with_changes(
                change(b"x", before(create=4, modify=4), revision=5), change(previous=before(), revision=6), keys=b""
            ),
            "revision 6 comes after one of 5",
        ),
        (
            with_changes(change(b"x", before(create=4, modify=4), revision=5), change(b"x", revision=3), keys=b""),
            "did not make",
        ),
    ],
)
def test_what_no_history_can_have_is_refused(snapshot: bytes, reason: str) -> None:
    """Order, bounds and totals, and that each change makes of its key what is there after it."""
    with pytest.raises(DecodeError, match=reason):
        load(snapshot)


@pytest.mark.parametrize(
    "start",
    [
        CHANGE.pack(0, 2, 1, 7, 1, 4, 4097),
        change(flags=FLAG_PREVIOUS) + PREVIOUS.pack(1, 1, 1, 0, 1, (1 << 20) + 1),
    ],
)
def test_a_length_is_refused_before_its_bytes_come(start: bytes) -> None:
    """Nothing is gathered for a key or a value that may not be that long (pitfall 34)."""
    with pytest.raises(DecodeError):
        SnapshotLoader().feed(with_changes(start))


@pytest.mark.parametrize("more", [0, 1])
def test_a_previous_value_is_as_long_as_a_value_may_be(more: int) -> None:
    """And no longer: it was one."""
    value = bytes(VALUE_BYTES_MAX + more)
    snapshot = with_changes(change(previous=before(value)), history_bytes=1 + len(value))
    if more:
        with pytest.raises(DecodeError, match="a previous value of"):
            load(snapshot)
    else:
        assert snapshot_of(load(snapshot)) == snapshot
