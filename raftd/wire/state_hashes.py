"""What nodes tell each other of their states, so that they can be compared (`raftd.node.comparison`).

    type u8, 14 | last_index u64 | hash u32, 1 to 64 times

A message between nodes, of version 2 on, that consensus does not get to see. The hashes are of the states as of entries
that are 128 apart, up to last_index, which is a multiple of 128.
"""

import struct
from collections.abc import Sequence
from typing import Final

from raftd.consensus.types import LogIndex
from raftd.errors import RemoteProtocolError
from raftd.kv.audit import AUDIT_ENTRIES
from raftd.wire.frames import encode_frame

STATE_HASHES_TYPE: Final = 14
"""The first byte of the message, where `raftd.wire.peer.MessageType` has those of consensus."""
STATE_HASHES_VERSION: Final = 2
"""Links of an older version do not know it."""
HASHES_MAX: Final = 64

_HEAD: Final = struct.Struct("<BQ")
_HASH_BYTES: Final = 4


def encode_state_hashes(last_index: LogIndex, hashes: Sequence[int]) -> bytes:
    """Make the frame; there are 1 to `HASHES_MAX` hashes."""
    return encode_frame(_HEAD.pack(STATE_HASHES_TYPE, last_index) + struct.pack(f"<{len(hashes)}I", *hashes))


def is_state_hashes(payload: bytes, version: int) -> bool:
    """Whether a peer's message, on a link of that version, is one of these."""
    return version >= STATE_HASHES_VERSION and payload[:1] == bytes((STATE_HASHES_TYPE,))


def decode_state_hashes(payload: bytes) -> tuple[LogIndex, tuple[int, ...]]:
    """Read the payload of a message for which `is_state_hashes` holds: last index and hashes.

    Raises:
        RemoteProtocolError: It does not follow its format.
    """
    count, rest = divmod(len(payload) - _HEAD.size, _HASH_BYTES)
    if rest or not 1 <= count <= HASHES_MAX:
        raise RemoteProtocolError(f"a message with state hashes has {len(payload)} bytes")
    _, last_index = _HEAD.unpack_from(payload)
    if last_index % AUDIT_ENTRIES or last_index < count * AUDIT_ENTRIES:
        raise RemoteProtocolError(f"{count} state hashes up to entry {last_index} came")
    return LogIndex(last_index), struct.unpack_from(f"<{count}I", payload, _HEAD.size)
