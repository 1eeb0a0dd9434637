"""The least of gRPC that a closed loop needs: one method called again and again over HTTP/2 (RFC 9113), without I/O.

A call is a HEADERS and a DATA frame on a stream of its own; its answer is HEADERS, DATA and, with END_STREAM, HEADERS
again. The fields of a request are put into the server's dynamic table by the first one (RFC 7541, §6.2.1) and are six
bytes from then on. Fields that come back are not decoded: the server is told to keep no table, and a call that failed
is known by its lack of a DATA, since gRPC sends a message if and only if the status is OK here.
"""

import struct
from typing import Final

from raftd.errors import RemoteProtocolError

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD: Final = struct.Struct(">HBBBI")
"""Length u24, type u8, flags u8, stream u32."""
_SETTING: Final = struct.Struct(">HI")
_U32: Final = struct.Struct(">I")
_MESSAGE: Final = struct.Struct(">BI")
"""compressed u8, length u32: before each gRPC message."""

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK: Final = 1
_END_STREAM: Final = 1
_END_HEADERS: Final = 4
_HEADER_TABLE_SIZE, _ENABLE_PUSH = 1, 2
_WINDOW_BYTES: Final = (1 << 16) - 1
"""What each side may send before it is granted more."""
_GRANTED_BYTES: Final = 1 << 30
_GRANT_AGAIN_BYTES: Final = 1 << 29


class UnaryCalls:
    """One connection's calls of one method.

    Args:
        authority: `host:port` of the server.
        path: `/package.Service/Method`.
    """

    def __init__(self, authority: str, path: str) -> None:
        # 0x83 and 0x87 are `:method: POST` and `:scheme: https`; 0x4n begins a field with the static table's n-th name.
        self._first_fields: bytes | None = b"\x83\x87" + b"".join(
            (
                b"\x44" + _string(path),
                b"\x41" + _string(authority),
                b"\x5f" + _string("application/grpc"),
                b"\x40" + _string("te") + _string("trailers"),
            )
        )
        # In the dynamic table the newest field is number 62 (RFC 7541, §2.3.3).
        self._fields = b"\x83\x87" + bytes(0x80 | number for number in (65, 64, 63, 62))
        self._next_stream = 1
        self._window = _WINDOW_BYTES
        self._ungranted = 0
        self._unread = b""
        self._answered: set[int] = set()
        """Streams whose message has come, and not yet their end."""

    def opening(self) -> bytes:
        """What to send first."""
        settings = _SETTING.pack(_HEADER_TABLE_SIZE, 0) + _SETTING.pack(_ENABLE_PUSH, 0)
        return b"".join(
            (
                _PREFACE,
                _frame(_SETTINGS, 0, 0, settings),
                _frame(_WINDOW_UPDATE, 0, 0, _U32.pack(_GRANTED_BYTES)),
            )
        )

    def call(self, message: bytes) -> tuple[int, bytes]:
        """Begin a call; returns its stream and what to send.

        Raises:
            RemoteProtocolError: the server grants no room for it.
        """
        stream = self._next_stream
        self._next_stream = stream + 2
        data = _MESSAGE.pack(0, len(message)) + message
        self._window -= len(data)
        if self._window < 0:
            raise RemoteProtocolError("the server takes requests slower than it answers them")
        fields, self._first_fields = self._first_fields or self._fields, None
        return stream, _frame(_HEADERS, _END_HEADERS, stream, fields) + _frame(_DATA, _END_STREAM, stream, data)

    def receive(self, data: bytes) -> tuple[list[int], bytes]:
        """Take what came; returns the streams that were answered, and what to send in return.

        Raises:
            RemoteProtocolError: a call failed, or the server ends the connection.
        """
        data = self._unread + data
        ended: list[int] = []
        replies: list[bytes] = []
        at = 0
        while at + _HEAD.size <= len(data):
            high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
            end = at + _HEAD.size + (high << 8 | low)
            if end > len(data):
                break
            if kind == _DATA:
                self._ungranted += end - at
                self._answered.add(stream)
            elif kind == _HEADERS:
                if flags & _END_STREAM:
                    self._end(stream)
                    ended.append(stream)
            else:
                replies.append(self._control(kind, flags, stream, data[at + _HEAD.size : end]))
            at = end
        self._unread = data[at:]
        if self._ungranted > _GRANT_AGAIN_BYTES:
            replies.append(_frame(_WINDOW_UPDATE, 0, 0, _U32.pack(self._ungranted)))
            self._ungranted = 0
        return ended, b"".join(replies)

    def _end(self, stream: int) -> None:
        if stream not in self._answered:
            raise RemoteProtocolError("a call failed: its status came without an answer")
        self._answered.remove(stream)

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        """Obey a frame that is no part of an answer; returns the reply."""
        if kind in {_RST_STREAM, _GOAWAY}:
            raise RemoteProtocolError("the server has ended a call or the connection")
        if kind == _WINDOW_UPDATE and stream == 0:
            self._window += _U32.unpack(payload)[0]
        if kind in {_SETTINGS, _PING} and not flags & _ACK:
            return _frame(kind, _ACK, 0, payload if kind == _PING else b"")
        return b""


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _HEAD.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def _string(text: str) -> bytes:
    """A string literal that is not Huffman-coded (RFC 7541, §5.2), of less than 127 bytes."""
    data = text.encode()
    if len(data) >= 0x7F:
        raise ValueError(f"{text!r} is too long for a field")
    return bytes((len(data),)) + data
