"""Takes the held changes out of a snapshot, the mirror of what `raftd.kv.snapshot` says of them.

They come from the newest to the oldest, after all keys: so what a change made of its key is there already, as
`previous` of the key's next change or in the store.
"""

from typing import Final

from raftd.errors import DecodeError
from raftd.kv.history import History
from raftd.kv.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX
from raftd.kv.snapshot import CHANGE, FLAG_BY_LEASE, FLAG_PREVIOUS, PREVIOUS
from raftd.kv.store import Store
from raftd.kv.types import Record, Revision

# `Struct.size` makes an int each time it is asked.
_CHANGE_BYTES: Final = CHANGE.size
_PREVIOUS_BYTES: Final = PREVIOUS.size


class HistoryLoader:
    """Puts the changes of one snapshot into a history.

    Args:
        history: to be filled; it knows its compacted revision.
        store: as it was when the last change had been made.
        clock_ms: what the cluster's clock showed then.
        change_count: how many changes there are.
        shared: names and addresses, each mapped to itself: one object for all of a kind is enough.
    """

    def __init__(
        self, history: History, store: Store, clock_ms: int, change_count: int, shared: dict[bytes, bytes]
    ) -> None:
        self._history = history
        self._store = store
        self._shared = shared
        self._last_revision: int = store.revision
        self._last_clock_ms = clock_ms
        self.changes_left = change_count
        """That have not come yet."""

    def take(self, data: bytes, offset: int) -> tuple[int, int]:
        """Take the changes that are complete in `data`, from `offset` on.

        Returns:
            Where they end, and how many bytes from there on are needed to go on: 0 if all changes are there.

        Raises:
            DecodeError: No history has such a change at this place.
        """
        share = self._shared.setdefault
        data_bytes = len(data)
        while self.changes_left:
            start = offset + _CHANGE_BYTES
            if data_bytes < start:
                return offset, _CHANGE_BYTES
            flags, revision, clock_ms, wall_clock_ms, user_length, address_length, key_length = CHANGE.unpack_from(
                data, offset
            )
            self._check(flags, revision, clock_ms, key_length)
            user_end: int = start + user_length
            address_end: int = user_end + address_length
            end: int = address_end + key_length
            previous: Record | None = None
            if flags & FLAG_PREVIOUS:
                previous, end = self._previous(data, end, revision)
            if data_bytes < end:
                return offset, end - offset
            if clock_ms == self._last_clock_ms:
                clock_ms = self._last_clock_ms  # one object is enough for all that happened at one time
            self._last_revision, self._last_clock_ms = revision, clock_ms
            user, address = data[start:user_end], data[user_end:address_end]
            origin = (bool(flags & FLAG_BY_LEASE), wall_clock_ms, share(user, user), share(address, address), clock_ms)
            self._hold(revision, data[address_end : address_end + key_length], previous, origin)
            self.changes_left -= 1
            offset = end
        return offset, 0

    def _check(self, flags: int, revision: int, clock_ms: int, key_length: int) -> None:
        if flags & ~(FLAG_PREVIOUS | FLAG_BY_LEASE):
            raise DecodeError(f"a change has flags {flags:#x}")
        if not self._history.compacted_revision < revision <= self._last_revision:
            raise DecodeError(f"a change of revision {revision} comes after one of {self._last_revision}")
        if clock_ms > self._last_clock_ms:
            raise DecodeError(f"a change at {clock_ms} ms comes after one at {self._last_clock_ms} ms")
        if not 0 < key_length <= KEY_BYTES_MAX:
            raise DecodeError(f"a change of a key of {key_length} bytes")

    def _previous(self, data: bytes, offset: int, revision: int) -> tuple[Record | None, int]:
        """The previous record at `offset`, None if it is not complete; and where it ends."""
        start = offset + _PREVIOUS_BYTES
        if len(data) < start:
            return None, start
        create_revision, modify_revision, version, lease, user_length, value_length = PREVIOUS.unpack_from(data, offset)
        if not (0 < create_revision <= modify_revision < revision and version):
            raise DecodeError(f"what was there before revision {revision} has impossible revisions or version")
        if value_length > VALUE_BYTES_MAX:
            raise DecodeError(f"a previous value of {value_length} bytes")
        user_end: int = start + user_length
        end: int = user_end + value_length
        if len(data) < end:
            return None, end
        user = data[start:user_end]
        share = self._shared.setdefault
        return (create_revision, modify_revision, version, lease, share(user, user), data[user_end:end]), end

    def _hold(
        self, revision: int, key: bytes, previous: Record | None, origin: tuple[bool, int, bytes, bytes, int]
    ) -> None:
        record = self._history.oldest_previous(key, self._store.get(key))
        if previous is None if record is None else record[1] != revision:
            raise DecodeError(f"revision {revision} did not make of {key!r} what is there after it")
        self._history.prepend((Revision(revision), key, previous, record, *origin))
