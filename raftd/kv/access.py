"""Who may do what: the one place that decides it, and it denies by default.

A grant gives a user, or all users whose names start alike, reading or writing of all keys under one prefix. Grants only
add; there is no rule that takes away, so their order means nothing. What reads a value without naming its key outright
(a range, a watch, a previous value) needs the right to read, and must lie under one granted prefix as a whole.

Administration (status of the nodes, the log, membership) is a right of its own: it gives no key, and no grant gives it.
The log shows keys, but never values, to administrators.
"""

import enum
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, TypeAlias, assert_never

from raftd.kv import operations
from raftd.kv.operations import Delete, DeleteRange, Get, Increment, Put, Range, Transaction, Write
from raftd.kv.ranges import prefix_end

_WILDCARD: Final = "*"


class Operation(enum.Enum):
    """What one does with a key."""

    READ = "read"
    WRITE = "write"


# An enum's member is looked up in a dict and through a descriptor; a global costs a tenth of that.
_WRITE: Final = Operation.WRITE

Need: TypeAlias = tuple[Operation, bytes, bytes | None]
"""What a request must be allowed to do: (operation, low, high).

It is for all keys in [low, high); without a `high` (None), for the key `low` alone.

A tuple and not a class on purpose: one is made for every write.
"""


@dataclass(frozen=True, slots=True)
class Grant:
    """What one user, or several, may do under one prefix."""

    user: str
    """A name; or its beginning and `*`, for all users whose names begin so; `*` alone: everyone with a certificate."""
    prefix: bytes
    """Of keys; empty: all keys."""
    read: bool = False
    write: bool = False


class Permissions:
    """What one user may do; to be looked up once a connection, and asked once a request."""

    __slots__ = ("_readable", "_writable", "administers")

    def __init__(self, readable: tuple[bytes, ...], writable: tuple[bytes, ...], *, administers: bool) -> None:
        """`readable` and `writable` are prefixes in byte order of which none covers another, as `AccessRules` has."""
        self._readable = readable
        self._writable = writable
        self.administers = administers
        """May see the nodes' status and log, and change the cluster."""

    @property
    def writes_any(self) -> bool:
        """Whether there is any key that the user may write: without one, no session is of use."""
        return bool(self._writable)

    @property
    def is_unbounded(self) -> bool:
        """Whether the user may do everything; a backup, which has every key, session and name in it, takes no less."""
        return self.administers and self._readable == self._writable == (b"",)

    def allows(self, operation: Operation, key: bytes) -> bool:
        """Whether the user may do `operation` with `key`."""
        match operation:
            case Operation.READ:
                return key.startswith(self._readable)
            case Operation.WRITE:
                return key.startswith(self._writable)
            case _:
                assert_never(operation)

    def allows_range(self, operation: Operation, low: bytes, high: bytes) -> bool:
        """Whether the user may do `operation` with all keys in [low, high), by one grant: see `raftd.kv.ranges`.

        Two grants whose prefixes lie side by side do not add up to one: what is between them, nobody has thought about.
        """
        match operation:
            case Operation.READ:
                prefixes = self._readable
            case Operation.WRITE:
                prefixes = self._writable
            case _:
                assert_never(operation)
        # Of prefixes that do not cover each other, only the last one that is not above `low` can be a prefix of it.
        position = bisect_right(prefixes, low) - 1
        if position < 0 or not low.startswith(prefixes[position]):
            return False
        end = prefix_end(prefixes[position])
        return not end or (high != b"" and high <= end)

    def allows_all(self, needs: Sequence[Need]) -> bool:
        """Whether the user may do all of it; a write that concerns no key is for whoever may write any."""
        if not needs:
            return self.writes_any
        for operation, low, high in needs:
            if high is None:
                # As `allows`, spelled out: every write comes this way.
                if not low.startswith(self._writable if operation is _WRITE else self._readable):
                    return False
            elif not self.allows_range(operation, low, high):
                return False
        return True


