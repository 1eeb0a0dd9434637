r"""What the commands print: one place for `-o table|json|yaml`, for errors, and for exit codes.

**Bytes.** Keys and values are bytes. In a table they are text where they are printable UTF-8, and everything else is
escaped (`\xNN`, `\n`, and `\\` for the backslash itself), so that a stored value can neither break a table nor steer a
terminal. In JSON and YAML, bytes that are UTF-8 are a string and all others are `{"base64": "..."}`: the type tells
them apart, so a script can restore every value exactly. Control characters are escaped there too.

**Characters.** JSON and YAML are UTF-8 whatever the locale says, as whoever reads them expects. Everything else is for
people, in their locale's characters; one that it does not have is escaped (`\u2713`), since to refuse it would make a
failure of what was done.

**Colour** is for terminals: never into a pipe, and not where NO_COLOR is set (no-color.org) or TERM is `dumb`.
"""

import base64
import contextlib
import enum
import errno
import io
import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TextIO

import click
import yaml

from raftd.errors import ExitCode, RaftdError

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells have it."""

READER_GONE: Final = 141
"""Exit code where the reader of a pipe left early: 128 + SIGPIPE, what `cat | head` would give."""

_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO))
_CONTROLS: Final = re.compile("[\x7f-\x9f]")
"""DEL and C1 (ECMA-48): a terminal may obey them, as U+009B, which is ESC and [ in one."""
_YAML_BREAKS: Final = frozenset("\x85\u2028\u2029")
"""Line breaks to YAML 1.1 beside LF and CR; PyYAML writes them as they are, and folds them when it reads them."""


class OutputFormat(enum.Enum):
    """What `-o` chooses."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class Style(enum.Enum):
    """How a cell looks on a terminal; the values are SGR parameters (ECMA-48)."""

    BOLD = "1"
    DIM = "2"
    GOOD = "32"
    WARNING = "33"
    BAD = "31"


@dataclass(frozen=True, slots=True)
class Styled:
    """A cell with a look; in JSON and YAML only its value is left."""

    value: object
    style: Style


def format_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with `-o`; it receives `output_format`, an `OutputFormat`."""
    return click.option(
        "-o",
        "--output",
        "output_format",
        type=click.Choice([each.value for each in OutputFormat]),
        default=OutputFormat.TABLE.value,
        show_default=True,
        callback=_chosen,
        help="How to print the result.",
    )(function)


def _chosen(context: click.Context, _parameter: click.Parameter, value: str) -> OutputFormat:
    output_format = OutputFormat(value)
    if output_format is not OutputFormat.TABLE and not context.resilient_parsing:
        _configure(sys.stdout, encoding="utf-8")
    return output_format


def show_rows(rows: Sequence[Mapping[str, object]], columns: Sequence[str], output_format: OutputFormat) -> None:
    """Print `rows`: a table of `columns`, or a list of objects with everything that the rows hold."""
    if output_format is OutputFormat.TABLE:
        write(table(rows, columns, coloured=use_colour(sys.stdout)))
    else:
        write(document(list(rows), output_format))


def show_record(record: Mapping[str, object], output_format: OutputFormat) -> None:
    """Print one thing: a line `name  value` for each field, or one object."""
    if output_format is not OutputFormat.TABLE:
        write(document(record, output_format))
        return
    width = max(map(len, record), default=0)
    write("".join(f"{name:<{width}}  {_cell(value)}".rstrip() + "\n" for name, value in record.items()))


def table(
    rows: Sequence[Mapping[str, object]],
    columns: Sequence[str],
    *,
    coloured: bool = False,
    with_header: bool = True,
    widths_min: Sequence[int] = (),
) -> str:
    """Lay out `rows` under upper-case `columns`; numbers stand right, an absent or None value is `-`.

    A table that grows is made of several: the first has the header, the others the widths of those before
    (`column_widths`).
    """
    header = [column.replace("_", " ").upper() for column in columns]
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = list(map(max, column_widths(rows, columns), widths_min or [0] * len(columns)))
    right = [_is_numeric([row.get(column) for row in rows]) for column in columns]

    def line(texts: Sequence[str], styles: Sequence[Style | None]) -> str:
        padded = [_pad(*each) for each in zip(texts, widths, right, strict=True)]
        if not right[-1]:
            padded[-1] = texts[-1]  # nothing stands behind it, so it needs no space
        painted = map(_paint, padded, styles if coloured else [None] * len(columns))
        return "  ".join(painted) + "\n"

    body = [
        line(texts, [_style(row.get(column)) for column in columns]) for texts, row in zip(cells, rows, strict=True)
    ]
    return "".join([line(header, [Style.BOLD] * len(columns)), *body] if with_header else body)


def column_widths(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> list[int]:
    """How many columns of a terminal each column of a table of these rows takes, its name included."""
    return [max(len(column), *(_width(_cell(row.get(column))) for row in rows), 0) for column in columns]


def json_line(value: object) -> str:
    """Serialize `value` as JSON in one line, with bytes as the module's text says."""
    return _json(_plain(value)) + "\n"


def document(value: object, output_format: OutputFormat) -> str:
    """Serialize `value` as JSON or YAML, with bytes as the module's text says."""
    plain = _plain(value)
    if output_format is OutputFormat.YAML:
        return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return _json(plain, indent=2) + "\n"


def printable(data: bytes | str) -> str:
    """Show `data` in one line: printable text as it is, the rest escaped; different data never look the same."""
    text = data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text  # as nearly all is: a listing of many keys spends its time here
    return "".join(map(_escape, text))


def is_terminal(stream: TextIO | None) -> bool:
    """Whether `stream` is a terminal; None is Python's word for one that was closed when it started."""
    return stream is not None and stream.isatty()


def use_colour(stream: TextIO | None) -> bool:
    """Whether `stream` is a terminal whose user wants colour."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def write(text: str) -> None:
    """Print `text` as it is; where nobody reads any more, end quietly.

    Raises:
        click.exceptions.Exit: The reader of the pipe has left.
        click.ClickException: It cannot be written, to a full disk for example.
    """
    with _writing() as stream:
        stream.write(text)


def write_bytes(data: bytes) -> None:
    """Print `data` as it is. Raises: as `write`."""
    with _writing() as stream:
        stream.flush()
        stream.buffer.write(data)


@contextlib.contextmanager
def _writing() -> Iterator[TextIO]:
    if sys.stdout is None:
        raise click.ClickException("cannot write the result: standard output is closed")
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        raise click.exceptions.Exit(READER_GONE) from None  # click itself would make it exit code 1
    except OSError as error:
        raise _unwritable(error) from None


@contextlib.contextmanager
def _writing_by_others() -> Iterator[None]:
    """Click writes help by itself. Whatever else of a command cannot be written is a `RaftdError`, or has a name."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno not in _FULL:
            raise
        raise _unwritable(error) from None


def _unwritable(error: OSError) -> click.ClickException:
    _abandon(sys.stdout)
    return click.ClickException(f"cannot write the result: {error.strerror}")


def complain(text: str) -> None:
    """Write on standard error what is no result, as it is.

    Where that is closed or full nobody reads it, and nothing else changes: the exit code still says what has happened.
    """
    if sys.stderr is None:  # `print` would take that for standard output, and the text for a result
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        _abandon(sys.stderr)


def warn(name: str, message: str) -> None:
    """Say something on standard error that is no result, as `name: message`."""
    complain("".join(f"{name}: {printable(line)}\n" for line in message.splitlines()))


def run_main(command: click.Command, name: str, arguments: Sequence[str] | None = None) -> int:
    """Run `command` and return its exit code; every expected failure is one line on standard error.

    An exception that is neither a `RaftdError` nor click's is a bug, and keeps its traceback.

    Args:
        command: What to run; it may return an `int`, its exit code.
        name: What the user called, `raftd` or `raftctl`.
        arguments: The command line without its first word; this process's own by default.
    """
    for stream in (sys.stdout, sys.stderr):
        _configure(stream)
    try:
        with _writing_by_others():
            result = command.main(args=arguments, prog_name=name, standalone_mode=False)
            if sys.stdout is not None:
                sys.stdout.flush()
    except click.UsageError as error:
        return _usage(name, error)
    except click.ClickException as error:
        warn(name, error.format_message())
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        _abandon(sys.stdout)
        return READER_GONE
    except RaftdError as error:
        warn(name, str(error) or type(error).__name__)
        return error.exit_code
    return result if isinstance(result, int) else ExitCode.OK


def _usage(name: str, error: click.UsageError) -> int:
    path = error.ctx.command_path if error.ctx is not None else name
    message = error.format_message()
    if error.ctx is not None and message == error.ctx.get_help():
        complain(f"{message}\n")  # a group without a command: since click 8.2 the help is the error
    else:
        warn(name, f"{message.rstrip('.')} (see '{path} --help')")
    return ExitCode.USAGE


def _configure(stream: TextIO | None, *, encoding: str | None = None) -> None:
    """Have `stream` escape characters that its encoding does not have."""
    if isinstance(stream, io.TextIOWrapper):  # not None, nor what a test has put there
        stream.reconfigure(encoding=encoding or stream.encoding, errors="backslashreplace")


def _abandon(stream: TextIO) -> None:
    """Point `stream` nowhere, or the interpreter's own flush at exit fails once more, and makes the exit code 120."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _escape(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    if character in "\n\r\t":
        return repr(character)[1:-1]
    if "\ud800" <= character <= "\udfff" and not "\udc80" <= character <= "\udcff":
        return f"\\u{ord(character):04x}"  # half of a pair, as JSON and YAML can write it: no bytes stand for it
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def _json(plain: object, *, indent: int | None = None) -> str:
    """As `json.dumps`, with the controls escaped that it leaves as they are; they can stand in strings alone."""
    text = json.dumps(plain, indent=indent, ensure_ascii=False)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class _Dumper(yaml.SafeDumper):
    """Quotes so that all text is read as it was."""


def _yaml_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # In double quotes alone are there escapes for them.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if _YAML_BREAKS.isdisjoint(text) else '"')


_Dumper.add_representer(str, _yaml_text)


def _plain(value: object) -> object:
    match value:
        case Styled():
            return _plain(value.value)
        case bytes():
            return _plain_bytes(value)
        case enum.Enum():
            return value.value
        case Mapping():
            return {str(name): _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case _:
            return value


def _plain_bytes(data: bytes) -> object:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _cell(value: object) -> str:
    match value:
        case Styled():
            return _cell(value.value)
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case enum.Enum():
            return printable(str(value.value))
        case bytes() | str():
            return printable(value)
        case _:
            return printable(str(value))


def _style(value: object) -> Style | None:
    return value.style if isinstance(value, Styled) else None


def _is_numeric(values: Sequence[object]) -> bool:
    """Whether these are numbers, as far as they are anything."""
    inner = [value.value if isinstance(value, Styled) else value for value in values]
    there = [value for value in inner if value is not None]
    return bool(there) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in there)


def _width(text: str) -> int:
    """Columns that `text` takes on a terminal: two for East Asian wide characters, none for combining marks."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )


def _pad(text: str, width: int, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space


def _paint(text: str, style: Style | None) -> str:
    return text if style is None else f"\x1b[{style.value}m{text}\x1b[0m"
