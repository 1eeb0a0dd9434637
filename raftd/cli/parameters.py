"""Arguments and options that several commands have.

Keys and values are bytes. What a shell passes is taken byte for byte, UTF-8 or not: Python decodes arguments with
`surrogateescape`, and `os.fsencode` is its exact inverse (PEP 383).
"""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final, NamedTuple

import click

from raftd.cli.completion import complete_key
from raftd.cli.whole import Whole
from raftd.client import Fence
from raftd.kv.limits import VALUE_BYTES_MAX
from raftd.wire.duration import DurationError, parse_duration

FENCE_VARIABLE: Final = "RAFTCTL_FENCE"
FENCE_KEY_VARIABLE: Final = "RAFTCTL_FENCE_KEY"
U64_MAX: Final = (1 << 64) - 1
_U64: Final = re.compile(r"[0-9]{1,20}")
STDIN: Final = b"-"

REVISION: Final = Whole(0, U64_MAX)
LEASE: Final = Whole(1, U64_MAX)
COUNT: Final = Whole(1, (1 << 32) - 1)


def as_given(_context: click.Context, _parameter: click.Parameter, value: str | None) -> bytes | None:
    """A callback: an argument's bytes."""
    return None if value is None else os.fsencode(value)


def all_as_given(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> tuple[bytes, ...]:
    """A callback: the bytes of several."""
    return tuple(map(os.fsencode, value))


def duration(*, or_none: bool = False) -> Callable[[click.Context, click.Parameter, str | None], float | None]:
    """A callback: the seconds of a duration; `or_none`: it may be of no length."""

    def check(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
        if value is None:
            return None
        try:
            milliseconds = parse_duration(value)
        except DurationError as error:
            raise click.BadParameter(f"{value!r} {error}") from None
        if milliseconds == 0 and not or_none:
            raise click.BadParameter("it must be more than 0")
        return milliseconds / 1000

    return check


def _fence(_context: click.Context, _parameter: click.Parameter, value: bool) -> Fence | None:
    if not value:
        return None
    token, key = os.environ.get(FENCE_VARIABLE, ""), os.environb.get(FENCE_KEY_VARIABLE.encode(), b"")
    if not (_U64.fullmatch(token) and int(token) <= U64_MAX and key):
        raise click.BadParameter(
            f"is for commands under `raftctl lock` or `raftctl elect`, which set {FENCE_VARIABLE} and "
            f"{FENCE_KEY_VARIABLE}"
        )
    return Fence(key, int(token))


key_argument = click.argument("key", callback=as_given, shell_complete=complete_key)
prefix_argument = click.argument("prefix", default="", callback=as_given, shell_complete=complete_key)
value_argument = click.argument("value", callback=as_given)
command_argument = click.argument("command", nargs=-1, type=click.UNPROCESSED, callback=all_as_given)

prefix_option = click.option("--prefix", "is_prefix", is_flag=True, help="All keys that begin with KEY.")
to_option = click.option(
    "--to", metavar="HIGH", callback=as_given, help="All keys from KEY up to HIGH, without HIGH; empty: to the end."
)
limit_option = click.option("--limit", type=COUNT, metavar="N", help="No more than N keys.")
keys_only_option = click.option("--keys-only", is_flag=True, help="Only the keys, one in a line.")
revision_option = click.option(
    "--revision", type=Whole(1, U64_MAX), metavar="N", help="As it was at revision N, if that is held still."
)
stale_option = click.option("--stale", is_flag=True, help="From any node, and maybe not the newest; needs no quorum.")
if_revision_option = click.option(
    "--if-revision",
    type=REVISION,
    metavar="N",
    help="Only if the key was last changed at revision N; 0: only if it is absent.",
)
if_value_option = click.option(
    "--if-value", metavar="VALUE", callback=as_given, help="Only if the key is there with this value."
)
previous_option = click.option("--previous", is_flag=True, help="Show what was there before, too.")
fenced_option = click.option(
    "--fenced",
    "fence",
    is_flag=True,
    callback=_fence,
    help="Only while the lock or leadership is held under which this runs.",
)


class Span(NamedTuple):
    """The keys that a command is about, as the client's calls take them."""

    low: bytes = b""
    high: bytes = b""
    prefix: bytes | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `range`, `count`, `delete_range` and `watch`."""
        return {"low": self.low, "high": self.high, "prefix": self.prefix}


def span_of(key: bytes, to: bytes | None, *, is_prefix: bool) -> Span | None:
    """What --prefix and --to say; None: just the key. Raises: click.UsageError: both do."""
    if to is not None:
        if is_prefix:
            raise click.UsageError("--prefix and --to exclude each other")
        return Span(key, to)
    return Span(prefix=key) if is_prefix else None


def given_value(value: bytes) -> bytes:
    """A value as it was given, `-` being what standard input has, byte for byte.

    Raises:
        click.ClickException: that is too much for a value, or cannot be read.
    """
    if value != STDIN:
        return value
    # Whatever comes, no more than this is taken into memory.
    with reading_stdin() as stream:
        data = stream.read(VALUE_BYTES_MAX + 1)
    if len(data) > VALUE_BYTES_MAX:
        raise click.ClickException(f"a value has at most {VALUE_BYTES_MAX} bytes, and standard input has more")
    return data


@contextlib.contextmanager
def reading_stdin() -> Iterator[BinaryIO]:
    """Standard input, as bytes. Raises: click.ClickException: it cannot be read."""
    if sys.stdin is None:  # Python's word for one that was closed when it started
        raise click.ClickException("cannot read standard input: it is closed")
    try:
        yield sys.stdin.buffer
    except OSError as error:
        raise click.ClickException(f"cannot read standard input: {error.strerror}") from None
