"""The lease table: ids, owners, keys and bounds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.kv import leases as leases_module
from raftd.kv.leases import Lease, LeaseTable
from raftd.kv.limits import Limits
from raftd.kv.types import LeaseId

LIMITS = Limits(leases_max=5, leases_per_user_max=3, keys_per_lease_max=2, lease_ttl_ms_min=10, lease_ttl_ms_max=90)


def test_a_time_to_live_is_brought_into_bounds() -> None:
    """0 asks for the default, and what is too short or too long becomes the bound."""
    table = LeaseTable(Limits())
    granted = [table.grant(LeaseId(at + 1), b"u", ttl_ms) for at, ttl_ms in enumerate((0, 1, 5000, 1 << 31))]
    assert [lease and lease.ttl_ms for lease in granted] == [60_000, 1000, 5000, 7 * 24 * 3_600_000]


def test_leases_have_limits() -> None:
    """One user's and all users'; one that ends makes room."""
    table = LeaseTable(LIMITS)
    mine = [table.grant(LeaseId(number), b"u", 0) for number in (1, 2, 3)]
    assert table.grant(LeaseId(4), b"u", 0) is None
    assert table.grant(LeaseId(5), b"v", 0) is not None
    assert table.grant(LeaseId(6), b"v", 0) is not None
    assert table.grant(LeaseId(7), b"w", 0) is None
    assert mine[0] is not None
    table.remove(mine[0])
    assert table.grant(LeaseId(8), b"w", 0) is not None
    assert len(table) == 5


def test_a_user_s_leases_that_are_over_count_no_more() -> None:
    """However many there were; and of who has none nothing is kept."""
    table = LeaseTable(LIMITS)
    for number in range(1, 20):
        lease = table.grant(LeaseId(number), b"u", 0)
        assert lease is not None
        table.remove(lease)
    assert table._leases_of == {}


def test_a_lease_is_its_owner_s() -> None:
    """Another user's lease and one that never was cannot be told apart."""
    table = LeaseTable(LIMITS)
    table.grant(LeaseId(4), b"u", 0)
    assert table.of_user(LeaseId(4), b"u") is table.get(LeaseId(4)) is not None
    assert table.of_user(LeaseId(4), b"v") is None
    assert table.of_user(LeaseId(5), b"u") is None


def test_keys_are_counted() -> None:
    """Of one lease against its bound, and of all together."""
    table = LeaseTable(LIMITS)
    lease = table.grant(LeaseId(1), b"u", 0)
    assert lease is not None
    assert table.has_room(lease, 2)
    table.attach(LeaseId(1), b"a")
    assert not table.has_room(lease, 2)
    table.attach(LeaseId(1), b"b")
    assert not table.has_room(lease, 1)
    assert (table.key_total, lease.keys) == (2, {b"a", b"b"})
    table.detach(LeaseId(1), b"a")
    assert (table.key_total, lease.keys) == (1, {b"b"})


@given(kept=st.lists(st.tuples(st.booleans(), st.sampled_from([b"u", b"v"])), max_size=400), after=st.integers(0, 401))
@settings(deadline=None, max_examples=50)
def test_new_leases_are_found_by_id(kept: list[tuple[bool, bytes]], after: int) -> None:
    """Whatever came and went before, and however many, ids above a given one come ascending, and no ended one.

    So do those of each user, without the others'.
    """
    table = LeaseTable(Limits())
    model: list[tuple[int, bytes]] = []
    for number, (stays, user) in enumerate(kept, 1):
        lease = table.grant(LeaseId(number), user, 0)
        assert lease is not None
        if stays:
            model.append((number, user))
        else:
            table.remove(lease)
    assert list(table.ids_after(after)) == [number for number, _ in model if number > after]
    for user in (b"u", b"v", b"nobody"):
        assert list(table.ids_after(after, user)) == [each for each, whose in model if each > after and whose == user]
    assert [lease.lease_id for lease in table] == [number for number, _ in model]


def test_ids_of_leases_that_are_over_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where leases come and go for years, few are there at any time: whoever looks for the next passes over few."""
    monkeypatch.setattr(leases_module, "_GONE_SLACK", 20)
    table = LeaseTable(Limits())
    first = [table.grant(LeaseId(number), b"u", 0) for number in range(1, 81)]
    for number in range(81, 700):
        lease = table.grant(LeaseId(number), b"u", 0)
        assert lease is not None
        table.remove(lease)
        for ids in (table._all.ids, table._leases_of[b"u"].ids):
            assert len(ids) <= len(table) + len(table) // 8 + 20
        assert list(table.ids_after(0, b"u")) == [each.lease_id for each in first if each is not None]
    assert table.grant(LeaseId(700), b"u", 0) is not None
    assert list(table.ids_after(80)) == list(table.ids_after(80, b"u")) == [700]


def test_the_leases_of_others_are_not_gone_over() -> None:
    """A user with few leases among many is told of them as fast as if there were no others."""
    table = LeaseTable(Limits())
    for number in range(1, 3000):
        assert table.grant(LeaseId(number), b"many" if number % 1000 else b"few", 0) is not None
    looked_at: list[int] = []

    class Watched(dict[LeaseId, Lease]):
        def __contains__(self, lease_id: object) -> bool:
            assert isinstance(lease_id, int)
            looked_at.append(lease_id)
            return super().__contains__(lease_id)

    table._all.leases = Watched(table._all.leases)
    table._leases_of[b"few"].leases = Watched(table._leases_of[b"few"].leases)
    assert list(table.ids_after(0, b"few")) == looked_at == [1000, 2000]
    assert list(table.ids_after(0, b"none")) == []
