"""Leases in the state machine, and what would make it grow."""

import pytest

from raftd.kv import answers, commands
from raftd.kv.answers import Outcome
from raftd.kv.commands import SessionId, Write
from raftd.kv.limits import Limits
from raftd.kv.operations import (
    Compare,
    CompareTarget,
    Delete,
    DeleteRange,
    Fence,
    Get,
    Increment,
    Put,
    Range,
    Relation,
    Transaction,
    WriteOperation,
)
from raftd.kv.types import LeaseId, Revision
from tests.kv.test_execution import Writer
from tests.kv.test_machine import ONE

BOB = SessionId(2)


@pytest.fixture
def writer() -> Writer:
    """Alice's; bob has a session too."""
    writer = Writer()
    assert writer.driver.open(user="bob") == BOB
    return writer


def keys(writer: Writer) -> list[bytes]:
    return [key for key, _ in writer.driver.machine._store]


def test_keys_end_with_their_lease(writer: Writer) -> None:
    """Those whose last write named it: in one revision, in byte order, told apart from deletes by hand."""
    lease = writer.lease()
    for key in (b"c", b"a", b"b", b"freed", b"deleted"):
        writer.write(Put(key, b"", lease))
    writer.write(Put(b"freed", b""))
    writer.write(Delete(b"deleted"))
    writer.write(Increment(b"n", 1))
    writer.sequence += 1
    answer = writer.driver.ask(commands.lease_revoke(ONE, writer.sequence, writer.sequence, lease))
    assert (answer.outcome, answer.revision, answers.decode_lease_revoke(answer.body)) == (Outcome.OK, 9, 3)
    assert keys(writer) == [b"freed", b"n"]
    ended = writer.driver.machine.history.held()[-3:]
    assert [(each[0], each[1], each[4], each[6]) for each in ended] == [
        (9, key, True, b"alice") for key in (b"a", b"b", b"c")
    ]
    assert (len(writer.driver.machine.leases), writer.driver.machine.leases.key_total) == (0, 0)
    writer.refused(Outcome.LEASE_NOT_FOUND, Put(b"late", b"", lease))


def test_a_lease_is_its_owner_s(writer: Writer) -> None:
    """Another user neither puts keys on it nor revokes it, but may write its keys, and takes them off it so."""
    lease = writer.lease()
    writer.write(Put(b"k", b"", lease))
    driver = writer.driver
    assert driver.ask(commands.lease_revoke(BOB, 1, 1, lease), "bob").outcome is Outcome.LEASE_NOT_FOUND
    put = commands.write(BOB, 2, 2, Write(Put(b"other", b"", lease)))
    assert driver.ask(put, "bob").outcome is Outcome.LEASE_NOT_FOUND
    assert driver.ask(commands.write(BOB, 3, 3, Write(Increment(b"k", 1))), "bob").outcome is Outcome.NOT_A_NUMBER
    assert driver.machine.leases.key_total == 1
    assert driver.ask(commands.put(BOB, 4, 4, b"k", b"mine"), "bob").outcome is Outcome.OK
    assert driver.machine.leases.key_total == 0


