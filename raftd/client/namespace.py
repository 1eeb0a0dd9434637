"""Namespaces: a prefix that a client puts before each key, and that whoever uses the client never sees.

Also the checks of keys, values and ranges, since how long a key may be depends on the prefix.
"""

from raftd.client.errors import InvalidRequest, TooLarge
from raftd.kv.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX
from raftd.kv.ranges import prefix_end


class Namespace:
    """Takes keys as the user has them to keys as the cluster has them, and back.

    Not a wall: what a user may read and write, the grants say. Only who keeps to them needs a namespace.

    Args:
        prefix: empty: all keys are what they are.

    Raises:
        InvalidRequest: the prefix is text that UTF-8 does not have.
        TooLarge: the prefix leaves no room for a key.
    """

    __slots__ = ("_key_bytes_max", "_length", "_prefix", "_prefix_end")

    def __init__(self, prefix: bytes | str = b"") -> None:
        self._prefix = to_bytes(prefix, "a namespace")
        self._length = len(self._prefix)
        self._key_bytes_max = KEY_BYTES_MAX - self._length
        if self._key_bytes_max < 1:
            raise TooLarge(f"a namespace has at most {KEY_BYTES_MAX - 1} bytes, and this one has {self._length}")
        self._prefix_end = prefix_end(self._prefix)

    @property
    def length(self) -> int:
        """How many bytes stand before each key that the cluster gives."""
        return self._length

    def key(self, key: bytes | str) -> bytes:
        """The cluster's form of a key.

        Raises:
            InvalidRequest: it is empty, or text that UTF-8 does not have.
            TooLarge: it is too long.
            TypeError: it is neither bytes nor str.
        """
        encoded = to_bytes(key, "a key")
        if not encoded:
            raise InvalidRequest("a key has at least one byte")
        if len(encoded) > self._key_bytes_max:
            raise TooLarge(f"a key has at most {self._key_bytes_max} bytes, and this one has {len(encoded)}")
        return self._prefix + encoded if self._length else encoded

    def has(self, key: bytes) -> bool:
        """Whether a key that the cluster gave is one of this namespace."""
        return key.startswith(self._prefix) and len(key) > self._length

    def strip(self, key: bytes) -> bytes:
        """The user's form of a key of this namespace that the cluster gave."""
        return key[self._length :] if self._length else key

    def bounds(
        self, low: bytes | str = b"", high: bytes | str = b"", prefix: bytes | str | None = None
    ) -> tuple[bytes, bytes]:
        """The cluster's form of a range: [low, high), or all keys that begin with `prefix`.

        Raises:
            InvalidRequest: a prefix and a bound are given, or text that UTF-8 does not have.
            TooLarge: a bound is longer than a key may be.
            TypeError: one is neither bytes nor str.
        """
        low_bytes, high_bytes = self._bound(low), self._bound(high)
        if prefix is not None:
            if low_bytes or high_bytes:
                raise InvalidRequest("a range is given by its prefix or by its bounds, not by both")
            low_bytes = self._bound(prefix)
            if low_bytes:
                return self._prefix + low_bytes, prefix_end(self._prefix + low_bytes)
        # A key of the cluster that is just the namespace's prefix is none inside: a key has at least one byte.
        low_bytes = low_bytes or (b"\x00" if self._length else b"")
        return self._prefix + low_bytes, self._prefix + high_bytes if high_bytes else self._prefix_end

    def _bound(self, bound: bytes | str) -> bytes:
        encoded = to_bytes(bound, "a bound of a range")
        # One byte more than a key: where a page goes on behind the longest key.
        if len(encoded) > self._key_bytes_max + 1:
            raise TooLarge(f"a bound of a range has at most {self._key_bytes_max} bytes")
        return encoded


def to_bytes(value: bytes | str, what: str) -> bytes:
    """What is meant, as bytes; text as its UTF-8.

    Raises:
        InvalidRequest: it is text that UTF-8 does not have: half of a surrogate pair is in it.
        TypeError: it is neither.
    """
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise InvalidRequest(f"{what} is UTF-8, and this one is not") from None
    raise TypeError(f"{what} is bytes or str, not {type(value).__name__}")


def to_value(value: bytes | str) -> bytes:
    """A value, as bytes.

    Raises:
        InvalidRequest: it is text that UTF-8 does not have.
        TooLarge: it is too long.
        TypeError: it is neither bytes nor str.
    """
    encoded = to_bytes(value, "a value")
    if len(encoded) > VALUE_BYTES_MAX:
        raise TooLarge(f"a value has at most {VALUE_BYTES_MAX} bytes, and this one has {len(encoded)}")
    return encoded


def to_revision(revision: int) -> int:
    """A revision that there may be. Raises: InvalidRequest."""
    if not 0 <= revision < 1 << 64:
        raise InvalidRequest(f"{revision} is not a revision")
    return revision
