"""What a value in a settings file can be: each kind reads a scalar's text, names itself, and knows its bounds.

A kind is given the text as it stands in the file and what YAML 1.1 makes of it (its tag), because the two differ
where people get hurt: `on` is a boolean, `1:30` the number 90, `1.10` the number 1.1.
"""

import ipaddress
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from raftd.wire.identity import CLUSTER_NAME, NODE_ID_MAX, USER_NAME

T_co = TypeVar("T_co", covariant=True)

PORT_MAX = 65535
PLACEHOLDER = "{node}"

_DURATION = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,9}))?\s?(ms|s|m|h|d)", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,15})\s?(B|KiB|MiB|GiB)", re.ASCII)
_HOST_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_BRACES = re.compile(r"\{[^{}]*\}?|\}")

_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class Misfit(ValueError):  # noqa: N818 - it says that a value does not fit its place; SettingsError reports it
    """A value is not of its kind; the message says what would be."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One scalar of a YAML document."""

    text: str
    """As in the file, without its quotes."""
    yaml_type: str
    """What YAML 1.1 resolves it to: str, int, float, bool, null, timestamp, ..."""
    is_sexagesimal: bool = False
    """Whether it is a number to base 60, such as `1:30`."""


class Kind(Protocol[T_co]):
    """One kind of value."""

    @property
    def label(self) -> str:
        """What the reference calls the kind."""

    @property
    def bounds(self) -> str:
        """What the reference says of its bounds and unit; empty when there are none."""

    def read(self, scalar: Scalar) -> T_co:
        """The value. Raises: Misfit."""

    def show(self, value: object) -> str:
        """A value as it would stand in a file; the inverse of `read`."""


def text_of(scalar: Scalar) -> str:
    """The scalar's text, if YAML takes it for text too.

    Raises:
        Misfit: YAML takes it for something else, as it does with `on`, `1:30`, `1.10`, `~` and `2024-01-01`.
    """
    match scalar.yaml_type:
        case "str":
            return scalar.text
        case "null":
            raise Misfit("has no value")
        case "bool":
            raise Misfit(f"is a boolean in YAML; for the word itself write '{scalar.text}' in quotes")
        case "int" | "float" if scalar.is_sexagesimal:
            raise Misfit(f"is a number to base 60 in YAML; for the text itself write '{scalar.text}' in quotes")
        case "int" | "float":
            raise Misfit(f"is a number in YAML; for the text itself write '{scalar.text}' in quotes")
        case "timestamp":
            raise Misfit(f"is a date in YAML; for the text itself write '{scalar.text}' in quotes")
        case _:
            raise Misfit(f"is a {scalar.yaml_type} in YAML where text is expected")


