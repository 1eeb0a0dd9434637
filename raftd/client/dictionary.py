"""A cluster as a dict of text: `d["a"] = "b"`."""

import json
from collections.abc import ItemsView, Iterable, Iterator, Mapping, MutableMapping, ValuesView
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar, cast, overload

from raftd.client.config import ClientConfig
from raftd.client.errors import CompareFailed, InvalidRequest, TooLarge
from raftd.client.operations import Put
from raftd.client.results import KeyValue
from raftd.client.synchronous import Client
from raftd.kv.limits import OPERATIONS_MAX

V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)
D = TypeVar("D")
_ABSENT: Final = 0
"""The modify revision that `expected_revision` gives to "there is no such key"."""
_NO_DEFAULT: Final = object()
_IMPOSSIBLE_KEY: Final = (InvalidRequest, TooLarge, UnicodeEncodeError)
"""No cluster has a key that is empty, too long, or half of a surrogate pair: it is missing, as in any dict."""
_STEP_BYTES_MAX: Final = 1 << 20
"""What `update` writes in one step, if it is more than one key: well below what one command may have."""


class Keyed(Protocol[V_co]):
    """What `update` takes for a mapping, as that of a dict does."""

    def keys(self) -> Iterable[str]:
        """All keys."""
        ...

    def __getitem__(self, key: str, /) -> V_co: ...


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


