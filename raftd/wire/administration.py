"""How an administrator says what is to become of the cluster: the bodies of MEMBERSHIP_CHANGE and TRANSFER_LEADERSHIP.

    offset  size  MEMBERSHIP_CHANGE
         0     1  change          `ChangeKind`
         1     8  node_id         1..2^63-1: whom it is about
         9     8  old_node_id     whose place it takes; 0 unless the change is REPLACE
        17     2  address_length
        19     n  address         as `raftd.wire.members` has it; empty with PROMOTE and REMOVE

    offset  size  TRANSFER_LEADERSHIP
         0     8  target          0: whoever is best prepared

A body that is anything else is refused as BAD_REQUEST (`raftd.wire.client`).
"""

import enum
import struct
from typing import Final, assert_never

from raftd.consensus.membership import (
    AddLearner,
    AddVoter,
    MembershipChange,
    Promote,
    Remove,
    Replace,
    UpdateAddress,
)
from raftd.consensus.membership_codec import ADDRESS_BYTES_MAX
from raftd.consensus.types import NodeId
from raftd.encoding.reader import Reader
from raftd.encoding.writer import Writer
from raftd.errors import DecodeError
from raftd.wire.address import AddressError
from raftd.wire.client import BODY_OFFSET
from raftd.wire.identity import NODE_ID_MAX
from raftd.wire.members import parse_member_addresses

_TARGET: Final = struct.Struct("<Q")


class ChangeKind(enum.IntEnum):
    """What is asked for. The numbers are on the wire: never renumber."""

    ADD_VOTER = 1
    """A new node, or a learner, is sent the log, and votes as soon as it has caught up."""
    ADD_LEARNER = 2
    """A new node is sent the log, and does not vote."""
    PROMOTE = 3
    """A learner that has caught up votes from now on."""
    REMOVE = 4
    """A member goes."""
    REPLACE = 5
    """A new node takes the place of the voter `old_node_id` as soon as it has caught up."""
    UPDATE_ADDRESS = 6
    """A member is somewhere else from now on."""


_CHANGE_KINDS: Final = {kind.value: kind for kind in ChangeKind}


def encode_change(kind: ChangeKind, node_id: int, *, old_node_id: int = 0, address: str = "") -> bytes:
    """Make the body of a MEMBERSHIP_CHANGE; see `ChangeKind` and the module's table for what goes together."""
    writer = Writer()
    writer.u8(kind)
    writer.u64(node_id)
    writer.u64(old_node_id)
    writer.text_u16(address, ADDRESS_BYTES_MAX)
    return writer.finish()


def decode_change(payload: bytes) -> MembershipChange:
    """Return what a MEMBERSHIP_CHANGE asks for; whether that can be is the leader's to say.

    Raises:
        DecodeError: The body does not follow its format, or an address is none.
    """
    reader = Reader(payload, BODY_OFFSET)
    number = reader.u8("change")
    node_id = NodeId(reader.u64("node_id"))
    old = NodeId(reader.u64("old_node_id"))
    address = reader.text_u16("address", ADDRESS_BYTES_MAX)
    reader.finish()
    kind = _CHANGE_KINDS.get(number)
    if kind is None:
        raise DecodeError(f"a membership change of unknown kind {number}")
    _check_node(node_id)
    if kind is ChangeKind.REPLACE:
        _check_node(old)
        if old == node_id:
            raise DecodeError(f"node {old} cannot take its own place: a new node needs an id of its own")
    elif old:
        raise DecodeError(f"{kind.name} replaces nobody, and names node {old}")
    return _change(kind, node_id, old, _read_address(kind, address))


def encode_transfer(target: int | None) -> bytes:
    """Make the body of a TRANSFER_LEADERSHIP; None: to whoever is best prepared."""
    return _TARGET.pack(target or 0)


def decode_transfer(payload: bytes) -> NodeId | None:
    """Return to whom a TRANSFER_LEADERSHIP is to go; None: to whoever is best prepared.

    Raises:
        DecodeError: The body does not follow its format.
    """
    reader = Reader(payload, BODY_OFFSET)
    target = NodeId(reader.u64("target"))
    reader.finish()
    if not target:
        return None
    _check_node(target)
    return target


def _change(kind: ChangeKind, node_id: NodeId, old: NodeId, address: str) -> MembershipChange:
    match kind:
        case ChangeKind.ADD_VOTER:
            return AddVoter(node_id, address)
        case ChangeKind.ADD_LEARNER:
            return AddLearner(node_id, address)
        case ChangeKind.PROMOTE:
            return Promote(node_id)
        case ChangeKind.REMOVE:
            return Remove(node_id)
        case ChangeKind.REPLACE:
            return Replace(old, node_id, address)
        case ChangeKind.UPDATE_ADDRESS:
            return UpdateAddress(node_id, address)
        case _:
            assert_never(kind)


def _check_node(node_id: NodeId) -> None:
    if not 1 <= node_id <= NODE_ID_MAX:
        raise DecodeError(f"{node_id} names no node: ids are 1 to {NODE_ID_MAX}")


def _read_address(kind: ChangeKind, address: str) -> str:
    """The address in its one spelling, since consensus and the rules of a change compare texts."""
    if kind in (ChangeKind.PROMOTE, ChangeKind.REMOVE):
        if address:
            raise DecodeError(f"{kind.name} has no address")
        return ""
    try:
        return str(parse_member_addresses(address))
    except AddressError as error:
        raise DecodeError(f"the address {address!r} {error}") from error
