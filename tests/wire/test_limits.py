"""How long things on the wire may be: bounds that must fit into each other."""

from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus.limits import ENTRY_OVERHEAD_BYTES, Limits
from raftd.consensus.messages import AppendEntries
from raftd.consensus.types import Entry, EntryKind, LogIndex, NodeId, Term
from raftd.kv import commands
from raftd.kv.commands import Revision, SessionId, Stamp
from raftd.kv.limits import ADDRESS_BYTES_MAX, COMMAND_BYTES_MAX, KEY_BYTES_MAX, USER_BYTES_MAX, VALUE_BYTES_MAX
from raftd.wire import limits
from raftd.wire.client import RequestKind, encode_request
from raftd.wire.entries import ENTRY_HEADER_BYTES
from raftd.wire.peer import encode_message


def append_bytes(entries: tuple[Entry, ...]) -> int:
    message = AppendEntries(Term(1), NodeId(1), LogIndex(0), Term(0), LogIndex(0), entries)
    return sum(map(len, encode_message(message))) - 4


def batch(sizes: list[int]) -> tuple[Entry, ...]:
    return tuple((LogIndex(n + 1), Term(1), EntryKind.COMMAND, bytes(size)) for n, size in enumerate(sizes))


@settings(deadline=None)
@given(st.integers(1, 2000), st.data())
def test_a_batch_within_its_limits_fits(append_bytes_max: int, data: st.DataObject) -> None:
    """Whatever batch consensus makes within its limits, its frame is within the bound that is derived from them."""
    sizes: list[int] = []
    room = append_bytes_max - ENTRY_OVERHEAD_BYTES
    while room >= 0:
        sizes.append(data.draw(st.integers(0, room)))
        room -= sizes[-1] + ENTRY_OVERHEAD_BYTES
    bound = limits.append_frame_bytes_max(Limits(append_bytes_max=append_bytes_max))
    assert append_bytes(batch(sizes)) <= limits.APPEND_HEADER_BYTES + append_bytes_max <= bound


def test_consensus_counts_what_is_sent() -> None:
    """Consensus bounds a batch by what its entries take on the wire, headers included."""
    assert ENTRY_OVERHEAD_BYTES == ENTRY_HEADER_BYTES


def test_the_largest_batch_fits() -> None:
    """With the limits as they are, a batch full to the last byte fits the frames that peers accept."""
    consensus = Limits()
    assert limits.append_frame_bytes_max(consensus) <= limits.PEER_FRAME_BYTES_MAX
    entries = consensus.append_entries_max
    data_bytes = consensus.append_bytes_max - entries * ENTRY_OVERHEAD_BYTES
    full = append_bytes(batch([0] * (entries - 1) + [data_bytes]))
    assert full == limits.APPEND_HEADER_BYTES + consensus.append_bytes_max


def test_the_largest_entry_fits() -> None:
    """A batch always has one entry, so the longest that a client can cause, with the longest stamp, fits too."""
    stamp = Stamp("u" * USER_BYTES_MAX, "a" * ADDRESS_BYTES_MAX).at((1 << 64) - 1)
    assert len(stamp) == limits.STAMP_BYTES_MAX
    entries = batch([len(stamp) + COMMAND_BYTES_MAX])
    assert append_bytes(entries) == limits.APPEND_HEADER_BYTES + limits.ENTRY_BYTES_MAX
    assert append_bytes(entries) <= limits.append_frame_bytes_max(Limits(append_bytes_max=1, append_entries_max=1))


def test_the_largest_write_fits() -> None:
    """A longest key with a longest value is one request; so is the longest command there may ever be."""
    put = commands.put(SessionId(1), 1, 1, bytes(KEY_BYTES_MAX), bytes(VALUE_BYTES_MAX), expected_revision=Revision(0))
    assert len(put) <= COMMAND_BYTES_MAX
    frame = encode_request(RequestKind.WRITE, 1, bytes(COMMAND_BYTES_MAX))
    assert len(frame) - 4 == limits.CLIENT_FRAME_BYTES_MAX


def test_handshakes_are_small() -> None:
    """A stranger is trusted with less than anyone who has introduced himself."""
    assert limits.HANDSHAKE_MESSAGE_BYTES_MAX < limits.HANDSHAKE_BYTES_MAX < limits.CLIENT_FRAME_BYTES_MAX
