"""What a value in a settings file can be: each kind reads a scalar, shows a value, and names itself and its bounds.

A kind is given the text as it stands in the file and what YAML 1.1 makes of it, because the two differ where people
get hurt: `on` is a boolean, `1:30` the number 90, `1.10` the number 1.1, `0644` the number 420.
"""

import difflib
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from raftd.wire.address import Address, AddressError, parse_address
from raftd.wire.duration import DurationError, parse_duration, show_duration
from raftd.wire.identity import CLUSTER_NAME, NODE_ID_MAX, USER_NAME

T = TypeVar("T")

PLACEHOLDER = "{node}"

_SIZE = re.compile(r"([0-9]{1,15})\s?(B|KiB|MiB|GiB)", re.ASCII)
_DECIMAL_SIZE = re.compile(r"([0-9]{1,15})\s?([kKmMgG])[bB]?", re.ASCII)
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

_RATIO = re.compile(r"0(\.[0-9]{1,6})?|1(\.0{1,6})?", re.ASCII)
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_BRACES = re.compile(r"\{[^{}]*\}?|\}")


class Misfit(ValueError):  # noqa: N818 - it says that a value does not fit its place; SettingsError reports it
    """A value is not of its kind; the message goes on after the value and says what would be."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One scalar of a YAML document."""

    text: str
    """As in the file, without its quotes."""
    yaml_type: str
    """What YAML 1.1 resolves it to: str, int, float, bool, null, timestamp, ..."""

    @property
    def is_sexagesimal(self) -> bool:
        """Whether YAML takes it for a number to base 60, such as `1:30`."""
        return self.yaml_type in ("int", "float") and ":" in self.text


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """One kind of value."""

    label: str
    """What the reference calls it."""
    bounds: str
    """What the reference says of its bounds; empty when there are none."""
    read: Callable[[Scalar], T]
    """The value that a scalar stands for. Raises: Misfit."""
    show: Callable[[T], str] = str
    """The text that stands for a value: `read` gives the value again."""


def text(label: str, pattern: re.Pattern[str], bounds: str) -> Kind[str]:
    """Text that matches a pattern, which `bounds` says in words."""

    def read(scalar: Scalar) -> str:
        _refuse_null(scalar)
        if pattern.fullmatch(scalar.text) is None:
            raise Misfit(f"is not a {label}: {bounds}")
        return _text_of(scalar)

    return Kind(label, bounds, read)


def choice(*words: str) -> Kind[str]:
    """One of a few words."""

    def read(scalar: Scalar) -> str:
        _refuse_null(scalar)
        if scalar.text not in words:
            near = difflib.get_close_matches(scalar.text.lower(), words, 1)
            raise Misfit(f"is none of {', '.join(words)}" + (f"; did you mean {near[0]}?" if near else ""))
        return scalar.text

    return Kind("word", "one of " + ", ".join(words), read)


def integer(low: int, high: int) -> Kind[int]:
    """A whole number of `low` to `high`, both included, in plain decimal."""
    bounds = f"{low} to {high}"

    def read(scalar: Scalar) -> int:
        _refuse_null(scalar)
        if scalar.is_sexagesimal:
            raise Misfit("is a number to base 60 in YAML; write a plain decimal number")
        # YAML 1.1 also has 0644 (octal), 0x1f, 0b1 and 1_000; and "7" in quotes is text.
        if scalar.yaml_type != "int" or _INTEGER.fullmatch(scalar.text) is None:
            raise Misfit("is not a plain decimal number")
        value = int(scalar.text)
        if not low <= value <= high:
            raise Misfit(f"is out of bounds: {bounds}")
        return value

    return Kind("number", bounds, read)


def boolean() -> Kind[bool]:
    """`true` or `false`; YAML's other words for them are refused, since half of the readers take them for names."""

    def read(scalar: Scalar) -> bool:
        _refuse_null(scalar)
        if scalar.yaml_type != "bool" or scalar.text not in ("true", "false"):
            raise Misfit("is neither true nor false")
        return scalar.text == "true"

    return Kind("true or false", "", read, lambda value: "true" if value else "false")


def ratio() -> Kind[float]:
    """A number from 0 to 1, such as 0.1 for ten percent."""

    def read(scalar: Scalar) -> float:
        _refuse_null(scalar)
        if _RATIO.fullmatch(scalar.text) is None or scalar.yaml_type not in ("int", "float"):
            raise Misfit("is not a number from 0 to 1, such as 0.1")
        return float(scalar.text)

    return Kind("ratio", "0 to 1", read, lambda value: f"{value:.6f}".rstrip("0").removesuffix("."))


def duration(low: str, high: str) -> Kind[float]:
    """A span of time with its unit, of `low` to `high`, both included; the value is in seconds."""
    bounds = f"{low} to {high}"
    least, most = duration_milliseconds(low), duration_milliseconds(high)

    def read(scalar: Scalar) -> float:
        _refuse_null(scalar)
        if scalar.is_sexagesimal:
            raise Misfit("is a number to base 60 in YAML; write a duration with its unit, such as 90s")
        if scalar.yaml_type in ("int", "float"):
            raise Misfit(f"has no unit; write it with one of ms, s, m, h, d, as in {scalar.text}ms or {scalar.text}s")
        milliseconds = duration_milliseconds(scalar.text)
        if not least <= milliseconds <= most:
            raise Misfit(f"is out of bounds: {bounds}")
        return milliseconds / 1000

    return Kind("duration", bounds, read, show_duration)


