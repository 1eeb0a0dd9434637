import hashlib
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftd.cli import dump
from raftd.cli.dump import DumpError, Entry, Header, Writer, read

entries = st.lists(
    st.builds(Entry, st.binary(min_size=1, max_size=8), st.binary(max_size=8), st.integers(0, (1 << 64) - 1)),
    max_size=5,
)
headers = st.builds(
    Header, st.integers(0, (1 << 64) - 1), st.binary(max_size=4), st.none() | st.integers(0, (1 << 64) - 1)
)


def written(header: Header, content: list[Entry]) -> bytes:
    writer = Writer()
    return b"".join((writer.header(header), *map(writer.entry, content), writer.end()))


def read_all(data: bytes) -> tuple[Header, list[Entry]]:
    header, found = read(io.BytesIO(data))
    return header, list(found)


FILE = written(Header(7, b"a/", 2), [Entry(b"a/1", b"one"), Entry(b"a/\xff", b"\x00\xff", 9)])


@given(headers, entries)
def test_what_is_written_is_read(header: Header, content: list[Entry]) -> None:
    """Whatever bytes keys and values have."""
    assert read_all(written(header, content)) == (header, content)


def test_the_lines() -> None:
    """As the module's text has them: a format on disk that others write, too."""
    assert FILE.decode().splitlines()[:3] == [
        '{"raftd": "export", "format": 1, "revision": 7, "prefix": "a/", "keys": 2}',
        '{"key": "a/1", "value": "one"}',
        '{"key": {"base64": "YS//"}, "value": {"base64": "AP8="}, "lease": 9}',
    ]
    digest = hashlib.sha256(b"".join(FILE.splitlines(keepends=True)[:3])).hexdigest()
    assert json.loads(FILE.splitlines()[3]) == {"end": True, "keys": 2, "sha256": digest}


def test_lines_with_controls() -> None:
    """A line that has them as they are, as older exports do, is the same entry, and the sum is of what stands there."""
    entry = Entry(b"a", "\x7f\x9b31m".encode())
    assert b'"\\u007f\\u009b31m"' in written(Header(7, b"", 1), [entry])
    lines = (
        '{"raftd": "export", "format": 1, "revision": 7, "prefix": "", "keys": 1}\n'
        '{"key": "a", "value": "\x7f\x9b31m"}\n'
    ).encode()
    end = json.dumps({"end": True, "keys": 1, "sha256": hashlib.sha256(lines).hexdigest()}).encode() + b"\n"
    assert read_all(lines + end) == (Header(7, b"", 1), [entry])


def test_a_cut_file_is_found_out() -> None:
    """Wherever it was cut, between two lines too."""
    for length in range(len(FILE)):
        with pytest.raises(DumpError):
            read_all(FILE[:length])


def test_a_changed_file_is_found_out() -> None:
    """Each byte counts, but for those of the last line that are only spelling."""
    for at in range(len(FILE)):
        changed = bytearray(FILE)
        changed[at] ^= 1
        try:
            found = read_all(bytes(changed))
        except DumpError:
            continue
        assert found == read_all(FILE)
        assert at > FILE.rindex(b"\n", 0, -1)


@given(st.binary(max_size=200))
def test_no_bytes_are_a_bug(data: bytes) -> None:
    """Whatever follows a good first line, it is a file or a `DumpError`."""
    for start in (b"", FILE[: FILE.index(b"\n") + 1]):
        with pytest.raises(DumpError):
            read_all(start + data)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"", "empty"),
        (b"{}\n", "line 1: this is not an export"),
        (b"[1]\n", "line 1: this is not a JSON object"),
        (b"[" * 100_000 + b"\n", "line 1: this is not a JSON object"),
        (b'{"raftd": "export", "format": 2}\n', "format 2, and only format 1"),
        (b'{"raftd": "export", "format": 1, "revision": true}\n', "revision is not a number"),
        (b'{"raftd": "export", "format": 1, "revision": 1, "keys": -1, "prefix": ""}\n', "keys is not a number"),
        (b'{"raftd": "export", "format": 1, "revision": 1, "keys": 1}\n', "prefix is neither"),
    ],
)
def test_a_file_of_another_kind(line: bytes, said: str) -> None:
    """It is refused at its first line."""
    with pytest.raises(DumpError, match=said):
        read_all(line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"key": "a"}', "value is neither"),
        ('{"key": "a", "value": 1}', "value is neither"),
        ('{"key": "a", "value": {"base64": "x"}}', "value is neither"),
        ('{"key": "a", "value": {"base64": "", "x": 1}}', "value is neither"),
        ('{"key": "\\ud800", "value": ""}', "key is neither"),
        ('{"key": "a", "value": "", "more": 1}', "more in it"),
        ('{"key": "a", "value": "", "lease": "1"}', "lease is not a number"),
        ('{"end": true, "keys": 1}', "1 keys are promised, and 0 are there"),
        ('{"end": true, "keys": 0, "sha256": ""}', "the sum"),
    ],
)
def test_a_line_of_another_kind(line: str, said: str) -> None:
    """It is refused with its number."""
    first = FILE[: FILE.index(b"\n") + 1]
    with pytest.raises(DumpError, match=f"line 2: .*{said}"):
        read_all(first + line.encode() + b"\n")


def test_what_follows_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files in one are refused; and a line without an end is not taken into memory."""
    with pytest.raises(DumpError, match="line 5: something follows"):
        read_all(FILE + FILE)
    monkeypatch.setattr(dump, "LINE_BYTES_MAX", 100)
    with pytest.raises(DumpError, match="line 2: it is longer"):
        read_all(FILE[: FILE.index(b"\n") + 1] + b" " * 1000)
