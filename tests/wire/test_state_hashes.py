import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus.types import LogIndex, NodeId
from raftd.errors import RemoteProtocolError
from raftd.kv.audit import AUDIT_ENTRIES
from raftd.wire.frames import LENGTH_BYTES
from raftd.wire.peer import MessageType, decode_message
from raftd.wire.state_hashes import (
    HASHES_MAX,
    STATE_HASHES_TYPE,
    decode_state_hashes,
    encode_state_hashes,
    is_state_hashes,
)
from tests.wire.test_vectors import read_vectors


def test_the_vector() -> None:
    """The message is these bytes, and these bytes are that message."""
    vector = read_vectors("states", 2)["state-hashes"]
    assert encode_state_hashes(LogIndex(384), (0x12345678, 0xFFFFFFFF)) == vector
    assert decode_state_hashes(vector[LENGTH_BYTES:]) == (384, (0x12345678, 0xFFFFFFFF))


@settings(deadline=None)
@given(st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=HASHES_MAX), st.integers(0, 1 << 50))
def test_round_trip(hashes: list[int], more: int) -> None:
    """What is told arrives, on links that know it and on no others."""
    last_index = LogIndex((len(hashes) + more) * AUDIT_ENTRIES)
    payload = encode_state_hashes(last_index, hashes)[LENGTH_BYTES:]
    assert (is_state_hashes(payload, 1), is_state_hashes(payload, 2)) == (False, True)
    assert decode_state_hashes(payload) == (last_index, tuple(hashes))


@pytest.mark.parametrize(
    "payload",
    [
        struct.pack("<B", 14),
        struct.pack("<BQ", 14, 128),
        struct.pack("<BQI", 14, 129, 1),
        struct.pack("<BQI", 14, 0, 1),
        struct.pack("<BQ2I", 14, 128, 1, 2),
        struct.pack("<BQIB", 14, 128, 1, 0),
        struct.pack("<BQ65I", 14, 1 << 20, *range(65)),
    ],
    ids=["nothing", "no hash", "between", "before the log", "more than there can be", "a rest", "too many"],
)
def test_what_is_no_such_message_ends_the_link(payload: bytes) -> None:
    """Every length and index is checked."""
    assert is_state_hashes(payload, 2)
    with pytest.raises(RemoteProtocolError):
        decode_state_hashes(payload)


def test_the_type_is_nobody_else_s() -> None:
    """Consensus has no message of that type, and a link of version 1 refuses it."""
    assert not any(is_state_hashes(bytes((number,)), 2) for number in MessageType)
    assert not is_state_hashes(b"", 2)
    assert STATE_HASHES_TYPE not in set(MessageType)
    with pytest.raises(RemoteProtocolError, match="unknown type"):
        decode_message(encode_state_hashes(LogIndex(128), [1])[LENGTH_BYTES:], NodeId(2), 1)


def test_the_most_hashes() -> None:
    """So many fit, and they may begin with the very first state that is compared."""
    hashes = tuple(range(64))
    payload = encode_state_hashes(LogIndex(64 * AUDIT_ENTRIES), hashes)[LENGTH_BYTES:]
    assert decode_state_hashes(payload) == (64 * AUDIT_ENTRIES, hashes)
