"""Frames: `length u32 | payload`, little-endian, `length` counting the payload only; 0 is not a length.

Everything on every connection is a frame. Which limit applies depends on the connection and its stage, so it is a
parameter (`raftd.wire.limits`).
"""

import struct
from typing import Final

from raftd.errors import RemoteProtocolError

_LENGTH = struct.Struct("<I")
LENGTH_BYTES: Final = _LENGTH.size


def encode_frame(payload: bytes) -> bytes:
    """Put a payload's length in front of it."""
    return _LENGTH.pack(len(payload)) + payload


class FrameReader:
    """Cuts a stream of bytes, in whatever pieces it comes, into payloads.

    Holds at most one unfinished frame, and only once its length was read and found within the limit: a sender cannot
    make it take more than the limit and one piece. Each byte is copied a constant number of times however small
    the pieces are.
    """

    __slots__ = ("_frame_bytes_max", "_needed", "_partial")

    def __init__(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._partial = bytearray()
        # How long _partial must become before it is worth looking at: invariant len(_partial) < _needed.
        self._needed = LENGTH_BYTES

    @property
    def pending_bytes(self) -> int:
        """How many bytes of an unfinished frame are held; 0 between frames."""
        return len(self._partial)

    def feed(self, data: bytes) -> list[bytes]:
        """Take the stream's next bytes and return the payloads that they complete, in order.

        Raises:
            RemoteProtocolError: A length is 0 or above the limit. The stream cannot be read on from there, so each
                further frame is refused too, and payloads in front of it in the same `data` are not returned.
        """
        if self._partial:
            self._partial += data
            if len(self._partial) < self._needed:
                return []
            data = bytes(self._partial)
            self._partial.clear()
        payloads: list[bytes] = []
        append = payloads.append
        unpack_from = _LENGTH.unpack_from
        frame_bytes_max = self._frame_bytes_max
        size = len(data)
        start = 0  # of the next payload, if its length is there
        end = 0  # of the previous one
        needed = LENGTH_BYTES
        while (start := end + LENGTH_BYTES) <= size:
            (length,) = unpack_from(data, end)
            if not 0 < length <= frame_bytes_max:
                self._frame_bytes_max = 0
                raise RemoteProtocolError(f"a frame of {length} bytes came, and may have 1 to {frame_bytes_max}")
            if start + length > size:
                needed = LENGTH_BYTES + length
                break
            end = start + length
            append(data[start:end])
        self._needed = needed
        if end < size:
            self._partial += data[end:]
        return payloads
