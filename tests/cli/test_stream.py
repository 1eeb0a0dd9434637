import json

import pytest
import yaml

from raftd.cli.output import OutputFormat
from raftd.cli.stream import Stream


def test_a_table_that_grows(capsys: pytest.CaptureFixture[str]) -> None:
    """One header, columns that never shrink, and no padding behind the last column."""
    stream = Stream(("key", "value"), OutputFormat.TABLE)
    stream.show([])
    stream.show([{"key": b"long-key", "value": "x"}, {"key": b"b", "value": "\n"}])
    stream.show([{"key": b"c", "value": None}])
    assert capsys.readouterr().out == "KEY       VALUE\nlong-key  x\nb         \\n\nc         -\n"


def test_widths_to_begin_with(capsys: pytest.CaptureFixture[str]) -> None:
    """Where rows come one by one, they stand below each other all the same."""
    stream = Stream(("n", "key"), OutputFormat.TABLE, (4, 0))
    stream.show([{"n": 1, "key": "a"}])
    stream.show([{"n": 12345, "key": "b"}])
    assert capsys.readouterr().out == "   N  KEY\n   1  a\n12345  b\n"


def test_json_is_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes that are no text are told apart from text, and a line feed makes no second line."""
    stream = Stream(("key",), OutputFormat.JSON)
    stream.show([{"key": b"a\n"}])
    stream.show([{"key": b"\xff"}])
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [{"key": "a\n"}, {"key": {"base64": "/w=="}}]


def test_yaml_is_one_list(capsys: pytest.CaptureFixture[str]) -> None:
    """However many times something is added."""
    stream = Stream(("key",), OutputFormat.YAML)
    stream.show([{"key": b"a"}])
    stream.show([{"key": b"b"}, {"key": b"c"}])
    assert yaml.safe_load(capsys.readouterr().out) == [{"key": "a"}, {"key": "b"}, {"key": "c"}]