class DistDict(MutableMapping[str, V]):
    """The keys and values of a cluster, as a dict whose every operation is one or a few requests.

    Keys are `str`; values too, unless a codec says otherwise (nothing is ever pickled). Each read sees every write that
    was finished before it began, from whatever process. A request may raise what `Client` raises.

    `d[k]`, `d[k] = v`, `del d[k]`, `k in d`, `get`, `pop`, `popitem` and `setdefault` are exact, whoever else writes at
    the same time. Iterating, and `keys`, `values` and `items`, show one moment: how the cluster was when the iteration
    began; they do not mind what is written meanwhile. `update` writes 128 keys at a time, each such step at once, and
    `clear` deletes 10,000 at a time.

    Args:
        source: a configuration file, or a client.
        codec: makes bytes of values, and values of bytes.
        prefix: put before each key in the cluster: of one cluster there may be many dicts.

    Safe to use from many threads. A `DistDict` made from a path has its own client; close it, or use it in a `with`.
    """

    @overload
    def __init__(self: "DistDict[str]", source: "str | Path | ClientConfig | Client", *, prefix: str = "") -> None: ...

    @overload
    def __init__(self, source: "str | Path | ClientConfig | Client", *, codec: Codec[V], prefix: str = "") -> None: ...

    def __init__(
        self, source: "str | Path | ClientConfig | Client", *, codec: Codec[V] | None = None, prefix: str = ""
    ) -> None:
        self._codec = codec or cast("Codec[V]", TextCodec())
        self._prefix = _encode_key(prefix)
        self._owns_client = not isinstance(source, Client)
        self._client = source if isinstance(source, Client) else Client.from_config(source)

    def __getitem__(self, key: str) -> V:
        found = self._find(key)
        if found is None:
            raise KeyError(key)
        return self._codec.decode(found.value)

    def __setitem__(self, key: str, value: V) -> None:
        self._client.put(self._key(key), self._codec.encode(value))

    def __delitem__(self, key: str) -> None:
        try:
            deleted = self._client.delete(self._key(key)).deleted
        except _IMPOSSIBLE_KEY:
            deleted = False
        if not deleted:
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._find(key) is not None

    def __iter__(self) -> Iterator[str]:
        for item in self._client.items(prefix=self._prefix, keys_only=True):
            yield self._name(item.key)

    def __len__(self) -> int:
        return self._client.count(prefix=self._prefix)

    def items(self) -> "ItemsView[str, V]":
        """All keys with their values, as they were at one moment."""
        return _Items(self)

    def values(self) -> "ValuesView[V]":
        """All values, as they were at one moment."""
        return _Values(self)

    def _pairs(self) -> Iterator[tuple[str, V]]:
        for item in self._client.items(prefix=self._prefix):
            yield self._name(item.key), self._codec.decode(item.value)

    @overload
    def get(self, key: str) -> V | None: ...

    @overload
    def get(self, key: str, default: D) -> V | D: ...

    def get(self, key: str, default: D | None = None) -> V | D | None:
        """The key's value, or the default."""
        found = self._find(key)
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
        while (found := self._find(key)) is not None:
            value = self._codec.decode(found.value)
            try:
                self._client.delete(found.key, expected_revision=found.modify_revision)
            except CompareFailed:
                continue  # another writer came first; look at what it left
            return value
        if default is _NO_DEFAULT:
            raise KeyError(key)
        return default

    def setdefault(self, key: str, default: V) -> V:
        """The key's value; when there is none, the default, which is then written. Of many callers one writes."""
        encoded, value = self._key(key), self._codec.encode(default)
        while (found := self._client.get(encoded)) is None:
            try:
                self._client.put(encoded, value, expected_revision=_ABSENT)
            except CompareFailed:
                continue  # another writer came first; take what it wrote
            return default
        return self._codec.decode(found.value)

    def popitem(self) -> tuple[str, V]:
        """Remove the first key, in byte order, and return it with the value that it had then, exactly.

        Raises:
            KeyError: there is none.
        """
        while page := self._client.range(prefix=self._prefix, limit=1).items:
            found = page[0]
            pair = self._name(found.key), self._codec.decode(found.value)
            try:
                self._client.delete(found.key, expected_revision=found.modify_revision)
            except CompareFailed:
                continue  # another writer came first; look at what it left
            return pair
        raise KeyError("it is empty")

    def clear(self) -> None:
        """Delete all keys: up to 10,000 in one step."""
        while self._client.delete_range(prefix=self._prefix).more:
            pass

    def update(self, other: Mapping[str, V] | Keyed[V] | Iterable[tuple[str, V]] = (), /, **more: V) -> None:
        """Set each key, 128 or 1 MiB in one step; an exception leaves those set that came in earlier steps.

        As with a dict, what has `keys()` is asked for their values, and anything else gives pairs.
        """
        pairs: Iterable[tuple[str, V]]
        if isinstance(other, Mapping):
            pairs = other.items()
        elif hasattr(other, "keys"):
            keyed = cast("Keyed[V]", other)
            pairs = ((key, keyed[key]) for key in keyed.keys())  # noqa: SIM118 - it need not be iterable
        else:
            pairs = other
        step: dict[bytes, Put] = {}
        step_bytes = 0
        for key, value in chain(pairs, more.items()):
            encoded_key, encoded_value = self._key(key), self._codec.encode(value)
            put_bytes = len(encoded_key) + len(encoded_value)
            if len(step) == OPERATIONS_MAX or step_bytes + put_bytes > _STEP_BYTES_MAX:
                self._write(step)
                step, step_bytes = {}, 0
            step[encoded_key] = Put(encoded_key, encoded_value)
            step_bytes += put_bytes
        self._write(step)

    def close(self) -> None:
        """Close the client, if it is this object's own; a client that was handed in stays open."""
        if self._owns_client:
            self._client.close()

    def _write(self, step: dict[bytes, Put]) -> None:
        if step:
            self._client.transaction().then(*step.values()).commit()

    def _find(self, key: str) -> KeyValue | None:
        try:
            return self._client.get(self._key(key))
        except _IMPOSSIBLE_KEY:
            return None

    def _key(self, key: str) -> bytes:
        return self._prefix + _encode_key(key)

    def _name(self, key: bytes) -> str:
        return key[len(self._prefix) :].decode(errors="surrogateescape")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Items(ItemsView[str, V]):
    """Fetches pages, where the view that it is derived from would ask for each key alone."""

    _mapping: DistDict[V]

    def __iter__(self) -> Iterator[tuple[str, V]]:
        return self._mapping._pairs()  # noqa: SLF001 - a view of it


class _Values(ValuesView[V]):
    """As `_Items`."""

    _mapping: DistDict[V]

    def __contains__(self, value: object) -> bool:
        return any(value == own for own in self)

    def __iter__(self) -> Iterator[V]:
        return (value for _, value in self._mapping._pairs())  # noqa: SLF001 - a view of it


def _encode_key(key: str) -> bytes:
    if not isinstance(key, str):
        raise TypeError(f"keys of a DistDict are str, not {type(key).__name__}")
    # A key that somebody else has made of other bytes than UTF-8 is one of the dict too.
    return key.encode(errors="surrogateescape")
