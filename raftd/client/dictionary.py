"""A cluster as a dict of text: `d["a"] = "b"`."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, Protocol, Self, TypeVar, cast, overload

from raftd.client.config import ClientConfig
from raftd.client.errors import CompareFailed
from raftd.client.synchronous import Client

V = TypeVar("V")
D = TypeVar("D")
_ABSENT: Final = 0
"""The modify revision that `expected_revision` gives to "there is no such key"."""
_NO_DEFAULT: Final = object()


class Codec(Protocol[V]):
    """How the values of a `DistDict` become bytes and come back."""

    def encode(self, value: V) -> bytes:
        """Make the bytes of a value."""
        ...

    def decode(self, data: bytes) -> V:
        """Make the value again."""
        ...


class TextCodec:
    """Values are `str`, stored as UTF-8."""

    def encode(self, value: str) -> bytes:
        """Raises: TypeError, when the value is not a str."""
        if not isinstance(value, str):
            raise TypeError(f"this DistDict holds str, not {type(value).__name__}; see the parameter codec")
        return value.encode()

    def decode(self, data: bytes) -> str:
        """Raises: UnicodeDecodeError, when something else than this codec has written the value."""
        return data.decode()


class BytesCodec:
    """Values are `bytes`, stored as they are."""

    def encode(self, value: bytes) -> bytes:
        """Raises: TypeError, when the value is not bytes."""
        if not isinstance(value, bytes):
            raise TypeError(f"this DistDict holds bytes, not {type(value).__name__}")
        return value

    def decode(self, data: bytes) -> bytes:
        """The bytes as they are."""
        return data


class JsonCodec:
    """Values are whatever JSON can say: None, bool, int, float, str, and lists and dicts of these."""

    def encode(self, value: Any) -> bytes:
        """Raises: TypeError or ValueError, when JSON cannot say it."""
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()

    def decode(self, data: bytes) -> Any:
        """Raises: ValueError, when something else than this codec has written the value."""
        return json.loads(data.decode())  # json alone would guess at UTF-16 and UTF-32


class DistDict(Generic[V]):
    """The keys and values of a cluster, as a dict whose every operation is one or a few requests.

    Keys are `str`; values too, unless a codec says otherwise (nothing is ever pickled). Each read sees every write that
    was finished before it began, from whatever process. A request may raise what `Client` raises.

    What a cluster can do exactly, this does: `d[k]`, `d[k] = v`, `del d[k]`, `k in d`, `get`, `pop`, `setdefault`,
    `update`. It cannot be iterated over and has no length, since the cluster has no request yet that lists keys: so
    this is not a `MutableMapping`, and `iter(d)` and `len(d)` raise `TypeError`.

    Safe to use from many threads. A `DistDict` made from a path has its own client; close it, or use it in a `with`.
    """

    @overload
    def __init__(self: "DistDict[str]", source: "str | Path | ClientConfig | Client") -> None: ...

    @overload
    def __init__(self, source: "str | Path | ClientConfig | Client", *, codec: Codec[V]) -> None: ...

    def __init__(self, source: "str | Path | ClientConfig | Client", *, codec: Codec[V] | None = None) -> None:
        self._codec = codec or cast("Codec[V]", TextCodec())
        self._owns_client = not isinstance(source, Client)
        self._client = source if isinstance(source, Client) else Client.from_config(source)

    def __getitem__(self, key: str) -> V:
        found = self._client.get(_encode_key(key))
        if found is None:
            raise KeyError(key)
        return self._codec.decode(found.value)

    def __setitem__(self, key: str, value: V) -> None:
        self._client.put(_encode_key(key), self._codec.encode(value))

    def __delitem__(self, key: str) -> None:
        if not self._client.delete(_encode_key(key)).deleted:
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._client.get(key) is not None

    # Without this, Python would iterate by asking for d[0], d[1], … until an IndexError.
    __iter__ = None

    @overload
    def get(self, key: str) -> V | None: ...

    @overload
    def get(self, key: str, default: D) -> V | D: ...

    def get(self, key: str, default: D | None = None) -> V | D | None:
        """The key's value, or the default."""
        found = self._client.get(_encode_key(key))
        return default if found is None else self._codec.decode(found.value)

    @overload
    def pop(self, key: str) -> V: ...

    @overload
    def pop(self, key: str, default: D) -> V | D: ...

    def pop(self, key: str, default: object = _NO_DEFAULT) -> object:
        """Remove the key and return the value that it had then, exactly: no other writer can come between.

        Raises:
            KeyError: there is no such key, and no default was given.
        """
        encoded = _encode_key(key)
        while (found := self._client.get(encoded)) is not None:
            value = self._codec.decode(found.value)
            try:
                self._client.delete(encoded, expected_revision=found.modify_revision)
            except CompareFailed:
                continue  # another writer came first; look at what it left
            return value
        if default is _NO_DEFAULT:
            raise KeyError(key)
        return default

    def setdefault(self, key: str, default: V) -> V:
        """The key's value; when there is none, the default, which is then written. Of many callers one writes."""
        encoded, value = _encode_key(key), self._codec.encode(default)
        while (found := self._client.get(encoded)) is None:
            try:
                self._client.put(encoded, value, expected_revision=_ABSENT)
            except CompareFailed:
                continue  # another writer came first; take what it wrote
            return default
        return self._codec.decode(found.value)

    def update(self, other: Mapping[str, V] | Iterable[tuple[str, V]] = (), /, **more: V) -> None:
        """Set each key, one after the other: not one step, and an exception leaves those set that came before."""
        for key, value in other.items() if isinstance(other, Mapping) else other:
            self[key] = value
        for key, value in more.items():
            self[key] = value

    def close(self) -> None:
        """Close the client, if it is this object's own; a client that was handed in stays open."""
        if self._owns_client:
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _encode_key(key: str) -> bytes:
    if not isinstance(key, str):
        raise TypeError(f"keys of a DistDict are str, not {type(key).__name__}")
    return key.encode()
