"""What a client's calls give back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias


class KeyValue(NamedTuple):
    """A key's value, and where it stands in the store's history.

    A revision counts the changes of the whole store; a version counts those of this key since it was created.
    """

    key: bytes
    value: bytes
    """Empty where only keys were asked for."""
    create_revision: int
    """The store's revision when the key was created."""
    modify_revision: int
    """The store's revision when the key was last written: what `expected_revision` is compared with."""
    version: int
    """1 when the key was created, one more with each write since."""
    revision: int
    """The store's revision when the answer was made; of a page, the revision that it shows."""
    lease: int = 0
    """The lease that the key ends with; 0: none."""
    user: str = ""
    """Who wrote it last, by the name in the certificate."""


@dataclass(frozen=True, slots=True)
class PutResult:
    """A put that was applied."""

    revision: int
    """The store's revision after it, which is the key's modify revision now."""
    version: int
    """The key's version now: 1 when this put created it."""
    create_revision: int
    """The store's revision when the key was created."""
    previous: KeyValue | None = None
    """What was there before, if that was asked for; None too when there was nothing."""


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """A delete that was applied."""

    revision: int
    """The store's revision after it."""
    deleted: bool
    """Whether there was such a key."""
    previous: KeyValue | None = None
    """What was there, if that was asked for."""


@dataclass(frozen=True, slots=True)
class IncrementResult:
    """An increment that was applied."""

    revision: int
    """The store's revision after it."""
    value: int
    """The number that the key holds now."""
    version: int
    """The key's version now: 1 when this created it."""
    create_revision: int
    """The store's revision when the key was created."""


@dataclass(frozen=True, slots=True)
class DeleteRangeResult:
    """A range, or its beginning, that was deleted in one step."""

    revision: int
    """The store's revision after it."""
    deleted: int
    """How many keys."""
    more: bool
    """Whether the range has keys left, which were beyond the limit."""
    previous: Sequence[KeyValue] = ()
    """What was there, if that was asked for."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the keys of a range, in byte order, all as they were at one revision."""

    items: Sequence[KeyValue]
    revision: int
    """The store's revision that all of it is of."""
    count: int | None
    """How many keys the whole range has at that revision, of a further page: the range from there on; None: not
    counted."""
    next_page: str | None
    """What to give as `page` for the keys that follow; None: there are none."""
    more: bool = False
    """Whether there are keys that follow. Inside of a transaction there is no `next_page`, and only this tells."""


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """A transaction that was done."""

    revision: int
    """The store's revision after it."""
    succeeded: bool
    """Whether all conditions held, so that `then` was done and not `otherwise`."""
    results: "Sequence[OperationResult]"
    """What came of each operation that was done, in their order; None of a `Get` that found no key."""


OperationResult: TypeAlias = (
    KeyValue | PutResult | DeleteResult | IncrementResult | DeleteRangeResult | Page | TransactionResult | None
)


@dataclass(frozen=True, slots=True)
class LeaseInfo:
    """A lease, as the leader has it."""

    id: int
    ttl: float
    """Seconds that it lives without being kept alive."""
    remaining: float
    """Seconds that are left of that."""
    user: str
    """Whose it is."""
    keys: Sequence[bytes]
    """What ends with it, of the client's namespace."""


@dataclass(frozen=True, slots=True)
class LeaseSummary:
    """A lease among others."""

    id: int
    ttl: float
    """Seconds that it lives without being kept alive."""
    user: str
    """Whose it is."""
    key_count: int
    """How many keys end with it, those outside of the client's namespace too."""


@dataclass(frozen=True, slots=True)
class Previous:
    """What a key had before a change."""

    value: bytes
    modify_revision: int
    """When that was written."""


class Change(NamedTuple):
    """One change of one key.

    Of a deletion, `create_revision`, `version` and `lease` are those of what was deleted.
    """

    kind: Literal["put", "delete"]
    key: bytes
    value: bytes | None
    """None of a deletion, and where values were not asked for."""
    revision: int
    """The store's revision after it: the key's modify revision, unless it was deleted."""
    create_revision: int
    version: int
    lease: int
    by_lease: bool
    """Whether the key was deleted because its lease ended."""
    wall_clock: float
    """When, in seconds since 1970, by the clock of the node that led; for people, never for ordering. 0: the cluster
    did it by itself, as a lease ran out."""
    user: str
    """Who did it; empty when a lease expired."""
    address: str
    """From where."""
    previous: Previous | None = None
    """What the key had before, if that was asked for and there was something."""


class Progress(NamedTuple):
    """Nothing that is watched changed, up to this revision."""

    revision: int


class Fence(NamedTuple):
    """A write that is given this happens only while the key has this create revision: while a lock is held, say."""

    key: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that a node holds ready."""

    endpoint: str
    """Of the node."""
    backup_id: int
    size_bytes: int
    """Of the whole file."""


@dataclass(frozen=True, slots=True)
class BackupHistory:
    """What a node remembers of backups through it, in milliseconds since 1970; 0 where there was none."""

    success_ms: int
    """Of when the newest good one is."""
    failure_ms: int
    """When one failed last."""
