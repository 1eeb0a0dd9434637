"""Commands, answers and changes to test with: strategies that make any of them, and a few made by hand."""

from hypothesis import strategies as st

from raftd.kv.changes import Change
from raftd.kv.operations import (
    I64_MAX,
    U32_MAX,
    U64_MAX,
    Compare,
    CompareTarget,
    Delete,
    DeleteRange,
    Fence,
    Get,
    Increment,
    Operation,
    Put,
    Range,
    Relation,
    Transaction,
    Write,
)
from raftd.kv.queries import HistoryQuery, LeaseQuery, LeasesQuery, Query, RangeQuery
from raftd.kv.types import LeaseId, Record, Revision

u64 = st.integers(0, U64_MAX)
u32 = st.integers(0, U32_MAX)
keys = st.binary(min_size=1, max_size=12)
values = st.binary(max_size=12)
bounds = st.binary(max_size=12)
names = st.binary(max_size=12)
revisions = u64.map(Revision)
leases = st.integers(1, U64_MAX).map(LeaseId)
maybe_leases = st.just(LeaseId(0)) | leases

records: st.SearchStrategy[Record] = st.tuples(revisions, revisions, u64, maybe_leases, names, values)

number_targets = st.sampled_from([target for target in CompareTarget if target is not CompareTarget.VALUE])
compares = st.builds(Compare, number_targets, st.sampled_from(Relation), keys, u64) | st.builds(
    Compare, st.just(CompareTarget.VALUE), st.sampled_from(Relation), keys, values
)
ranges = st.builds(Range, bounds, bounds, u32, st.booleans(), st.booleans())
deltas = st.integers(-I64_MAX - 1, I64_MAX)
delete_limits = st.integers(1, 10_000)

inner_writes = (
    st.builds(Put, keys, values, maybe_leases, st.none(), st.none(), st.booleans())
    | st.builds(Delete, keys, st.none(), st.none(), st.booleans())
    | st.builds(Increment, keys, deltas, st.none())
    | st.builds(DeleteRange, bounds, bounds, delete_limits, st.booleans())
)
single_operations = st.builds(Get, keys) | ranges | inner_writes
single_lists = st.lists(single_operations, max_size=4).map(tuple)
compare_lists = st.lists(compares, max_size=4).map(tuple)
nested = st.builds(Transaction, compare_lists, single_lists, single_lists)
operation_lists: st.SearchStrategy[tuple[Operation, ...]] = st.lists(single_operations | nested, max_size=4).map(tuple)
transactions = st.builds(Transaction, compare_lists, operation_lists, operation_lists)

maybe_revisions = st.none() | revisions
maybe_values = st.none() | values
single_writes = (
    st.builds(Put, keys, values, maybe_leases, maybe_revisions, maybe_values, st.booleans())
    | st.builds(Delete, keys, maybe_revisions, maybe_values, st.booleans())
    | st.builds(Increment, keys, deltas, maybe_revisions)
    | st.builds(DeleteRange, bounds, bounds, delete_limits, st.booleans())
)
fences = st.none() | st.builds(Fence, keys, revisions)
writes = st.builds(Write, single_writes | transactions, fences)

queries: st.SearchStrategy[Query] = (
    st.builds(Get, keys)
    | st.builds(RangeQuery, ranges, maybe_revisions)
    | st.builds(HistoryQuery, keys, u32, revisions, st.booleans())
    | st.builds(LeaseQuery, leases)
    | st.builds(LeasesQuery, maybe_leases, u32)
)


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """Any change: a creation, an overwriting, a deletion."""
    before, after = draw(
        st.tuples(st.none(), records) | st.tuples(records, records) | st.tuples(records, st.none()),
    )
    by_lease = after is None and draw(st.booleans())
    return Change(draw(revisions), draw(keys), before, after, by_lease, draw(u64), draw(names), draw(names))


mutations = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=3)


def mutated(data: bytes, places: list[tuple[int, int]], tail: bytes = b"") -> bytes:
    """The data with some bytes replaced, and with a tail."""
    damaged = bytearray(data + tail)
    for offset, byte in places:
        if damaged:
            damaged[offset % len(damaged)] = byte
    return bytes(damaged)


WRITES = [
    Write(Put(b"k", b"v", LeaseId(7), Revision(3), b"old", previous=True), Fence(b"lock", Revision(2))),
    Write(Delete(b"k", Revision(3), b"old", previous=True), Fence(b"lock", Revision(2))),
    Write(Increment(b"n", -1, Revision(3)), Fence(b"lock", Revision(2))),
    Write(DeleteRange(b"a", b"b", 10, previous=True), Fence(b"lock", Revision(2))),
    Write(
        Transaction(
            (
                Compare(CompareTarget.VERSION, Relation.EQUAL, b"k", 0),
                Compare(CompareTarget.VALUE, Relation.LESS, b"k", b"v"),
            ),
            (
                Get(b"k"),
                Range(b"a", b"b", 5, keys_only=True),
                Put(b"k", b"v", LeaseId(7), previous=True),
                Delete(b"k", previous=True),
                Increment(b"n", 1),
                DeleteRange(b"a", b"b", 10, previous=True),
            ),
            (Transaction((), (Get(b"k"),), (Delete(b"k"),)),),
        ),
        Fence(b"lock", Revision(2)),
    ),
]
"""One of each, with all that it may have."""
