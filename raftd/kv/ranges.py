"""Ranges of keys: half-open, [low, high), in byte order.

An empty `low` begins at the first key, and an empty `high` ends behind the last. A range with low >= high is valid and
holds nothing.
"""


def prefix_end(prefix: bytes) -> bytes:
    """The `high` of the range of all keys that begin with `prefix`, whose `low` is the prefix itself.

    The smallest bytes above all of them: trailing 0xff fall away, and the last byte that is left grows by one. Empty,
    so to the end of all keys, if nothing is left.
    """
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,)) if stripped else b""


def is_in_range(key: bytes, low: bytes, high: bytes) -> bool:
    """Whether `key` lies in [low, high)."""
    return low <= key and (not high or key < high)
