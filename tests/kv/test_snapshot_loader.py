"""Loading a snapshot: cut anywhere, and with nothing accepted that is not one."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus.types import LogIndex, Term
from raftd.errors import DecodeError
from raftd.kv import commands
from raftd.kv.commands import SessionId, Stamp
from raftd.kv.limits import Limits
from raftd.kv.machine import StateMachine
from raftd.kv.snapshot import ANSWER, HEAD, LEASE, RECORD, SESSION
from raftd.kv.snapshot_loader import SnapshotLoader

HEAD_FIELDS = ["magic", "version", "last_applied", "revision", "clock_ms", "expired_total", "state_hash"]
HEAD_FIELDS += ["session_count", "answer_bytes", "lease_count", "key_count", "bytes_total", "compacted_revision"]
HEAD_FIELDS += ["change_count", "history_bytes"]


def machine_with(keys: int) -> StateMachine:
    machine = StateMachine()
    send(machine, commands.open_session())
    send(machine, commands.open_session(), "bob")
    for number in range(keys):
        send(machine, commands.put(SessionId(1), number + 1, max(1, number), b"k%02d" % number, b"v" * number))
    send(machine, commands.advance_clock(1000), "")
    return machine


def send(machine: StateMachine, command: bytes, user: str = "alice") -> None:
    machine.apply(LogIndex(machine.last_applied + 1), Term(1), Stamp(user).at(0) + command)


def snapshot_of(machine: StateMachine) -> bytes:
    piece = machine.begin_snapshot().read(1 << 30)
    assert piece is not None
    return piece


def load(*pieces: bytes, limits: Limits | None = None) -> StateMachine:
    loader = SnapshotLoader(limits)
    for piece in pieces:
        loader.feed(piece)
    return loader.finish()


def head(**changes: object) -> bytes:
    """The head of an otherwise empty snapshot."""
    fields: dict[str, object] = dict.fromkeys(HEAD_FIELDS, 0)
    fields |= {"magic": b"raftd-kv", "version": 2, "last_applied": 20, "revision": 9, "clock_ms": 500_000}
    return HEAD.pack(*(fields | changes).values())


def session(
    number: int = 5, *, ttl_ms: int = 10_000, active_ms: int = 500_000, mark: int = 3, answers: int = 0
) -> bytes:
    return SESSION.pack(number, ttl_ms, active_ms, mark, 1, answers) + b"u"


def answer(sequence: int, data: bytes = b"yes") -> bytes:
    return ANSWER.pack(sequence, len(data)) + data


def record(
    key: bytes = b"k", value: bytes = b"v", *, create: int = 1, modify: int = 2, version: int = 1, lease: int = 0
) -> bytes:
    return RECORD.pack(create, modify, version, lease, 1, len(key), len(value)) + b"u" + key + value


def lease(number: int = 5, ttl_ms: int = 1000) -> bytes:
    return LEASE.pack(number, ttl_ms, 1) + b"u"


def test_pieces_may_be_cut_anywhere() -> None:
    """At every single place, and at all of them."""
    machine = machine_with(8)
    send(machine, commands.lease_grant(SessionId(1), 9, 9, 5000))
    send(machine, commands.lease_grant(SessionId(2), 1, 1, 7000), "bob")
    snapshot = snapshot_of(machine)
    digest = machine.digest()
    for cut in range(len(snapshot)):
        assert load(snapshot[:cut], snapshot[cut:]).digest() == digest
    assert load(*(snapshot[at : at + 1] for at in range(len(snapshot)))).digest() == digest


@pytest.mark.parametrize(
    "snapshot",
    [
        head(session_count=2) + session(5) + session(6),
        head(session_count=1, answer_bytes=6) + session(answers=2) + answer(3) + answer(6),
        head(lease_count=2) + lease(5) + lease(6),
        head(key_count=2, bytes_total=5) + record() + record(b"kk", create=9, modify=9),
    ],
    ids=["sessions", "answers", "leases", "keys"],
)
def test_nothing_more_is_waited_for_than_the_item_that_was_cut(snapshot: bytes) -> None:
    """Also where it is the last one, and others came with its beginning."""
    expected = load(snapshot).digest()
    for cut in range(len(snapshot)):
        assert load(snapshot[:cut], snapshot[cut:]).digest() == expected


def test_order_is_checked_across_pieces() -> None:
    """What came last is remembered when the next piece comes."""
    loader = SnapshotLoader()
    loader.feed(head(key_count=2, bytes_total=4) + record())
    with pytest.raises(DecodeError, match="comes after"):
        loader.feed(record())


def test_a_long_item_is_put_together_once() -> None:
    """A value that comes in many pieces is not copied again with each of them."""
    loader = SnapshotLoader()
    start = head(key_count=1, bytes_total=1001)
    whole = record(value=bytes(1000))
    loader.feed(start + whole[:50])
    for at in range(50, 1000, 10):
        loader.feed(whole[at : at + 10])
    assert len(loader._pieces) == 1 + 95
    loader.feed(whole[1000:])
    assert loader.finish().get(b"k") == bytes(1000)


def test_every_truncation_and_every_addition_is_refused() -> None:
    """A snapshot is whole or none."""
    snapshot = snapshot_of(machine_with(8))
    for end in range(len(snapshot)):
        with pytest.raises(DecodeError):
            load(snapshot[:end])
    with pytest.raises(DecodeError, match="follow the end"):
        load(snapshot, b"\0")
    with pytest.raises(DecodeError, match="follow the end"):
        load(snapshot + b"\0")


def test_a_good_snapshot_made_by_hand() -> None:
    """The cases below are refused for what they are about, since without it they would be accepted."""
    load(head())
    machine = load(
        head(session_count=2, answer_bytes=6, key_count=2, bytes_total=5),
        session(5, answers=2) + answer(3) + answer(6) + session(6, active_ms=0, ttl_ms=500_000),
        record() + record(b"kk", create=9, modify=9),
        limits=Limits(in_flight_max=4),
    )
    assert (machine.session_count, machine.answer_bytes, machine.key_count, machine.bytes_total) == (2, 6, 2, 5)


@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [
        (head(magic=b"raftd-KV"), "not the snapshot"),
        (head(version=1), "format 1"),
        (head(version=3), "format 3"),
        (head(bytes_total=1), "0 bytes of keys"),
        (head(key_count=1, bytes_total=3) + record(), "2 bytes of keys"),
        (head(answer_bytes=1), "1 bytes fewer"),
        (head(session_count=1, answer_bytes=4) + session(answers=1) + answer(3), "1 bytes fewer"),
        (head(session_count=1, answer_bytes=2) + session(answers=1) + answer(3), "an answer of 3 bytes"),
        (head(session_count=5), "5 sessions, where 4"),
        (head(session_count=1) + session(0), "session 0 after 0"),
        (head(session_count=1) + session(21), "at index 20"),
        (head(session_count=2) + session(5) * 2, "session 5 after 5"),
        (head(session_count=2) + session(5) + session(4), "session 4 after 5"),
        (head(session_count=1) + session(active_ms=500_001), "in the future"),
        (head(session_count=1) + session(active_ms=0, ttl_ms=480_000), "is over"),
        (head(session_count=1) + session(mark=0), "from 0 on"),
        (head(session_count=1, answer_bytes=3) + session(answers=1) + answer(2), "sequence 2 after 2"),
        (head(session_count=1, answer_bytes=6) + session(answers=2) + answer(3) * 2, "sequence 3 after 3"),
        (head(session_count=1, answer_bytes=3) + session(answers=1) + answer(7), "sequence 7 after 2"),
        (head(lease_count=3), "3 leases, where 2"),
        (head(lease_count=1) + lease(0), "lease 0 after 0"),
        (head(lease_count=1) + lease(21), "at index 20"),
        (head(lease_count=2) + lease(5) * 2, "lease 5 after 5"),
        (
            head(lease_count=1, key_count=2, bytes_total=5) + lease() + record(lease=5) + record(b"kk", lease=5),
            "lease 5, which is not there or full",
        ),
        (head(key_count=1, bytes_total=2) + record(create=0), "impossible"),
        (head(key_count=1, bytes_total=2) + record(create=3), "impossible"),
        (head(key_count=1, bytes_total=2) + record(modify=10), "impossible"),
        (head(key_count=1, bytes_total=2) + record(version=0), "impossible"),
        (head(key_count=1, bytes_total=2) + record(lease=1), "lease 1, which is not there"),
        (head(key_count=1, bytes_total=1) + record(b""), "a key of 0 bytes"),
        (head(key_count=1, bytes_total=4098) + record(b"k" * 4097), "a key of 4097 bytes"),
        (head(key_count=2, bytes_total=4) + record() * 2, "comes after"),
        (head(key_count=2, bytes_total=4) + record(b"l") + record(b"k"), "comes after"),
    ],
)
def test_what_no_machine_can_be_in_is_refused(snapshot: bytes, reason: str) -> None:
    """Counts, totals, orders and bounds: each is checked, and said."""
    with pytest.raises(DecodeError, match=reason):
        load(snapshot, limits=Limits(in_flight_max=4, sessions_max=4, leases_max=2, keys_per_lease_max=1))


@pytest.mark.parametrize(
    "start",
    [
        head(session_count=1, answer_bytes=9) + session(answers=1) + struct.pack("<QI", 3, 10),
        head(key_count=1, bytes_total=1 << 30) + struct.pack("<QQQQBHI", 1, 1, 1, 0, 1, 1, (1 << 20) + 1),
        head(key_count=1, bytes_total=1 << 30) + struct.pack("<QQQQBHI", 1, 1, 1, 0, 1, 4097, 1),
    ],
)
def test_a_length_is_refused_before_its_bytes_come(start: bytes) -> None:
    """Nothing is gathered for an item that may not be that long (pitfall 34)."""
    with pytest.raises(DecodeError):
        SnapshotLoader().feed(start)


@given(data=st.data())
@settings(deadline=None, max_examples=300)
def test_damage_is_refused_or_makes_a_machine(data: st.DataObject) -> None:
    """Whatever is changed, the loader raises nothing but `DecodeError`, and what it accepts it would write so again."""
    snapshot = bytearray(snapshot_of(machine_with(5)))
    for _ in range(data.draw(st.integers(1, 3))):
        snapshot[data.draw(st.integers(0, len(snapshot) - 1))] = data.draw(st.integers(0, 255))
    try:
        machine = load(bytes(snapshot))
    except DecodeError:
        return
    assert snapshot_of(machine) == snapshot


@given(garbage=st.binary(max_size=200))
@settings(deadline=None)
def test_garbage_is_refused(garbage: bytes) -> None:
    """With a good head before it, too."""
    for start in (b"", head(session_count=3, answer_bytes=50, key_count=3, bytes_total=99)):
        with pytest.raises(DecodeError):
            load(start + garbage)
