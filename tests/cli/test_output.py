import base64
import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping

import click
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raftd.cli import output
from raftd.cli.output import OutputFormat, Style, Styled
from raftd.consensus.types import Role
from raftd.errors import ExitCode, SettingsError, TlsError

ROWS: list[Mapping[str, object]] = [
    {"node": 1, "role": Role.LEADER, "key": b"caf\xc3\xa9", "lag_entries": None, "healthy": True},
    {"node": 12, "role": Styled("follower", Style.DIM), "key": b"\xff\x00\\\n", "lag_entries": 1500, "healthy": False},
    {"node": 3, "role": Role.FOLLOWER, "key": "日本".encode(), "lag_entries": 7, "extra": "x"},
]
CONTROLS = "".join(map(chr, (*range(0x20), *range(0x7F, 0xA0)))).encode()
COLUMNS = ("node", "role", "key", "lag_entries", "healthy")


def test_table() -> None:
    """Columns are aligned by what they take on a terminal, numbers stand right, and bytes are shown safely."""
    assert output.table(ROWS, COLUMNS) == (
        "NODE  ROLE      KEY           LAG ENTRIES  HEALTHY\n"
        "   1  leader    café                    -  yes\n"
        "  12  follower  \\xff\\x00\\\\\\n         1500  no\n"
        "   3  follower  日本                    7  -\n"
    )


def test_a_table_without_rows_is_its_header() -> None:
    """Nothing found is still a table."""
    assert output.table([], ("node", "role")) == "NODE  ROLE\n"


def test_colour_does_not_move_columns() -> None:
    """With its escape sequences taken out, a coloured table is the plain one, but for blanks at line ends."""
    coloured = output.table(ROWS, COLUMNS, coloured=True)
    assert "\x1b[2mfollower\x1b[0m" in coloured
    for style in Style:
        coloured = coloured.replace(f"\x1b[{style.value}m", "")
    assert coloured.replace("\x1b[0m", "") == output.table(ROWS, COLUMNS)


@settings(deadline=None)
@given(st.binary(), st.binary())
def test_printable_is_safe_and_unambiguous(one: bytes, other: bytes) -> None:
    """Whatever is stored, what is shown is one printable line, and different bytes look different."""
    assert output.printable(one).isprintable()
    assert (output.printable(one) == output.printable(other)) == (one == other)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain", "plain"),
        (b"\x1b[31m", "\\x1b[31m"),
        (b"a\tb\r\n", "a\\tb\\r\\n"),
        ("\u202eevil".encode(), "\\xe2\\x80\\xaeevil"),
        ("name \udcff", "name \\xff"),
    ],
)
def test_printable(data: bytes | str, shown: str) -> None:
    """Control and direction characters are escaped byte by byte."""
    assert output.printable(data) == shown


@settings(deadline=None)
@given(st.binary())
@example("a\x85b".encode())
@example("\u2028a".encode())
@example("a b\u2029\n".encode())
@example(CONTROLS)
def test_documents_restore_bytes(data: bytes) -> None:
    """JSON and YAML tell text from bytes by type, so that both can be restored."""
    for restored in (
        json.loads(output.document({"value": data}, OutputFormat.JSON)),
        yaml.safe_load(output.document({"value": data}, OutputFormat.YAML)),
    ):
        value = restored["value"]
        assert (value.encode() if isinstance(value, str) else base64.b64decode(value["base64"])) == data


def test_documents_steer_no_terminal() -> None:
    """Control characters are escaped, C1 and DEL too, and only line ends of the document's own are left."""
    for text in (
        output.json_line({"value": CONTROLS}),
        output.document({"value": CONTROLS}, OutputFormat.JSON),
        output.document({"value": CONTROLS}, OutputFormat.YAML),
    ):
        assert text.replace("\n", "").isprintable()