@pytest.mark.parametrize(("keys_max", "lefts"), [(5, (6, 3, 0)), (6, (3, 0))])
def test_one_command_expires_only_so_many_keys(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, keys_max: int, lefts: tuple[int, ...]
) -> None:
    """However many have come to the leases since the leader looked; it names those that are left once more."""
    monkeypatch.setattr("raftd.kv.machine.EXPIRED_KEYS_MAX", keys_max)
    leases = [writer.lease() for _ in range(3)]
    for number in range(9):
        writer.write(Put(b"%d" % number, b"", leases[number // 3]))
    named = commands.expire_leases(leases)
    for left in lefts:
        assert writer.driver.ask(named, user="").outcome is Outcome.OK
        assert (len(keys(writer)), writer.driver.machine.leases.key_total) == (left, left)
    assert len(writer.driver.machine.leases) == 0


def test_leases_expire_by_a_server_s_command_only(writer: Writer) -> None:
    """All their keys in one revision; one that is over already or never was does not matter (pitfall 25)."""
    first, second, third = writer.lease(), writer.lease(), writer.lease()
    for key, lease in ((b"z", first), (b"b", second), (b"a", first), (b"stays", third)):
        writer.write(Put(key, b"", lease))
    named = commands.expire_leases([LeaseId(1), first, second, LeaseId(99)])
    assert writer.driver.ask(named, "mallory").outcome is Outcome.INVALID
    for _ in range(10):
        writer.driver.advance_clock(20_000)
    assert len(keys(writer)) == 4
    assert writer.driver.ask(named, "") == (Outcome.OK, 3, 5, b"")
    assert keys(writer) == [b"stays"]
    ended = writer.driver.machine.history.held()[-3:]
    assert [(each[0], each[1], each[4], each[6]) for each in ended] == [
        (5, key, True, b"") for key in (b"a", b"b", b"z")
    ]
    assert writer.driver.ask(named, "") == (Outcome.OK, 3, 5, b"")
    assert [lease.lease_id for lease in writer.driver.machine.leases] == [third]


def test_granting_and_revoking_happen_once(writer: Writer) -> None:
    """A retry gets the first answer, and no second lease."""
    grant = commands.lease_grant(ONE, 7, 1, 5000)
    first = writer.driver.send(grant)
    assert writer.driver.send(grant) == first
    lease, ttl_ms = answers.decode_lease_grant(answers.decode(first).body)
    assert (len(writer.driver.machine.leases), ttl_ms) == (1, 5000)
    revoke = commands.lease_revoke(ONE, 8, 1, lease)
    assert writer.driver.send(revoke) == writer.driver.send(revoke)
    assert len(writer.driver.machine.leases) == 0


def test_leases_have_limits() -> None:
    """Of all, of one user, and of keys on one: answers, and nothing changed."""
    writer = Writer(Limits(leases_max=3, leases_per_user_max=2, keys_per_lease_max=2))
    driver, lease = writer.driver, writer.lease()
    for key in (b"a", b"b", b"a"):
        assert writer.write(Put(key, b"", lease)).outcome is Outcome.OK
    writer.refused(Outcome.LEASE_LIMIT, Put(b"c", b"", lease))
    writer.lease()
    assert driver.ask(commands.lease_grant(ONE, 20, 20)).outcome is Outcome.LEASE_LIMIT
    bob = driver.open(user="bob")
    assert driver.ask(commands.lease_grant(bob, 1, 1), "bob").outcome is Outcome.OK
    assert driver.ask(commands.lease_grant(bob, 2, 2), "bob").outcome is Outcome.LEASE_LIMIT


@pytest.mark.parametrize(
    ("operation", "grows"),
    [
        (Put(b"k", b"four"), False),
        (Put(b"k", b"five5"), True),
        (Put(b"new", b""), True),
        (Put(b"k", b"longer than it is", expected_revision=Revision(9)), False),
        (Put(b"k", b"longer than it is", expected_value=b"no"), False),
        (Put(b"new", b"", LeaseId(3)), True),
        (Put(b"new", b"", LeaseId(99)), False),
        (Delete(b"k"), False),
        (DeleteRange(b"", b""), False),
        (Increment(b"n", 1), False),
        (Increment(b"n", 1000), True),
        (Increment(b"k", 1), False),
        (Transaction((), (Delete(b"k"), Put(b"l", b"four"))), False),
        (Transaction((), (Delete(b"k"), Put(b"l", b"five5"))), True),
        (Transaction((), (Put(b"new", b""), Delete(b"k"))), False),
        (Transaction((), (Put(b"new", b""), Increment(b"k", 1))), False),
    ],
)
def test_what_grows(writer: Writer, operation: WriteOperation, grows: bool) -> None:
    """A write that would leave more keys or more bytes than there are; asking changes nothing."""
    assert writer.lease() == LeaseId(3)
    writer.write(Put(b"k", b"four"))
    writer.write(Put(b"n", b"5"))
    digest = writer.driver.machine.digest()
    command = commands.write(ONE, 9, 9, Write(operation))
    assert writer.driver.machine.grows(b"head" + command, 4) == grows
    assert writer.driver.machine.grows(commands.write(ONE, 9, 9, Write(operation, Fence(b"k", Revision(9))))) is False
    assert writer.driver.machine.digest() == digest


@pytest.mark.parametrize(
    ("operation", "takes_room"),
    [
        (Delete(b"k"), False),
        (DeleteRange(b"", b""), False),
        (Put(b"k", b"FOUR", previous=True), True),
        (Put(b"k", b"3rd", previous=True), False),
        (Increment(b"n", 1), True),
        (Increment(b"k", 1), True),
        (Transaction((), (Get(b"k"), DeleteRange(b"x", b"y"))), True),
        (Transaction((Compare(CompareTarget.VALUE, Relation.EQUAL, b"k", b"no"),), (Delete(b"k"),)), True),
        (Transaction((), (Delete(b"k"), Put(b"l", b"four"))), True),
        (Transaction((), (Delete(b"k"), Put(b"l", b"3rd"))), False),
        (Transaction((), (Delete(b"k"), Put(b"l", b""), Put(b"m", b""))), False),
    ],
)
def test_what_takes_room_in_the_log_and_gives_none_back(
    writer: Writer, operation: WriteOperation, takes_room: bool
) -> None:
    """What overwrites as much as it writes does, and so does what fails or changes nothing: only less is less."""
    writer.write(Put(b"k", b"four"))
    writer.write(Put(b"n", b"5"))
    assert writer.driver.machine.grows(commands.write(ONE, 9, 9, Write(operation)), or_stays=True) == takes_room
    for value, plainly in ((b"3rd", False), (b"four", True), (b"five5", True)):
        assert writer.driver.machine.grows(commands.put(ONE, 9, 9, b"k", value), or_stays=True) == plainly


def test_what_hinges_on_others_that_are_under_way(writer: Writer) -> None:
    """A transaction that puts something, and what cannot be done now; not what overwrites, deletes or reads."""
    machine = writer.driver.machine
    writer.write(Put(b"k", b"1"))
    nested = Transaction((), (Get(b"k"), Transaction((), (), (Increment(b"k", 1),))))
    hinging: tuple[WriteOperation, ...] = (
        nested,
        Transaction((), (Delete(b"n"), Put(b"k", b""))),
        Put(b"k", b"", lease=LeaseId(99)),
    )
    for operation in hinging:
        assert machine.hinges(b"head" + commands.write(ONE, 9, 9, Write(operation)), 4)
    for revision in (0, 99):
        assert machine.hinges(commands.put(ONE, 9, 9, b"k", b"", expected_revision=Revision(revision)))
    assert not machine.hinges(commands.put(ONE, 9, 9, b"k", b"", expected_revision=machine.revision))
    others: tuple[WriteOperation, ...] = (
        Put(b"k", b"", previous=True),
        Increment(b"k", 1),
        Transaction((), (Get(b"k"), Delete(b"k"), Transaction((), (Range(b"", b""), DeleteRange(b"", b""))))),
    )
    for operation in others:
        command = commands.write(ONE, 9, 9, Write(operation))
        assert not machine.hinges(command)
        assert machine.hinges(command, or_stays=True) == isinstance(operation, Transaction)
    put = commands.put(ONE, 9, 9, b"k", b"")
    deletions = [commands.write(ONE, 9, 9, Write(each)) for each in (Delete(b"k"), DeleteRange(b"", b""))]
    deletions.append(commands.delete(ONE, 9, 9, b"k", expected_revision=Revision(3)))
    for command in (put, *deletions, commands.open_session(), commands.lease_grant(ONE, 5, 5), b"", b"\x10"):
        assert not machine.hinges(command)
    done = commands.write(ONE, 9, 9, Write(Put(b"k", b"", previous=True)))
    writer.driver.send(done)
    assert not machine.hinges(done)


def test_what_was_done_does_not_grow(writer: Writer) -> None:
    """A retry is answered, whatever it once did; no other command grows; nor do bytes that are none."""
    put = commands.put(ONE, 1, 1, b"k", b"")
    assert writer.driver.machine.grows(put)
    writer.driver.send(put)
    writer.driver.send(commands.delete(ONE, 2, 1, b"k"))
    assert not writer.driver.machine.grows(put)
    assert writer.driver.machine.grows(commands.put(ONE, 3, 1, b"k", b""))
    for command in (commands.open_session(), commands.lease_grant(ONE, 5, 5), b"", b"\x10"):
        assert not writer.driver.machine.grows(command)