def duration_milliseconds(text: str) -> int:
    """The whole milliseconds of a duration such as `250ms`, `1.5s` or `7d`. Raises: Misfit."""
    try:
        return parse_duration(text)
    except DurationError as error:
        raise Misfit(str(error)) from None


def size(low: str, high: str) -> Kind[int]:
    """A number of bytes with its unit, of `low` to `high`, both included."""
    bounds = f"{low} to {high}"
    least, most = size_bytes(low), size_bytes(high)

    def read(scalar: Scalar) -> int:
        _refuse_null(scalar)
        if scalar.yaml_type in ("int", "float"):
            raise Misfit(f"has no unit; write it with one of B, KiB, MiB, GiB, such as {scalar.text}MiB")
        value = size_bytes(scalar.text)
        if not least <= value <= most:
            raise Misfit(f"is out of bounds: {bounds}")
        return value

    return Kind("size", bounds, read, show_size)


def size_bytes(text: str) -> int:
    """The bytes of a size such as `64MiB`. Raises: Misfit."""
    match = _SIZE.fullmatch(text)
    if match is not None:
        return int(match[1]) * _BYTES[match[2]]
    decimal = _DECIMAL_SIZE.fullmatch(text)
    if decimal is not None:
        raise Misfit(f"is not a size; sizes count by 1024, so write {decimal[1]}{decimal[2].upper()}iB")
    raise Misfit("is not a size: a number and one of the units B, KiB, MiB, GiB, such as 64MiB")


def show_size(value: int) -> str:
    """A number of bytes in the largest unit that gives a whole number."""
    if value == 0:
        return "0B"
    unit = next(unit for unit in ("GiB", "MiB", "KiB", "B") if value % _BYTES[unit] == 0)
    return f"{value // _BYTES[unit]}{unit}"


def address(default_port: int) -> Kind[Address]:
    """A host and a port; `default_port` when none is given."""

    def read(scalar: Scalar) -> Address:
        _refuse_null(scalar)
        try:
            return parse_address(scalar.text, default_port)
        except AddressError as error:
            raise Misfit(str(error)) from None

    return Kind("address", f"host, host:port or [IPv6]:port; port {default_port} when none is given", read)


def path(*, has_placeholder: bool) -> Kind[str]:
    """A path, relative to the settings file's directory; `{node}` in it may stand for the node's id."""

    def read(scalar: Scalar) -> str:
        value = _text_of(scalar)
        if not value:
            raise Misfit("is an empty path")
        if "\0" in value:
            raise Misfit("has a NUL character, which no path can have")
        if value.startswith("~"):
            raise Misfit("begins with ~, which only a shell replaces; write the directory out")
        allowed = {PLACEHOLDER} if has_placeholder else set[str]()
        for braces in _BRACES.findall(value):
            if braces not in allowed:
                raise Misfit(
                    f"has {braces}; {f'only {PLACEHOLDER}' if has_placeholder else 'nothing'} is replaced here"
                )
        return value

    return Kind("path", f"{PLACEHOLDER} stands for the node's id" if has_placeholder else "", read)


def cluster_id() -> Kind[uuid.UUID]:
    """A UUID (RFC 9562) in its usual spelling."""
    example = "6f9c3c1e-0b1d-4c53-9a7e-3d1f0c5b7a21"

    def read(scalar: Scalar) -> uuid.UUID:
        _refuse_null(scalar)
        # uuid.UUID() also takes braces, "urn:uuid:" and no hyphens at all; one spelling is enough.
        if _UUID.fullmatch(scalar.text) is None:
            raise Misfit(f"is not a UUID, such as {example}; uuidgen prints a new one")
        if (result := uuid.UUID(scalar.text)).int == 0:
            raise Misfit("is the nil UUID, which names no cluster; uuidgen prints a new one")
        return result

    return Kind("UUID", f"such as {example}", read)


def cluster_name() -> Kind[str]:
    """A cluster's name, as identities have it."""
    return text("cluster's name", CLUSTER_NAME, "lower-case letters, digits and -, at most 63, not - first")


def user_pattern() -> Kind[str]:
    """A user's name, as identities have it, or the beginning of names and a `*`."""
    pattern = re.compile(rf"{USER_NAME.pattern}\*?|\*", re.ASCII)
    return text("user's name", pattern, "letters, digits and any of ._@-, at most 63, first a letter or digit; * last")


def key_prefix() -> Kind[str]:
    """The beginning of keys."""
    return text("prefix", re.compile(r"[\s\S]{0,4096}"), 'compared as UTF-8 bytes; "" is every key')


def node_id() -> Kind[int]:
    """A node's id, as identities have it."""
    return integer(1, NODE_ID_MAX)


def _refuse_null(scalar: Scalar) -> None:
    if scalar.yaml_type == "null":
        raise Misfit("has no value")


def _text_of(scalar: Scalar) -> str:
    """The scalar's text, if YAML takes it for text too. Raises: Misfit."""
    _refuse_null(scalar)
    match scalar.yaml_type:
        case "str":
            return scalar.text
        case "bool":
            meaning = "a boolean"
        case "int" | "float":
            meaning = "a number to base 60" if scalar.is_sexagesimal else "a number"
        case "timestamp":
            meaning = "a date"
        case other:
            raise Misfit(f"has the tag {other}; only plain YAML is read here")
    raise Misfit(f'is {meaning} in YAML; if the text is meant, write it in quotes: "{scalar.text}"')
