import io
import json
import logging
import os
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from raftd import events
from raftd.daemon import logs
from raftd.daemon.logs import JournalHandler, LineHandler, LogFormat

logger = logging.getLogger("raftd.test")


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Leave logging as pytest set it up."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


class StuckStream(io.StringIO):
    """A terminal that somebody has stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.moves = threading.Event()

    def write(self, text: str) -> int:
        self.moves.wait(10)
        return super().write(text)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "journal"))
        listening.settimeout(5)
        yield listening


def lines(log_format: LogFormat) -> str:
    """What two records and a failure look like, with time, path and line numbers out."""
    stream = io.StringIO()
    handler = logs.configure(stream, log_format=log_format, node_id=3, environment={})
    events.LEADER_ELECTED.log(logger, leader=2, term=5)
    logger.warning("bad name %r", "x\x1b[31m\ny")
    logger.error("forged\nline \u2028 here")
    logger.debug("not wanted")
    try:
        int("why\x07")
    except ValueError:
        logger.exception("failed")
    handler.close()
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "TIME", stream.getvalue())
    return re.sub(r'File \\?"[^"]+", line \d+', "File", text)


def test_text_lines() -> None:
    """A record is one line, whatever is in it; a traceback follows, indented."""
    assert lines(LogFormat.TEXT).splitlines()[:5] == [
        "TIME info     node 2 leads term 5",
        r"TIME warning  bad name 'x\x1b[31m\ny'",
        r"TIME error    forged\nline \u2028 here",
        "TIME error    failed",
        "    Traceback (most recent call last):",
    ]
    assert (
        lines(LogFormat.TEXT).splitlines()[-1] == r"    ValueError: invalid literal for int() with base 10: 'why\x07'"
    )


def test_json_lines() -> None:
    """A record is one JSON object with the event's name and fields."""
    first, second, third, fourth = (json.loads(line) for line in lines(LogFormat.JSON).strip().split("\n"))
    assert first == {
        "time": "TIME",
        "level": "info",
        "message": "node 2 leads term 5",
        "logger": "raftd.test",
        "node": 3,
        "event": "leader_elected",
        "leader": 2,
        "term": 5,
    }
    assert second["message"] == r"bad name 'x\x1b[31m\ny'"
    assert third["message"] == "forged\nline \u2028 here"
    assert fourth["traceback"].endswith(r"'why\x07'")


def test_time_is_utc_to_the_millisecond() -> None:
    """Clocks of several machines are compared, so lines carry UTC."""
    record = logging.makeLogRecord({"created": 1767225599.9999, "msg": "x", "levelname": "INFO"})
    assert logs.text_line(record) == "2025-12-31T23:59:59.999Z info     x"


def parse(datagram: bytes) -> dict[str, str]:
    """The journal's reading of a datagram."""
    fields = {}
    while datagram:
        end = datagram.index(b"\n")
        name, separator, value = datagram[:end].partition(b"=")
        if separator:
            datagram = datagram[end + 1 :]
        else:
            (length,) = struct.unpack_from("<Q", datagram, end + 1)
            value = datagram[end + 9 : end + 9 + length]
            assert datagram[end + 9 + length : end + 10 + length] == b"\n"
            datagram = datagram[end + 10 + length :]
        fields[name.decode()] = value.decode()
    return fields


def journalled(journal: socket.socket) -> dict[str, str]:
    return parse(journal.recv(1 << 20))


def test_journal_fields(journal: socket.socket) -> None:
    """An event can be found in the journal by its name, its node and its MESSAGE_ID."""
    logs.configure(sys.stderr, log_format=LogFormat.JOURNAL, node_id=3, journal_path=journal.getsockname())
    events.LEADER_ELECTED.log(logger, leader=2, term=5)
    fields = journalled(journal)
    assert int(fields.pop("CODE_LINE")) > 0
    assert fields.pop("CODE_FILE") == __file__
    assert fields == {
        "MESSAGE": "node 2 leads term 5",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "raftd",
        "LOGGER": "raftd.test",
        "CODE_FUNC": "test_journal_fields",
        "RAFTD_NODE": "3",
        "RAFTD_EVENT": "leader_elected",
        "MESSAGE_ID": events.LEADER_ELECTED.message_id,
        "RAFTD_LEADER": "2",
        "RAFTD_TERM": "5",
    }


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, "7"), (logging.INFO, "6"), (logging.WARNING, "4"), (logging.ERROR, "3"), (logging.CRITICAL, "2")],
)
def test_priorities(journal: socket.socket, level: int, priority: str) -> None:
    """Levels are syslog's priorities, so that `journalctl -p warning` works."""
    logs.configure(sys.stderr, log_format=LogFormat.JOURNAL, level=level, journal_path=journal.getsockname())
    logger.log(level, "x")
    assert journalled(journal)["PRIORITY"] == priority