def test_json_and_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    """Documents hold everything that the rows hold, without looks and with words for enumerations."""
    output.show_rows(ROWS, COLUMNS, OutputFormat.JSON)
    assert json.loads(capsys.readouterr().out)[1:] == [
        {"node": 12, "role": "follower", "key": {"base64": "/wBcCg=="}, "lag_entries": 1500, "healthy": False},
        {"node": 3, "role": "follower", "key": "日本", "lag_entries": 7, "extra": "x"},
    ]
    output.show_record({"key": b"caf\xc3\xa9", "revision": 3}, OutputFormat.YAML)
    assert capsys.readouterr().out == "key: café\nrevision: 3\n"


def test_record_and_piped_table(capsys: pytest.CaptureFixture[str]) -> None:
    """A record is a line for each field; into a pipe there is no colour."""
    output.show_record({"key": b"a\n", "revision": 3, "lease": None}, OutputFormat.TABLE)
    assert capsys.readouterr().out == "key       a\\n\nrevision  3\nlease     -\n"
    output.show_rows(ROWS, ("role",), OutputFormat.TABLE)
    assert capsys.readouterr().out == "ROLE\nleader\nfollower\nfollower\n"


@pytest.mark.parametrize(
    ("terminal", "environment", "coloured"),
    [
        (True, {"TERM": "xterm"}, True),
        (False, {"TERM": "xterm"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colour_is_for_those_who_want_it(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, environment: dict[str, str], coloured: bool
) -> None:
    """Colour goes to terminals, and not where NO_COLOR or TERM speak against it."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    assert output.use_colour(stream) is coloured


@click.group()
def tool() -> None:
    """A command line to be run."""


@tool.command()
@click.argument("what")
@output.format_option
def fail(what: str, output_format: OutputFormat) -> int:
    """Fail as asked."""
    match what:
        case "tls":
            raise TlsError("the certificate\x1b[0m expired")
        case "settings":
            raise SettingsError("raftd.yaml:1:1: one", "raftd.yaml:2:1: two")
        case "interrupt":
            raise KeyboardInterrupt
        case "click":
            raise click.ClickException("no such file")
        case "not-found":
            return ExitCode.NOT_FOUND
        case "bug":
            raise ZeroDivisionError
        case _:
            output.show_record({"format": output_format}, output_format)
            return ExitCode.OK


@pytest.mark.parametrize(
    ("arguments", "code", "out", "err"),
    [
        (["fail", "no"], 0, "format  table\n", ""),
        (["fail", "no", "-o", "json"], 0, '{\n  "format": "json"\n}\n', ""),
        (["fail", "not-found"], 3, "", ""),
        (["fail", "tls"], 7, "", "raftctl: the certificate\\x1b[0m expired\n"),
        (["fail", "settings"], 78, "", "raftctl: raftd.yaml:1:1: one\nraftctl: raftd.yaml:2:1: two\n"),
        (["fail", "click"], 1, "", "raftctl: no such file\n"),
        (["fail"], 2, "", "raftctl: Missing argument 'WHAT' (see 'raftctl fail --help')\n"),
        (["nothing"], 2, "", "raftctl: No such command 'nothing' (see 'raftctl --help')\n"),
    ],
)
def test_exit_codes(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, out: str, err: str) -> None:
    """Each end has its exit code, and each expected failure one line on standard error."""
    assert output.run_main(tool, "raftctl", arguments) == code
    assert capsys.readouterr() == (out, err)


def test_interrupt(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends with 130 and without a traceback."""
    assert output.run_main(tool, "raftctl", ["fail", "interrupt"]) == 130
    assert capsys.readouterr().err.strip() == ""


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Asked for, help is a result; a command line without a command gets it too."""
    assert output.run_main(tool, "raftctl", ["--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: raftctl")
    output.run_main(tool, "raftctl", [])
    assert "Usage: raftctl" in "".join(capsys.readouterr())


def test_a_bug_keeps_its_traceback() -> None:
    """What nobody expected must not be made to look expected."""
    with pytest.raises(ZeroDivisionError):
        output.run_main(tool, "raftctl", ["fail", "bug"])


@pytest.mark.parametrize("size", [1, 70000])
def test_a_reader_that_leaves_is_no_error(size: int) -> None:
    """`raftctl … | head -1` says nothing on standard error, and ends as SIGPIPE would."""
    program = (
        "import sys, click\n"
        "from raftd.cli import output\n"
        "@click.command()\n"
        "def many() -> None:\n"
        "    for _ in range(100):\n"
        f"        output.write('x' * {size} + chr(10))\n"
        "sys.exit(output.run_main(many, 'raftctl', []))\n"
    )
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing) as pipe:
        ended = subprocess.run(
            [sys.executable, "-c", program], stdout=pipe, stderr=subprocess.PIPE, check=False, timeout=30
        )
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_json_in_a_line() -> None:
    """One line, whatever is in it."""
    line = output.json_line({"key": b"a\n\xff", "list": [b"\n"], "none": None})
    assert line.count("\n") == 1
    assert json.loads(line) == {"key": {"base64": "YQr/"}, "list": ["\n"], "none": None}


def test_a_table_that_is_made_of_several() -> None:
    """The second has no header, and at least the widths of the first."""
    widths = output.column_widths(ROWS, COLUMNS)
    assert widths == [4, 8, 12, 11, 7]
    assert output.table([{"node": 7, "role": "x"}], COLUMNS, with_header=False, widths_min=widths) == (
        "   7  x         -             -            -\n"
    )


SPEAKER = r"""import sys, click
from raftd.cli import output
@click.command()
@output.format_option
def speak(output_format):
    output.show_record({"value": "\u2713".encode(), "name": "half \udcff"}, output_format)
    output.complain("\u2713\n")
    return 3
sys.exit(output.run_main(speak, "raftctl"))
"""
"""Prints a character that few encodings have, and says so; its exit code has a meaning."""


def speak(redirection: str, *arguments: str, encoding: str = "utf-8") -> tuple[int, bytes, bytes]:
    words = " ".join(map(shlex.quote, [sys.executable, "-c", SPEAKER, *arguments]))
    ended = subprocess.run(
        ["bash", "-c", f"{words} {redirection}"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        timeout=30,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize(
    ("encoding", "arguments", "out", "err"),
    [
        ("utf-8", [], "value  ✓\nname   half \\xff\n", "✓\n"),
        ("ascii", [], "value  \\u2713\nname   half \\xff\n", "\\u2713\n"),
        ("iso-8859-1", [], "value  \\u2713\nname   half \\xff\n", "\\u2713\n"),
        ("ascii", ["-o", "json"], '{\n  "value": "✓",\n  "name": "half \\udcff"\n}\n', "\\u2713\n"),
        ("iso-8859-1", ["-o", "yaml"], 'value: ✓\nname: "half \\uDCFF"\n', "\\u2713\n"),
    ],
)
def test_characters_that_a_locale_does_not_have(encoding: str, arguments: list[str], out: str, err: str) -> None:
    """They are escaped for people, and nothing fails for them after it was done; documents are UTF-8 everywhere."""
    assert speak("", *arguments, encoding=encoding) == (3, out.encode(), err.encode())


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_complaints_that_nobody_reads(redirection: str) -> None:
    """They become no result, and change no exit code."""
    assert speak(redirection, "-o", "json")[:2] == (3, speak("", "-o", "json")[1])


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_errors_that_nobody_reads(redirection: str) -> None:
    """Likewise."""
    assert speak(redirection, "--nonsense") == (2, b"", b"")


@pytest.mark.parametrize("buffering", ["", "1"])
def test_help_onto_a_full_disk(buffering: str) -> None:
    """It is a line and no traceback, whether the text fails as it is written or in the end."""
    ended = subprocess.run(
        ["bash", "-c", f"{shlex.quote(sys.executable)} -c {shlex.quote(SPEAKER)} --help >/dev/full"],
        capture_output=True,
        env={**os.environ, "PYTHONUNBUFFERED": buffering},
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, b"raftctl: cannot write the result: No space left on device\n")


def test_half_of_a_surrogate_pair_is_shown() -> None:
    """JSON and YAML can write it; no bytes stand for it, and it looks like nothing else."""
    assert output.printable("a\ud800") == "a\\ud800"
    assert output.printable("a\\ud800") == "a\\\\ud800"
