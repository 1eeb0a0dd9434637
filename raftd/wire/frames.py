"""Frames: `length u32 | payload`, little-endian, `length` counting the payload only; 0 is not a length.

Everything on every connection is a frame. Which limit applies depends on the connection and its stage, so it is a
parameter (`raftd.wire.limits`).
"""

import struct
import sys
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
    the pieces are, and once more each time that it waits to be cut.

    Args:
        frame_bytes_max: A longer frame is refused.
        frames_max: So many are returned at once: cutting takes time, too, and each payload more memory than its bytes.
    """

    __slots__ = ("_frame_bytes_max", "_frame_numbers", "_needed", "_partial", "has_more")

    def __init__(self, frame_bytes_max: int, *, frames_max: int = sys.maxsize) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._frame_numbers = range(frames_max)
        self.has_more = False
        """Whether there may be further frames in what was fed, which to feed nothing returns."""
        self._partial = bytearray()
        # How long _partial must become before it is worth looking at: invariant len(_partial) < _needed, but for
        # what waits to be cut.
        self._needed = LENGTH_BYTES

    @property
    def pending_bytes(self) -> int:
        """How many bytes are held: of an unfinished frame, or not cut yet; 0 between frames."""
        return len(self._partial)

    def feed(self, data: bytes) -> list[bytes]:
        """Take the stream's next bytes and return the payloads that they complete, in order, up to `frames_max`.

        Raises:
            RemoteProtocolError: A length is 0 or above the limit. The stream cannot be read on from there, so each
                further frame is refused too, and payloads in front of it in the same `data` are not returned.
        """
        self.has_more = False
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
        for _ in self._frame_numbers:
            start = end + LENGTH_BYTES
            if start > size:
                break
            (length,) = unpack_from(data, end)
            if not 0 < length <= frame_bytes_max:
                self._frame_bytes_max = 0
                raise RemoteProtocolError(f"a frame of {length} bytes came, and may have 1 to {frame_bytes_max}")
            if start + length > size:
                needed = LENGTH_BYTES + length
                break
            end = start + length
            append(data[start:end])
        else:
            self.has_more = end < size
        self._needed = needed
        if end < size:
            self._partial += data[end:]
        return payloads