@dataclass(frozen=True, slots=True)
class Text:
    """Text of a given pattern."""

    label: str
    pattern: re.Pattern[str]
    bounds: str
    """The pattern in words."""
    may_be_empty: bool = False

    def read(self, scalar: Scalar) -> str:
        text = text_of(scalar)
        if text == "" and self.may_be_empty:
            return text
        if self.pattern.fullmatch(text) is None:
            raise Misfit(f"is not a {self.label}: {self.bounds}")
        return text

    def show(self, value: object) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]
    label: str = "word"

    @property
    def bounds(self) -> str:
        return "one of " + ", ".join(f"`{word}`" for word in self.words)

    def read(self, scalar: Scalar) -> str:
        text = text_of(scalar)
        if text not in self.words:
            raise Misfit(f"is none of {', '.join(self.words)}")
        return text

    def show(self, value: object) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number of `low` to `high`, both included, in plain decimal."""

    low: int
    high: int
    label: str = "number"

    @property
    def bounds(self) -> str:
        return f"{self.low} to {self.high}" if self.high < NODE_ID_MAX else f"{self.low} or greater"

    def read(self, scalar: Scalar) -> int:
        if scalar.yaml_type == "null":
            raise Misfit("has no value")
        if scalar.is_sexagesimal:
            raise Misfit("is a number to base 60 in YAML; write a plain decimal number")
        # YAML 1.1 reads 010 as 8 and 1_000 as 1000: people disagree with it about the first, so neither is taken.
        if scalar.yaml_type != "int" or re.fullmatch(r"0|-?[1-9][0-9]{0,18}", scalar.text, re.ASCII) is None:
            raise Misfit("is not a plain decimal number")
        value = int(scalar.text)
        if not self.low <= value <= self.high:
            raise Misfit(f"is out of bounds: {self.bounds}")
        return value

    def show(self, value: object) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class Duration:
    """A span of time with its unit, of `low` to `high`, both included; the value is in seconds."""

    low: str
    high: str
    label: str = "duration"

    @property
    def bounds(self) -> str:
        return f"{self.low} to {self.high}"

    def read(self, scalar: Scalar) -> float:
        text = scalar.text
        if scalar.yaml_type == "null":
            raise Misfit("has no value")
        if scalar.is_sexagesimal:
            raise Misfit("is a number to base 60 in YAML; write a duration with its unit, such as 90s")
        if scalar.yaml_type in ("int", "float"):
            raise Misfit(f"has no unit; write it as {text}ms, {text}s, {text}m, {text}h or {text}d")
        milliseconds = duration_milliseconds(text)
        if not duration_milliseconds(self.low) <= milliseconds <= duration_milliseconds(self.high):
            raise Misfit(f"is out of bounds: {self.bounds}")
        return milliseconds / 1000

    def show(self, value: object) -> str:
        if not isinstance(value, float | int):
            raise TypeError(f"a duration is a number of seconds, not {value!r}")
        milliseconds = round(value * 1000)
        unit = next(unit for unit in ("d", "h", "m", "s", "ms") if milliseconds % _MILLISECONDS[unit] == 0)
        # Nobody calls a day 1d in one line and two minutes 120s in the next, but zero is 0s everywhere.
        return f"{milliseconds // _MILLISECONDS[unit]}{unit}" if milliseconds else "0s"


def duration_milliseconds(text: str) -> int:
    """The whole milliseconds of a duration such as `250ms`, `1.5s` or `7d`. Raises: Misfit."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise Misfit("is not a duration: a number and one of the units ms, s, m, h, d, such as 250ms")
    whole, fraction, unit = match.groups(default="")
    scale = 10 ** len(fraction)
    milliseconds, rest = divmod(int(whole + fraction) * _MILLISECONDS[unit], scale)
    if rest:
        raise Misfit("is finer than a millisecond")
    return milliseconds


@dataclass(frozen=True, slots=True)
class Size:
    """A number of bytes with its unit, of `low` to `high`, both included."""

    low: str
    high: str
    label: str = "size"

    @property
    def bounds(self) -> str:
        return f"{self.low} to {self.high}"

    def read(self, scalar: Scalar) -> int:
        text = scalar.text
        if scalar.yaml_type == "null":
            raise Misfit("has no value")
        if scalar.yaml_type in ("int", "float"):
            raise Misfit(f"has no unit; write it as {text}B, {text}KiB, {text}MiB or {text}GiB")
        value = size_bytes(text)
        if not size_bytes(self.low) <= value <= size_bytes(self.high):
            raise Misfit(f"is out of bounds: {self.bounds}")
        return value

    def show(self, value: object) -> str:
        if not isinstance(value, int):
            raise TypeError(f"a size is a number of bytes, not {value!r}")
        unit = next(unit for unit in ("GiB", "MiB", "KiB", "B") if value % _BYTES[unit] == 0) if value else "B"
        return f"{value // _BYTES[unit]}{unit}"


