"""Files that are read more than once, also those that can be read only once: standard input, and pipes by any name."""

import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import click

from raftd.cli.parameters import reading_stdin

STREAM: Final = "-"
_PIECE_BYTES: Final = 1 << 20


@contextlib.contextmanager
def opened_seekable(file: str) -> Iterator[BinaryIO]:
    """A stream of what is in `file`, at its beginning, in which one can go back; `-` is standard input.

    What cannot be read twice is put aside first, in a temporary file that nobody else sees.

    Raises:
        OSError: it cannot be opened or read.
        click.ClickException: standard input cannot be read, or what comes cannot be put aside.
    """
    with contextlib.ExitStack() as stack:
        if file == STREAM:
            with reading_stdin() as source:
                stream = stack.enter_context(_put_aside(source))
        else:
            stream = stack.enter_context(Path(file).open("rb"))
            if not stream.seekable():
                stream = stack.enter_context(_put_aside(stream))
        yield stream


def name_of_input(file: str) -> str:
    """What a message calls it."""
    return "standard input" if file == STREAM else file


def _put_aside(source: BinaryIO) -> BinaryIO:
    with contextlib.ExitStack() as stack:
        with _saying_where():
            # Not buffered: what a full disk has not taken would be tried once more when it is closed.
            aside = stack.enter_context(tempfile.TemporaryFile(buffering=0))
        while data := source.read(_PIECE_BYTES):
            left = memoryview(data)
            while left:
                with _saying_where():
                    left = left[aside.write(left) :]
        aside.seek(0)
        stack.pop_all()
        return io.BufferedReader(aside)


@contextlib.contextmanager
def _saying_where() -> Iterator[None]:
    """Tell trouble with the temporary file from trouble with what goes into it."""
    try:
        yield
    except OSError as error:
        message = f"cannot put aside what comes, in {tempfile.gettempdir()}: {error.strerror}"
        raise click.ClickException(message) from None