class AccessRules:
    """All grants of a cluster; they do not change, so that new rules replace old ones in one assignment.

    There may be ten thousand grants, and a reload asks for each user that is connected, on the event loop. So all that
    can be done once is done here: what is asked for one user costs a few look-ups where all that he is granted is of
    one name or pattern, and else as much as there are grants of all but the longest of these.

    Args:
        grants: what is allowed; everything else is not.
        administrators: names or patterns, as in `Grant.user`.
    """

    __slots__ = ("_administrators", "_granted", "_lengths")

    def __init__(self, grants: Iterable[Grant] = (), administrators: Iterable[str] = ()) -> None:
        by_pattern: dict[str, tuple[list[bytes], list[bytes]]] = {}
        for grant in grants:
            readable, writable = by_pattern.setdefault(grant.user, ([], []))
            if grant.read:
                readable.append(grant.prefix)
            if grant.write:
                writable.append(grant.prefix)
        self._granted = {
            pattern: (_minimal(readable), _minimal(writable)) for pattern, (readable, writable) in by_pattern.items()
        }
        """By name or pattern: what may be read, what may be written."""
        self._administrators = frozenset(administrators)
        patterns = self._granted.keys() | self._administrators
        self._lengths = sorted({len(each) - 1 for each in patterns if each.endswith(_WILDCARD)})
        """How many characters the patterns have before their wildcard."""

    def __eq__(self, other: object) -> bool:
        """Whether the same is allowed, as far as each name and pattern says it; not whether it comes to the same."""
        if not isinstance(other, AccessRules):
            return NotImplemented
        return self._granted == other._granted and self._administrators == other._administrators

    def __hash__(self) -> int:
        return hash((frozenset(self._granted), self._administrators))

    def of(self, user: str) -> Permissions:
        """What `user` may do; the empty name, which no certificate has, may do nothing."""
        granted = [self._granted[pattern] for pattern in self._patterns(user) if pattern in self._granted]
        return Permissions(
            _joined([readable for readable, _ in granted]),
            _joined([writable for _, writable in granted]),
            administers=self.administers(user),
        )

    def administers(self, user: str) -> bool:
        """Whether `user` may see the nodes' status and log, and change the cluster."""
        return not self._administrators.isdisjoint(self._patterns(user))

    def _patterns(self, user: str) -> list[str]:
        """Whatever could name `user`: the name, and its beginnings with a wildcard."""
        if not user:
            return []
        beginnings = [user[:length] + _WILDCARD for length in self._lengths if length <= len(user)]
        # A name that ends with a wildcard is no name in a grant.
        return beginnings if user.endswith(_WILDCARD) else [user, *beginnings]

    def allows(self, user: str, operation: Operation, key: bytes) -> bool:
        """Whether `user` may do `operation` with `key`."""
        return self.of(user).allows(operation, key)


def needs_of_write(write: Write) -> tuple[Need, ...]:
    """What a write must be allowed to do, in all that is nested in it.

    What tells something of a value needs the right to read: a previous or expected value, a compare, the result of an
    increment, a fence. An expected revision does not.
    """
    needs = list(_needs_of_operation(write.operation))
    if write.fence is not None:
        needs.append((Operation.READ, write.fence.key, None))
    return tuple(needs)


def _needs_of_operation(operation: operations.Operation) -> Iterator[Need]:
    match operation:
        case Get(key):
            yield Operation.READ, key, None
        case Range(low, high):
            yield Operation.READ, low, high
        case Put(key) | Delete(key):
            yield Operation.WRITE, key, None
            if operation.previous or operation.expected_value is not None:
                yield Operation.READ, key, None
        case Increment(key):
            yield Operation.WRITE, key, None
            yield Operation.READ, key, None
        case DeleteRange(low, high):
            yield Operation.WRITE, low, high
            if operation.previous:
                yield Operation.READ, low, high
        case Transaction(compares, then, otherwise):
            for compare in compares:
                yield Operation.READ, compare.key, None
            for each in (*then, *otherwise):
                yield from _needs_of_operation(each)
        case _:
            assert_never(operation)


def _minimal(prefixes: Iterable[bytes]) -> tuple[bytes, ...]:
    """The prefixes without those that another one covers, in byte order."""
    kept: list[bytes] = []
    for prefix in sorted(prefixes):
        # In byte order, a prefix comes right before what it covers.
        if not kept or not prefix.startswith(kept[-1]):
            kept.append(prefix)
    return tuple(kept)


def _joined(parts: list[tuple[bytes, ...]]) -> tuple[bytes, ...]:
    """The same of several such, at the price of all but the longest: thousands of grants may be everybody's."""
    if len(parts) <= 1:
        return parts[0] if parts else ()
    longest, *others = sorted(parts, key=len, reverse=True)
    joined = list(longest)
    for prefix in sorted(chain.from_iterable(others)):
        place = bisect_right(joined, prefix)
        if place and prefix.startswith(joined[place - 1]):
            continue
        # What it covers comes right behind it.
        end = prefix_end(prefix)
        joined[place : bisect_left(joined, end, place) if end else None] = [prefix]
    return tuple(joined)