def size_bytes(text: str) -> int:
    """The bytes of a size such as `64MiB`. Raises: Misfit."""
    match = _SIZE.fullmatch(text)
    if match is None:
        decimal = re.fullmatch(r"([0-9]+)\s?([kKmMgG])[bB]?", text, re.ASCII)
        if decimal is not None:
            raise Misfit(f"is not a size; write it as {decimal[1]}{decimal[2].upper()}iB, which counts by 1024")
        raise Misfit("is not a size: a number and one of the units B, KiB, MiB, GiB, such as 64MiB")
    return int(match[1]) * _BYTES[match[2]]


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A host, by name or by IP address, and a TCP port."""

    host: str
    """Without brackets."""
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_wildcard(self) -> bool:
        """Whether this is every address of a machine (`0.0.0.0`, `::`): one can listen there, not connect."""
        try:
            return ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class HostPort:
    """An address `host:port`; without a port the default one."""

    default_port: int
    label: str = "address"

    @property
    def bounds(self) -> str:
        return f"`host:port`, `[IPv6]:port`; port {self.default_port} when none is given"

    def read(self, scalar: Scalar) -> Address:
        return parse_address(text_of(scalar), self.default_port)

    def show(self, value: object) -> str:
        text = str(value)
        return f'"{text}"' if text.startswith("[") else text


def parse_address(text: str, default_port: int) -> Address:
    """The address that `host:port`, `host`, `[IPv6]:port` or `[IPv6]` names. Raises: Misfit."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise Misfit("is not an address: an IPv6 address is written [::1]:7400")
        separator, port_text = rest[:1], rest[1:]
        if _ip_version(host) != 6:
            raise Misfit(f"is not an address: {host!r} in the brackets is not an IPv6 address")
        host = str(ipaddress.ip_address(host))
    else:
        if text.count(":") > 1:
            raise Misfit("is not an address: an IPv6 address is written in brackets, [::1]:7400")
        host, separator, port_text = text.partition(":")
        if not _is_host(host):
            raise Misfit(f"is not an address: {host!r} is neither a host's name nor an IP address")
    if not separator:
        return Address(host, default_port)
    if re.fullmatch(r"[1-9][0-9]{0,4}", port_text, re.ASCII) is None or int(port_text) > PORT_MAX:
        raise Misfit(f"is not an address: the port {port_text!r} is not a number from 1 to {PORT_MAX}")
    return Address(host, int(port_text))


def _ip_version(host: str) -> int | None:
    try:
        return ipaddress.ip_address(host).version
    except ValueError:
        return None


def _is_host(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        return False
    # The last label of a name has a letter (RFC 1123 §2.1, RFC 3696 §2); so 10.0.0.256 and 7400 alone are mistakes.
    return not labels[-1].isdigit() or _ip_version(host) == 4


@dataclass(frozen=True, slots=True)
class ClusterId:
    """A UUID."""

    label: str = "UUID"
    bounds: str = "such as `6f9c3c1e-0000-4000-8000-000000000000`"

    def read(self, scalar: Scalar) -> uuid.UUID:
        text = scalar.text if scalar.yaml_type in ("int", "float") else text_of(scalar)
        # uuid.UUID() also takes braces, "urn:uuid:" and no hyphens at all; one spelling is enough.
        if re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text, re.ASCII) is None:
            raise Misfit(f"is not a UUID, {self.bounds.replace('`', '')}; `uuidgen` prints a new one")
        if int(text.replace("-", ""), 16) == 0:
            raise Misfit("is the nil UUID, which names no cluster; `uuidgen` prints a new one")
        return uuid.UUID(text)

    def show(self, value: object) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class FilePath:
    """A path, relative to the settings file's directory."""

    has_placeholder: bool = True
    """Whether `{node}` stands for the node's id."""
    label: str = "path"
    replacements: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def bounds(self) -> str:
        return "`{node}` is replaced by the node's id" if self.has_placeholder else ""

    def read(self, scalar: Scalar) -> str:
        text = text_of(scalar)
        if not text:
            raise Misfit("is an empty path")
        if "\0" in text:
            raise Misfit("has a NUL character, which no path can have")
        for braces in _BRACES.findall(text):
            if not self.has_placeholder:
                raise Misfit(f"has {braces}; nothing is replaced in this path")
            if braces != PLACEHOLDER:
                raise Misfit(f"has {braces}; only {PLACEHOLDER} is replaced")
        if text.startswith("~"):
            raise Misfit("begins with ~, which only a shell replaces; write the directory out")
        return text

    def show(self, value: object) -> str:
        return str(value)


CLUSTER_NAME_KIND = Text(
    "cluster's name", CLUSTER_NAME, "lower-case letters, digits and `-`, at most 63, not `-` first"
)
USER_NAME_KIND = Text(
    "user's name", USER_NAME, "letters, digits and any of `._@-`, at most 63, a letter or digit first"
)
PREFIX_KIND = Text(
    "prefix",
    re.compile(r"[\s\S]{1,4096}"),
    "text, matched as UTF-8 bytes; the empty one is every key",
    may_be_empty=True,
)
NODE_ID_KIND = Integer(1, NODE_ID_MAX)
