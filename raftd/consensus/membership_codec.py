"""A membership as bytes: the data of a MEMBERSHIP entry, and a part of each snapshot.

Little-endian:

    version u8 = 1
    voter_count u16     voter u64 …
    outgoing_count u16  outgoing u64 …
    learner_count u16   learner u64 …
    joining_count u16   (learner u64, replaced u64 or 0 for nobody) …
    address_count u16   (member u64, length u16, UTF-8) …

Each list strictly ascends by its first field. Valid if and only if that is so, a `Membership` can be made of it, no
node has id 0, no address is empty, and nothing follows: each membership has one spelling.
"""

import struct
from collections.abc import Iterable
from typing import Final

from raftd.consensus.membership import Membership
from raftd.consensus.types import NodeId
from raftd.errors import DecodeError

MEMBERSHIP_VERSION: Final = 1
ADDRESS_BYTES_MAX: Final = 1024

_COUNT = struct.Struct("<H")
_NODE = struct.Struct("<Q")
_PAIR = struct.Struct("<QQ")
_ADDRESS = struct.Struct("<QH")


def encode_membership(membership: Membership) -> bytes:
    """Spell a membership; an empty address is as none."""
    parts = [bytes([MEMBERSHIP_VERSION])]
    for nodes in (membership.voters, membership.outgoing, membership.learners):
        parts += [_COUNT.pack(len(nodes)), *(_NODE.pack(node) for node in sorted(nodes))]
    parts.append(_COUNT.pack(len(membership.joining)))
    parts += [_PAIR.pack(learner, replaced or 0) for learner, replaced in sorted(membership.joining.items())]
    addresses = sorted((node, address.encode()) for node, address in membership.addresses.items() if address)
    parts.append(_COUNT.pack(len(addresses)))
    for node, address in addresses:
        parts += [_ADDRESS.pack(node, len(address)), address]
    return b"".join(parts)


def decode_membership(data: bytes) -> Membership:
    """Read a membership.

    Raises:
        DecodeError: The bytes are not a membership's.
    """
    try:
        return _Reader(data).membership()
    except (struct.error, ValueError) as error:  # the latter, of text that is not UTF-8, too
        raise DecodeError(f"a membership cannot be read: {error}") from error


class _Reader:
    """Bytes, and how far they were read. Lists are read one by one: a count that lies takes no memory."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def membership(self) -> Membership:
        if self._data[:1] != bytes([MEMBERSHIP_VERSION]):
            raise ValueError(f"its version is {self._data[:1].hex() or 'missing'}, and known is {MEMBERSHIP_VERSION}")
        self._position = 1
        voters, outgoing, learners = self._nodes(), self._nodes(), self._nodes()
        pairs = [self._take(_PAIR) for _ in range(self._count())]
        addresses = [self._address() for _ in range(self._count())]
        if self._position != len(self._data):
            raise ValueError(f"{len(self._data) - self._position} bytes follow it")
        _check_ascending(learner for learner, _ in pairs)
        _check_ascending(node for node, _ in addresses)
        joining = {NodeId(learner): NodeId(replaced) if replaced else None for learner, replaced in pairs}
        return Membership(voters, outgoing, learners, joining, dict(addresses))

    def _nodes(self) -> frozenset[NodeId]:
        nodes = [node for (node,) in [self._take(_NODE) for _ in range(self._count())]]
        _check_ascending(nodes)
        return frozenset(NodeId(node) for node in nodes)

    def _address(self) -> tuple[NodeId, str]:
        node, length = self._take(_ADDRESS)
        end = self._position + length
        if not 1 <= length <= ADDRESS_BYTES_MAX or end > len(self._data):
            raise ValueError(f"an address of {length} bytes")
        address = self._data[self._position : end].decode()
        self._position = end
        return NodeId(node), address

    def _count(self) -> int:
        (count,) = self._take(_COUNT)
        return count

    def _take(self, layout: struct.Struct) -> tuple[int, ...]:
        fields: tuple[int, ...] = layout.unpack_from(self._data, self._position)
        self._position += layout.size
        return fields


def _check_ascending(nodes: Iterable[int]) -> None:
    previous = 0
    for node in nodes:
        if node <= previous:
            raise ValueError(f"node {node} behind node {previous}")
        previous = node
