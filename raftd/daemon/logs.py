"""Where log records go: readable lines, JSON lines, or the journal. Nothing here makes the event loop wait.

Lines go to standard error through a thread and a bounded queue, since a terminal or a pipe may stop taking bytes at any
time. The journal takes datagrams on a socket that never blocks (systemd.journal-fields(7), "native journal protocol").
What cannot be taken in time is dropped and counted.
"""

import enum
import json
import logging
import os
import queue
import re
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, TextIO

from raftd.events import Event

JOURNAL_SOCKET: Final = "/run/systemd/journal/socket"

QUEUED_LINES_MAX: Final = 4096
FIELD_BYTES_MAX: Final = 32 << 10
"""A longer field is cut: a datagram must fit the socket's buffer, and no event of raftd needs more."""
FLUSH_SECONDS_MAX: Final = 1.0
"""How long the process's end waits for its last lines."""

_CUT: Final = b" [cut]"
_PRIORITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class LogFormat(enum.Enum):
    """How records are written."""

    AUTO = "auto"
    """The journal where standard error is one, else text."""
    TEXT = "text"
    JSON = "json"
    JOURNAL = "journal"


def event_fields(record: logging.LogRecord) -> Mapping[str, object]:
    """The fields of an `Event`'s record; none for any other record."""
    return record.args if isinstance(event_of(record), Event) and isinstance(record.args, Mapping) else {}


def event_of(record: logging.LogRecord) -> Event | None:
    """The event that `record` is of, if it is of one."""
    event = getattr(record, "event", None)
    return event if isinstance(event, Event) else None


def _escape(text: str) -> str:
    """One line of `text`: a client's bytes must not be able to start a line, or to move a terminal's cursor."""
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def _traceback(record: logging.LogRecord) -> str:
    return logging.Formatter().formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""


def _timestamp(record: logging.LogRecord) -> str:
    """UTC, to the millisecond, RFC 3339."""
    milliseconds = int(record.created * 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000)) + f".{milliseconds % 1000:03d}Z"


def text_line(record: logging.LogRecord) -> str:
    """Time, level, text; a traceback follows, indented."""
    line = f"{_timestamp(record)} {record.levelname.lower():<8} {_escape(record.getMessage())}"
    return "\n    ".join([line, *map(_escape, _traceback(record).splitlines())])


def json_line(record: logging.LogRecord, node_id: int | None) -> str:
    """One JSON object: time, level, message, logger, node, event, and the event's fields under their own names."""
    event = event_of(record)
    document: dict[str, object] = {
        **event_fields(record),
        "time": _timestamp(record),
        "level": record.levelname.lower(),
        "message": record.getMessage(),
        "logger": record.name,
    }
    if node_id is not None:
        document["node"] = node_id
    if event is not None:
        document["event"] = event.name
    if trace := _traceback(record):
        document["traceback"] = trace
    return json.dumps(document, default=str, ensure_ascii=False)


def journal_datagram(record: logging.LogRecord, node_id: int | None) -> bytes:
    """The record in the journal's native protocol; fields are searched for as `journalctl RAFTD_EVENT=...`."""
    event = event_of(record)
    trace = _traceback(record)
    fields = {
        "MESSAGE": f"{record.getMessage()}\n{trace}" if trace else record.getMessage(),
        "PRIORITY": next((priority for level, priority in _PRIORITIES if record.levelno >= level), 7),
        "SYSLOG_IDENTIFIER": "raftd",
        "LOGGER": record.name,
        "CODE_FILE": record.pathname,
        "CODE_LINE": record.lineno,
        "CODE_FUNC": record.funcName,
    }
    if node_id is not None:
        fields["RAFTD_NODE"] = node_id
    if event is not None:
        fields |= {"RAFTD_EVENT": event.name, "MESSAGE_ID": event.message_id}
        fields |= {f"RAFTD_{name.upper()}": value for name, value in event_fields(record).items()}
    return b"".join(_journal_field(name, str(value)) for name, value in fields.items())


