"""How a cluster that runs is brought to have the keys of a backup: which steps that takes, and how they are secured.

Both sides are gone through in byte order. A key that has another value than in the backup is written, one that is not
in the backup is deleted, and all others are left alone; so to begin anew after an interruption costs nothing but
reading. Keys with a lease are no part of it, on either side: they say who is there now, which no backup knows. They
are neither written nor deleted, unless the backup has such a key without a lease.

Changes are made in transactions of up to 128 operations, each of them one revision and exactly once. If all fit into
one, the restore is atomic. If not, a key, `MARKER`, is there from before the first to the very last of them, and says
of which backup; whoever wants to know that what he reads may be half old and half new, looks at it or watches it.
Each transaction is fenced by it: it is done only while this very restore goes on. So two of them never mix, and one
that was left in the middle is taken over by giving the same backup again.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from raftd.client import Client, ClientError, Delete, Fence, Fenced, KeyValue, Put, value, version
from raftd.kv.limits import OPERATIONS_MAX
from raftd.kv.types import NO_LEASE, Record
from raftd.storage.backup_format import BackupHeader

MARKER: Final = b"raftd-restore"
"""Is there while a restore goes on that takes several transactions, and after one that was interrupted."""

T = TypeVar("T")

_STEP_BYTES: Final = 512 << 10
"""A transaction is closed once it has this many bytes of keys and values."""

Step: TypeAlias = Put | Delete
"""What is done to one key."""


@dataclass(slots=True)
class Counts:
    """What was done so far, or would be."""

    written: int = 0
    deleted: int = 0
    unchanged: int = 0
    leased: int = 0
    """Keys with a lease, in the cluster or in the backup, that were left alone."""

    @property
    def changes(self) -> int:
        """Keys that are not as they were."""
        return self.written + self.deleted


def differences(ours: Iterable[tuple[bytes, Record]], theirs: Iterable[KeyValue], counts: Counts) -> Iterator[Step]:
    """What makes of the cluster's keys those of the backup, in byte order; counted when it is taken.

    Args:
        ours: the backup's, ascending.
        theirs: the cluster's, ascending; read no further than what was taken asks for.
        counts: where it is counted.
    """
    wanted, found = _Ahead(ours), _Ahead((item.key, item) for item in theirs)
    while (key := _first(wanted.key, found.key)) is not None:
        record = wanted.take() if wanted.key == key else None
        item = found.take() if found.key == key else None
        if key == MARKER:
            continue
        if record is not None and record[3] != NO_LEASE:
            counts.leased += 1
            record = None
            if item is None or item.lease:
                continue
        if record is None:
            if item is None:
                continue
            if item.lease:
                counts.leased += 1
            else:
                counts.deleted += 1
                yield Delete(key)
        elif item is None or item.lease or item.value != record[-1]:
            counts.written += 1
            yield Put(key, record[-1])
        else:
            counts.unchanged += 1


def keys_of(client: Client) -> Iterator[KeyValue]:
    """All keys of a cluster in byte order, each page as it is when it is come to. Raises: ClientError.

    Not all as of one revision, which a restore of many keys would itself make the cluster let go of.
    """
    low = b""
    while True:
        page = client.range(low=low)
        yield from page.items
        if page.next_page is None:
            return
        low = page.items[-1].key + b"\0"


class Restore:
    """One restore of one backup into a cluster."""

    def __init__(self, client: Client, header: BackupHeader) -> None:
        self._client = client
        self._name = _name_of(header)
        self._fence: Fence | None = None
        """None: nothing is marked, as far as is known, so nothing has been changed."""
        self._is_marking = False
        self.done = 0
        """Changes that are certainly made."""

    @property
    def is_marked(self) -> bool:
        """Whether there is a marker, which says that it goes on."""
        return self._fence is not None

    @property
    def is_marking(self) -> bool:
        """Whether a marker was sent, and it is not known what became of that; nothing else has been."""
        return self._is_marking

    def resume(self) -> bool:
        """Take over what was left of a restore of this backup, if there is something; whether there is.

        Raises:
            ClientError: There is one of another backup, or the cluster cannot be asked.
        """
        found = self._client.get(MARKER)
        if found is None:
            return False
        if found.value != self._name:
            raise ClientError(
                "a restore of another backup is under way, or was interrupted: "
                f"{found.value.decode(errors='replace')}; finish that one first, or delete the key {MARKER.decode()} "
                "to leave things as they are"
            )
        # Another revision, so that a process which is still at it is fenced off.
        taking = self._client.transaction().when(value(MARKER) == self._name)
        taken = taking.then(Delete(MARKER), Put(MARKER, self._name)).commit()
        if not taken.succeeded:
            raise ClientError("another restore has just been begun or finished: try again")
        self._fence = Fence(MARKER, taken.revision)
        return True

    def run(self, steps: Iterator[Step]) -> Iterator[int]:
        """Make all changes; gives after each transaction how many are made.

        Raises:
            ClientError: It cannot go on; what is made stays, and so does the marker.
        """
        # One place is for the marker, which the last transaction deletes.
        batch = _take(steps, OPERATIONS_MAX - 1)
        while batch or self.is_marked:
            following = _take(steps, OPERATIONS_MAX - 1)
            if following and not self.is_marked:
                self._mark()
            self._commit(batch, is_last=not following)
            self.done += len(batch)
            yield self.done
            batch = following

    def _mark(self) -> None:
        self._is_marking = True
        begun = self._client.transaction().when(version(MARKER) == 0).then(Put(MARKER, self._name)).commit()
        if begun.succeeded:
            self._fence = Fence(MARKER, begun.revision)
        self._is_marking = False
        if not begun.succeeded:
            raise ClientError("another restore has just been begun: wait until it has ended")

    def _commit(self, batch: list[Step], *, is_last: bool) -> None:
        transaction = self._client.transaction().then(*batch)
        if self._fence is None:
            transaction.when(version(MARKER) == 0)
        elif is_last:
            transaction.then(Delete(MARKER))
        try:
            if not transaction.commit(self._fence).succeeded:
                raise ClientError("another restore has just been begun: wait until it has ended")
        except Fenced:
            raise ClientError("another restore has taken over from this one, or somebody has deleted its key") from None
        if is_last:
            self._fence = None


class _Ahead(Generic[T]):
    """Keys with what belongs to them, the first of which can be looked at before it is taken."""

    def __init__(self, source: Iterable[tuple[bytes, T]]) -> None:
        self._source = iter(source)
        self._next = next(self._source, None)

    @property
    def key(self) -> bytes | None:
        """The next one; None at the end."""
        return None if self._next is None else self._next[0]

    def take(self) -> T | None:
        """What belongs to it."""
        taken = self._next
        if taken is None:
            return None
        self._next = next(self._source, None)
        return taken[1]


def _first(*keys: bytes | None) -> bytes | None:
    return min((key for key in keys if key is not None), default=None)


def _take(steps: Iterator[Step], count: int) -> list[Step]:
    """The next steps that fit into one transaction."""
    batch: list[Step] = []
    batch_bytes = 0
    while len(batch) < count and batch_bytes < _STEP_BYTES:
        step = next(steps, None)
        if step is None:
            break
        batch.append(step)
        batch_bytes += len(step.key) + (len(step.value) if isinstance(step, Put) else 0)
    return batch


def _name_of(header: BackupHeader) -> bytes:
    """What a marker says: which backup."""
    return json.dumps(
        {
            "cluster_id": header.cluster_id.hex(),
            "index": header.last_included_index,
            "term": header.last_included_term,
            "state_hash": f"{header.state_hash:08x}",
        }
    ).encode()
