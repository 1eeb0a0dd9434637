"""Files that are read more than once, wherever they come from."""

import io
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from raftd.cli.seekable import name_of_input, opened_seekable

DATA = bytes(range(256)) * 8192 + b"end"
"""More than a pipe holds, and than is read at once."""


def read_twice(file: str) -> tuple[bytes, bytes]:
    with opened_seekable(file) as stream:
        first = stream.read()
        stream.seek(0)
        return first, stream.read()


@pytest.mark.parametrize("kind", ["file", "fifo", "pipe", "standard input"])
def test_all_of_it_twice(kind: str, tmp_path: Path, stdin: Callable[[bytes], io.BytesIO]) -> None:
    """By its name, through a pipe by any name, or as standard input."""
    path = tmp_path / "x"
    match kind:
        case "file":
            path.write_bytes(DATA)
            assert read_twice(str(path)) == (DATA, DATA)
        case "fifo":
            os.mkfifo(path)
            writer = threading.Thread(target=path.write_bytes, args=(DATA,))
            writer.start()
            assert read_twice(str(path)) == (DATA, DATA)
            writer.join()
        case "pipe":
            reading, writing = os.pipe()
            with os.fdopen(reading), os.fdopen(writing, "wb") as stream:
                stream.write(b"through bash's <(...)")
                stream.close()
                assert read_twice(f"/dev/fd/{reading}")[1] == b"through bash's <(...)"
        case _:
            stdin(DATA)
            assert read_twice("-") == (DATA, DATA)


def test_what_cannot_be_put_aside_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stdin: Callable[[bytes], io.BytesIO]
) -> None:
    """With the place, as nobody has named it; what cannot be opened is told as ever."""
    stdin(DATA)
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "tempdir", str(tmp_path / "none"))
        with pytest.raises(click.ClickException, match=r"cannot put aside what comes, in .*none: No such file"):
            read_twice("-")
    with pytest.raises(FileNotFoundError):
        read_twice(str(tmp_path / "x"))


def test_what_a_message_calls_it() -> None:
    """A dash is no name."""
    assert name_of_input("-") == "standard input"
    assert name_of_input("./-") == "./-"