def _journal_field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")
    if len(data) > FIELD_BYTES_MAX:
        data = data[: FIELD_BYTES_MAX - len(_CUT)] + _CUT
    if b"\n" in data:
        # Binary-safe form: the length stands in front, so that no value can forge a field.
        return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
    return name.encode() + b"=" + data + b"\n"


class LineHandler(logging.Handler):
    """Writes lines to `stream` from a thread of its own.

    Args:
        stream: Where to; a write to it may block for as long as it likes.
        render: Makes a record's line, without its end.
    """

    def __init__(self, stream: TextIO, render: Callable[[logging.LogRecord], str]) -> None:
        super().__init__()
        self.dropped = 0
        """Lines that found the queue full."""
        self._stream = stream
        self._render = render
        self._lines: queue.Queue[str | None] = queue.Queue(QUEUED_LINES_MAX)
        self._writer = threading.Thread(target=self._write, name="raftd-logs", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record's line."""
        try:
            self._lines.put_nowait(self._render(record))
        except queue.Full:
            self.dropped += 1
        except Exception:  # noqa: BLE001 - logging's own rule: a record that cannot be rendered must not raise
            self.handleError(record)

    def close(self) -> None:
        """Wait for the lines that are queued, but not for ever."""
        super().close()
        try:
            self._lines.put(None, timeout=FLUSH_SECONDS_MAX)
        except queue.Full:
            return
        self._writer.join(FLUSH_SECONDS_MAX)

    def _write(self) -> None:
        told = 0
        while (line := self._lines.get()) is not None:
            dropped = self.dropped - told
            told += dropped
            notice = f"({dropped} lines were dropped here)\n" if dropped else ""
            try:
                self._stream.write(f"{notice}{line}\n")
                self._stream.flush()
            except (OSError, ValueError):  # the reader is gone, or the stream is closed
                self.dropped += 1
                told += 1


class JournalHandler(logging.Handler):
    """Sends records to the journal, without waiting for it.

    Args:
        node_id: Goes into each record as RAFTD_NODE.
        path: The journal's socket.
    """

    def __init__(self, node_id: int | None, path: str = JOURNAL_SOCKET) -> None:
        super().__init__()
        self.dropped = 0
        """Records that the journal did not take at once."""
        self._node_id = node_id
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        try:
            self._socket.sendto(journal_datagram(record, self._node_id), self._path)
        except OSError:
            self.dropped += 1
        except Exception:  # noqa: BLE001 - logging's own rule: a record that cannot be rendered must not raise
            self.handleError(record)

    def close(self) -> None:
        """Give the socket back."""
        super().close()
        self._socket.close()


def is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether `stream` is the one that JOURNAL_STREAM names as connected to the journal (systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    named = environment.get("JOURNAL_STREAM", "")
    return stat.S_ISSOCK(status.st_mode) and named == f"{status.st_dev}:{status.st_ino}"


def configure(
    stream: TextIO,
    *,
    log_format: LogFormat = LogFormat.AUTO,
    level: int = logging.INFO,
    node_id: int | None = None,
    environment: Mapping[str, str] | None = None,
    journal_path: str = JOURNAL_SOCKET,
) -> LineHandler | JournalHandler:
    """Send everything that is logged in this process one way, and return it.

    The caller closes what is returned as the last thing that the process does.
    """
    if log_format is LogFormat.AUTO:
        journal = is_journal(stream, os.environ if environment is None else environment)
        log_format = LogFormat.JOURNAL if journal else LogFormat.TEXT
    handler: LineHandler | JournalHandler
    match log_format:
        case LogFormat.JOURNAL:
            handler = JournalHandler(node_id, journal_path)
        case LogFormat.JSON:
            handler = LineHandler(stream, lambda record: json_line(record, node_id))
        case _:
            handler = LineHandler(stream, text_line)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level)
    return handler
