"""Queries: what a read asks of the state machine, as bytes. All numbers are little-endian.

    opcode      query
    ----------  ------------------------------------------------------------------------------------------------------
    1  GET      key, to the end
    2  RANGE    flags u8 (1 KEYS_ONLY, 2 COUNT_ONLY, 4 AT_REVISION) | limit u32 | [revision u64] |
                low_length u16 | low | high_length u16 | high
    3  HISTORY  flags u8 (1 VALUES) | limit u32 | before_revision u64 | key_length u16 | key
    4  LEASE    lease u64, not 0
    5  LEASES   after u64 | limit u32

A limit of 0 asks for as many as fit into a page. With AT_REVISION a range is shown as it was at that revision, if it is
held still. A history has the changes below `before_revision`, 0: from the newest on. A list of leases has those whose
id is above `after`.

A query is valid if and only if it has these fields within their bounds (`raftd.kv.operations`), and nothing after them.
"""

import enum
from typing import Final, NamedTuple, TypeAlias, assert_never

from raftd.encoding.reader import Reader
from raftd.encoding.writer import Writer
from raftd.errors import DecodeError
from raftd.kv.operations import Get, Range, check_key, check_lease, check_limit, check_u64
from raftd.kv.transaction_codec import read_range, write_range
from raftd.kv.types import InvalidCommand, LeaseId, Revision
from raftd.kv.write_codec import read_key, read_lease, write_key

RANGE_FLAG_AT_REVISION: Final = 4
HISTORY_FLAG_VALUES: Final = 1


class QueryOpcode(enum.IntEnum):
    """What a read asks the state machine. The numbers are on the wire: never renumber."""

    GET = 1
    RANGE = 2
    HISTORY = 3
    LEASE = 4
    LEASES = 5


class RangeQuery(NamedTuple):
    """The keys in a range."""

    range: Range
    revision: Revision | None = None
    """As they were then; None: as they are now."""


class HistoryQuery(NamedTuple):
    """The changes of one key that are held, newest first."""

    key: bytes
    limit: int = 0
    before_revision: Revision = Revision(0)
    """Only those below; 0: all."""
    values: bool = False
    """With what was written and what was there before."""


class LeaseQuery(NamedTuple):
    """One lease, with the time that is left and its keys."""

    lease: LeaseId


class LeasesQuery(NamedTuple):
    """Leases by id."""

    after: LeaseId = LeaseId(0)
    """Only those above."""
    limit: int = 0


Query: TypeAlias = Get | RangeQuery | HistoryQuery | LeaseQuery | LeasesQuery
"""What a read may ask."""


def encode_query(query: Query) -> tuple[QueryOpcode, bytes]:
    """Encode a query.

    Raises:
        CommandTooLarge: a key or a bound is too long.
        InvalidCommand: something else is out of bounds.
    """
    writer = Writer()
    match query:
        case Get(key):
            check_key(key)
            return QueryOpcode.GET, key
        case RangeQuery(wanted, revision):
            flags = 0 if revision is None else RANGE_FLAG_AT_REVISION
            write_range(writer, wanted, flags=flags, revision=revision)
            return QueryOpcode.RANGE, writer.finish()
        case HistoryQuery(key, limit, before_revision, values):
            check_limit(limit)
            check_u64(before_revision, "a revision")
            writer.u8(HISTORY_FLAG_VALUES if values else 0)
            writer.u32(limit)
            writer.u64(before_revision)
            write_key(writer, key)
            return QueryOpcode.HISTORY, writer.finish()
        case LeaseQuery(lease):
            check_lease(lease)
            check_u64(lease, "a lease")
            writer.u64(lease)
            return QueryOpcode.LEASE, writer.finish()
        case LeasesQuery(after, limit):
            check_u64(after, "a lease")
            check_limit(limit)
            writer.u64(after)
            writer.u32(limit)
            return QueryOpcode.LEASES, writer.finish()
        case _:
            assert_never(query)


def parse_query(opcode: QueryOpcode, data: bytes, start: int = 0) -> Query:
    """Parse the query that reaches from `start` to the end of `data`.

    Raises:
        CommandTooLarge: a key or a bound is too long.
        InvalidCommand: it is not a valid query.
    """
    reader = Reader(data, start)
    try:
        query = _read_query(opcode, reader)
        reader.finish()
    except InvalidCommand:
        raise
    except DecodeError as error:
        raise InvalidCommand(str(error)) from None
    return query


def _read_query(opcode: QueryOpcode, reader: Reader) -> Query:
    match opcode:
        case QueryOpcode.GET:
            key = reader.rest()
            check_key(key)
            return Get(key)
        case QueryOpcode.RANGE:
            wanted, revision = read_range(reader, revision_flag=RANGE_FLAG_AT_REVISION)
            return RangeQuery(wanted, None if revision is None else Revision(revision))
        case QueryOpcode.HISTORY:
            flags = reader.u8("flags")
            if flags & ~HISTORY_FLAG_VALUES:
                raise InvalidCommand(f"HISTORY may not have flags {flags & ~HISTORY_FLAG_VALUES:#x}")
            limit = reader.u32("a limit")
            before_revision = Revision(reader.u64("a revision"))
            return HistoryQuery(read_key(reader), limit, before_revision, bool(flags & HISTORY_FLAG_VALUES))
        case QueryOpcode.LEASE:
            return LeaseQuery(read_lease(reader))
        case QueryOpcode.LEASES:
            after = LeaseId(reader.u64("a lease"))
            return LeasesQuery(after, reader.u32("a limit"))
        case _:
            assert_never(opcode)
