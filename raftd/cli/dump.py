"""The file that `raftctl export` writes and `raftctl import` reads: JSON lines, framed so that a cut one is found out.

::

    line     JSON object
    ----     -----------
    first    {"raftd": "export", "format": 1, "revision": N, "prefix": BYTES, "keys": N or null}
    others   {"key": BYTES, "value": BYTES}, and "lease": ID where the key had one
    last     {"end": true, "keys": N, "sha256": of all lines before this one, in hexadecimal}

BYTES are a string where they are UTF-8, and else {"base64": "..."}. A file is valid if and only if each line is one of
these, the first and the last are there, nothing follows the last, and it says as many keys, and the sum, as there are.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from raftd.cli.output import json_line
from raftd.cli.parameters import U64_MAX

FORMAT: Final = 1
LINE_BYTES_MAX: Final = 8 << 20
"""A value of 1 MiB in which JSON escapes each byte, as \\u0000, and a key of 4 KiB."""


class DumpError(ValueError):
    """A file is not an export, or not all of one; the message says in which line, and why."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the first line says."""

    revision: int
    """All of the file is as it was at this one."""
    prefix: bytes
    keys: int | None
    """How many were there, those with leases too; None: not counted."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key."""

    key: bytes
    value: bytes
    lease: int = 0
    """0: none."""


class Writer:
    """Makes the lines of a file."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()
        self._keys = 0

    def header(self, header: Header) -> bytes:
        """The first line."""
        return self._counted(
            {
                "raftd": "export",
                "format": FORMAT,
                "revision": header.revision,
                "prefix": header.prefix,
                "keys": header.keys,
            }
        )

    def entry(self, entry: Entry) -> bytes:
        """A key's line."""
        self._keys += 1
        lease = {"lease": entry.lease} if entry.lease else {}
        return self._counted({"key": entry.key, "value": entry.value, **lease})

    def end(self) -> bytes:
        """The last line."""
        return json_line({"end": True, "keys": self._keys, "sha256": self._sum.hexdigest()}).encode()

    def _counted(self, content: Mapping[str, object]) -> bytes:
        line = json_line(content).encode()
        self._sum.update(line)
        return line


def read(stream: BinaryIO) -> tuple[Header, Iterator[Entry]]:
    """Read a file from its beginning; whatever is wrong is found out when one comes to it.

    Raises:
        DumpError: it does not begin like an export. The iterator raises it too.
    """
    digest = hashlib.sha256()
    line = stream.readline(LINE_BYTES_MAX + 1)
    digest.update(line)
    header = _header(line)
    return header, _entries(stream, digest)


def _entries(stream: BinaryIO, digest: "hashlib._Hash") -> Iterator[Entry]:
    number, keys = 1, 0
    while True:
        number += 1
        line = stream.readline(LINE_BYTES_MAX + 1)
        content = _parse(line, number)
        if "end" in content:
            break
        digest.update(line)
        keys += 1
        yield _entry(content, number)
    if content.get("keys") != keys:
        raise DumpError(f"line {number}: {content.get('keys')} keys are promised, and {keys} are there")
    if content.get("sha256") != digest.hexdigest():
        raise DumpError(f"line {number}: the sum of the lines before is another one: something in them was changed")
    if stream.read(1):
        raise DumpError(f"line {number + 1}: something follows the end")


def _header(line: bytes) -> Header:
    if not line:
        raise DumpError("it is empty")
    content = _parse(line, 1)
    if content.get("raftd") != "export":
        raise DumpError("line 1: this is not an export of raftd")
    if content.get("format") != FORMAT:
        raise DumpError(f"line 1: format {content.get('format')}, and only format {FORMAT} can be read here")
    revision, keys = _count(content, "revision", 1), content.get("keys")
    return Header(revision, _bytes(content, "prefix", 1), None if keys is None else _count(content, "keys", 1))


def _entry(content: Mapping[str, Any], number: int) -> Entry:
    if not content.keys() <= {"key", "value", "lease"}:
        raise DumpError(f"line {number}: there is more in it than a key and its value")
    lease = _count(content, "lease", number) if "lease" in content else 0
    return Entry(_bytes(content, "key", number), _bytes(content, "value", number), lease)


def _parse(line: bytes, number: int) -> Mapping[str, Any]:
    if not line:
        raise DumpError(f"line {number}: the file ends here, before its last line: it was cut")
    if not line.endswith(b"\n"):
        if len(line) > LINE_BYTES_MAX:
            raise DumpError(f"line {number}: it is longer than any line of an export")
        raise DumpError(f"line {number}: the file ends in the middle of it: it was cut")
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise DumpError(f"line {number}: this is not a JSON object")
    return content


def _bytes(content: Mapping[str, Any], name: str, number: int) -> bytes:
    match content.get(name):
        case str(text):
            try:
                return text.encode()
            except UnicodeEncodeError:  # a lone surrogate, as JSON can have
                pass
        case {"base64": str(text), **others} if not others:
            try:
                return base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                pass
    raise DumpError(f"line {number}: {name} is neither a string nor base64")


def _count(content: Mapping[str, Any], name: str, number: int) -> int:
    value = content.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= U64_MAX:
        raise DumpError(f"line {number}: {name} is not a number from 0 to {U64_MAX}")
    return value
