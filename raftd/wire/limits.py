"""How long things on the wire may be, in bytes; docs/protocol.md promises the same numbers.

A frame's length here is that of its payload, without the four bytes that say it.
"""

from typing import Final

from raftd.consensus.limits import Limits
from raftd.kv.limits import ADDRESS_BYTES_MAX, COMMAND_BYTES_MAX, USER_BYTES_MAX
from raftd.wire.entries import ENTRY_HEADER_BYTES

HANDSHAKE_BYTES_MAX: Final = 4 << 10
"""The first frame in each direction, before anyone is known to speak this protocol."""

HANDSHAKE_MESSAGE_BYTES_MAX: Final = 1 << 10
"""The text of a refused handshake."""

CLIENT_HEADER_BYTES: Final = 9
"""What stands before the body of each request and response: kind and request id."""

CLIENT_FRAME_BYTES_MAX: Final = CLIENT_HEADER_BYTES + COMMAND_BYTES_MAX
"""A request. A longest key with a longest value fits; what is above them is room for transactions."""

RESPONSE_BYTES_MAX: Final = CLIENT_HEADER_BYTES + (2 << 20) + (64 << 10)
"""A response: two longest values, which a change of a key may tell of, and room for all else that is said about it."""

STAMP_BYTES_MAX: Final = 2 + 8 + 1 + USER_BYTES_MAX + 1 + ADDRESS_BYTES_MAX
"""What a leader puts in front of a command (`raftd.kv.stamps`)."""

ENTRY_BYTES_MAX: Final = ENTRY_HEADER_BYTES + STAMP_BYTES_MAX + COMMAND_BYTES_MAX
"""An encoded entry."""

PEER_FRAME_BYTES_MAX: Final = 4 << 20
"""A message between nodes: a constant, for both ends of a link must agree, whatever their settings."""

APPEND_HEADER_BYTES: Final = 1 + 5 * 8
"""What stands before the entries of an AppendEntries."""

REFUSAL_ADDRESS_BYTES_MAX: Final = 512
"""The leader's address in a refused request: a longest host name and a port fit twice."""

REFUSAL_MESSAGE_BYTES_MAX: Final = 1 << 10
"""The text of a refused request."""

LOG_ENTRIES_MAX: Final = 1000
"""A LOG request is answered with at most this many entries."""


def append_frame_bytes_max(limits: Limits) -> int:
    """How long an AppendEntries made under `limits` can become; must not be more than `PEER_FRAME_BYTES_MAX`."""
    return APPEND_HEADER_BYTES + max(limits.append_bytes_max, ENTRY_BYTES_MAX)