def test_a_line_feed_forges_no_journal_field(journal: socket.socket) -> None:
    """Text with line feeds travels in the binary form, as it is."""
    logs.configure(sys.stderr, log_format=LogFormat.JOURNAL, journal_path=journal.getsockname())
    logger.error("one\nPRIORITY=0\nMESSAGE_ID=forged")
    fields = journalled(journal)
    assert fields["MESSAGE"] == "one\nPRIORITY=0\nMESSAGE_ID=forged"
    assert fields["PRIORITY"] == "3"
    assert "MESSAGE_ID" not in fields


def test_a_huge_message_is_cut(journal: socket.socket) -> None:
    """A record always fits a datagram; what is cut says so."""
    handler = logs.configure(sys.stderr, log_format=LogFormat.JOURNAL, journal_path=journal.getsockname())
    logger.error("x" * 1_000_000)
    message = journalled(journal)["MESSAGE"]
    assert len(message) == logs.FIELD_BYTES_MAX
    assert message.endswith("x [cut]")
    assert handler.dropped == 0


def test_text_that_is_no_unicode_is_logged(journal: socket.socket) -> None:
    """A lone surrogate, as file names may hold, does not lose the record."""
    logs.configure(sys.stderr, log_format=LogFormat.JOURNAL, journal_path=journal.getsockname())
    logger.error("name \udcff")
    assert journalled(journal)["MESSAGE"] == "name \\udcff"


def test_a_journal_that_does_not_read_costs_no_time(journal: socket.socket) -> None:
    """A full or missing journal drops records, counts them, and lets the caller go on."""
    handler = JournalHandler(None, journal.getsockname())
    logging.getLogger().addHandler(handler)
    started = time.monotonic()
    for _ in range(2000):
        logger.error("x" * 1000)
    assert time.monotonic() - started < 5
    assert handler.dropped > 0
    Path(journal.getsockname()).unlink()
    before = handler.dropped
    logger.error("x")
    assert handler.dropped == before + 1


def test_a_stream_that_does_not_read_costs_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stuck terminal the queue fills, lines are dropped and counted; once it moves, it tells how many."""
    monkeypatch.setattr(logs, "QUEUED_LINES_MAX", 10)
    stream = StuckStream()
    handler = LineHandler(stream, lambda record: record.getMessage())
    logging.getLogger().addHandler(handler)
    for number in range(100):
        logger.error("%d", number)
    dropped = handler.dropped
    assert dropped >= 89
    stream.moves.set()
    handler.close()
    written = stream.getvalue().splitlines()
    # Told once, or twice: the thread may take its first line when some were dropped already.
    told = [int(found[1]) for line in written if (found := re.fullmatch(r"\((\d+) lines were dropped here\)", line))]
    assert sum(told) == dropped
    assert len(written) == 100 - dropped + len(told)


def test_a_stream_that_is_gone_does_no_harm() -> None:
    """With the reader of a pipe gone, logging goes on, counting."""
    reading, writing = os.pipe()
    os.close(reading)
    stream: TextIO = os.fdopen(writing, "w", buffering=1)
    handler = LineHandler(stream, lambda record: record.getMessage())
    logging.getLogger().addHandler(handler)
    logger.error("x")
    handler.close()
    assert handler.dropped == 1
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_auto_takes_the_journal_only_where_stderr_is_it(tmp_path: Path) -> None:
    """JOURNAL_STREAM must name the very socket that standard error is: a child's redirected stderr is none."""
    ours, theirs = socket.socketpair()
    with ours, theirs, os.fdopen(os.dup(ours.fileno()), "w") as stream:
        status = os.fstat(stream.fileno())
        named = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        path = str(tmp_path / "x")
        assert isinstance(logs.configure(stream, environment=named, journal_path=path), JournalHandler)
        assert isinstance(logs.configure(stream, environment={}), LineHandler)
        assert isinstance(logs.configure(stream, environment={"JOURNAL_STREAM": "1:2"}), LineHandler)
        assert isinstance(logs.configure(io.StringIO(), environment=named), LineHandler)
    with (tmp_path / "file").open("w") as stream:
        status = os.fstat(stream.fileno())
        named = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert isinstance(logs.configure(stream, environment=named), LineHandler)
        logging.getLogger().handlers[0].close()
