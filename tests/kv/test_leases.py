"""The lease table: ids, owners, keys and bounds."""

from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.kv.leases import LeaseTable
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


@given(kept=st.lists(st.booleans(), max_size=400), after=st.integers(0, 401))
@settings(deadline=None, max_examples=50)
def test_new_leases_are_found_by_id(kept: list[bool], after: int) -> None:
    """Whatever came and went before, and however many, ids above a given one come ascending, and no ended one."""
    table = LeaseTable(Limits())
    model = []
    for number, stays in enumerate(kept, 1):
        lease = table.grant(LeaseId(number), b"u", 0)
        assert lease is not None
        if stays:
            model.append(number)
        else:
            table.remove(lease)
    assert list(table.ids_after(after)) == [number for number in model if number > after]
    assert [lease.lease_id for lease in table] == model
    assert len(table._ids) <= 2 * len(model) + 65


def test_ids_of_leases_that_are_over_do_not_pile_up() -> None:
    """Where leases come and go for years, few are there at any time."""
    table = LeaseTable(Limits())
    first = table.grant(LeaseId(1), b"u", 0)
    assert first is not None
    for number in range(2, 500):
        lease = table.grant(LeaseId(number), b"u", 0)
        assert lease is not None
        table.remove(lease)
        assert len(table._ids) <= 2 * len(table) + 65
        assert list(table.ids_after(0)) == [1]
    assert table.grant(LeaseId(500), b"u", 0) is not None
    assert list(table.ids_after(1)) == [500]
