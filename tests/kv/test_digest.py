"""The digest: it shows everything that two machines can differ in, and nothing else."""

import pytest

from tests.kv.test_machine import ONE
from tests.kv.test_machine_totality import LEASE, VALID, populated


def test_the_digest_does_not_depend_on_the_order_of_arrival() -> None:
    """The same contents in dicts of another order have the same digest."""
    driver, twin = populated(), populated()
    store, sessions = twin.machine._store, twin.machine._sessions
    store._shards = [dict(reversed(shard.items())) for shard in store._shards]
    sessions._sessions = dict(reversed(sessions._sessions.items()))
    for session in sessions._sessions.values():
        session.answers = dict(reversed(session.answers.items()))
    assert driver.machine.digest() == twin.machine.digest()


@pytest.mark.parametrize("data", VALID)
def test_the_digest_shows_every_change(data: bytes) -> None:
    """Two machines that differ in the effect of one command, and in nothing else, have different digests."""
    driver, twin = populated(), populated()
    driver.raw(data)
    twin.machine.skip(driver.machine.last_applied)
    twin.machine.state_hash = driver.machine.state_hash
    assert driver.machine.digest() != twin.machine.digest()


def test_the_digest_shows_when_a_session_was_active() -> None:
    """Machines that would let a session expire at different times have different digests."""
    driver, twin = populated(), populated()
    for each in (driver, twin):
        each.advance_clock(1)
    assert driver.machine.digest() == twin.machine.digest()
    twin.machine._sessions.touch(ONE, b"alice", 0)
    assert driver.machine.digest() != twin.machine.digest()


def test_the_digest_shows_whose_and_what_everything_is() -> None:
    """Lengths and counts are not enough: another user's session, answer or lease is another state."""
    driver, twin = populated(), populated()
    expected = driver.machine.digest()
    session, lease = twin.machine._sessions._sessions[ONE], twin.machine.leases.get(LEASE)
    assert lease is not None
    sequence, answer = next(iter(session.answers.items()))
    assert twin.machine.digest() == expected
    for owner, user in ((session, session.user), (lease, lease.user)):
        owner.user = user[::-1]
        assert twin.machine.digest() != expected
        owner.user = user
    session.answers[sequence] = answer[::-1]
    assert twin.machine.digest() != expected
    session.answers[sequence] = answer
    lease.ttl_ms += 1
    assert twin.machine.digest() != expected
    lease.ttl_ms -= 1
    assert twin.machine.digest() == expected


def test_the_digest_shows_what_a_history_holds() -> None:
    """Machines that differ only in which changes they hold have different digests."""
    driver, twin = populated(), populated()
    history = twin.machine.history
    history._let_go(history._changes[-1][0], len(history) - 1, 1 << 30, 0)
    assert driver.machine.digest() != twin.machine.digest()


def test_the_digest_shows_which_keys_a_lease_has() -> None:
    """Though they are the records' to say: a lease that had others would end others."""
    driver, twin = populated(), populated()
    twin.machine.leases.detach(LEASE, b"leased")
    assert driver.machine.digest() != twin.machine.digest()


def test_the_digest_shows_which_keys_are_gone_and_have_a_history() -> None:
    """Though that is the changes' to say: a range in the past would show others."""
    driver, twin = populated(), populated()
    twin.machine.history.absent_keys.add(b"never there")
    assert driver.machine.digest() != twin.machine.digest()
