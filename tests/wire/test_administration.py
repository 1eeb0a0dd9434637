"""What administrators ask for, as bytes."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus.membership import (
    AddLearner,
    AddVoter,
    Promote,
    Remove,
    Replace,
    UpdateAddress,
)
from raftd.consensus.types import NodeId
from raftd.errors import DecodeError
from raftd.wire.administration import ChangeKind, decode_change, decode_transfer, encode_change, encode_transfer
from raftd.wire.client import BODY_OFFSET
from raftd.wire.identity import NODE_ID_MAX

HEADER = bytes(BODY_OFFSET)
ADDRESS = "client=n4:7400,peer=n4:7401,http=n4:7402"

ADDRESSED = {
    ChangeKind.ADD_VOTER: AddVoter,
    ChangeKind.ADD_LEARNER: AddLearner,
    ChangeKind.UPDATE_ADDRESS: UpdateAddress,
}

node_ids = st.integers(1, NODE_ID_MAX).map(NodeId)


@settings(deadline=None)
@given(node_ids, st.sampled_from(sorted(ADDRESSED)))
def test_changes_with_addresses_round_trip(node_id: NodeId, kind: ChangeKind) -> None:
    """What is asked for comes back as consensus knows it."""
    assert decode_change(HEADER + encode_change(kind, node_id, address=ADDRESS)) == ADDRESSED[kind](node_id, ADDRESS)


def test_consensus_is_told_an_address_in_its_one_spelling() -> None:
    """It compares texts: a second node in the same place must not pass because of a capital letter."""
    body = encode_change(ChangeKind.ADD_VOTER, 4, address=ADDRESS.replace("n4:7401", "N4.:7401"))
    assert decode_change(HEADER + body) == AddVoter(NodeId(4), ADDRESS)


@settings(deadline=None)
@given(node_ids)
def test_changes_without_addresses_round_trip(node_id: NodeId) -> None:
    """A member that is known has its address."""
    assert decode_change(HEADER + encode_change(ChangeKind.PROMOTE, node_id)) == Promote(node_id)
    assert decode_change(HEADER + encode_change(ChangeKind.REMOVE, node_id)) == Remove(node_id)


@settings(deadline=None)
@given(st.lists(node_ids, min_size=2, max_size=2, unique=True))
def test_replace_round_trip(nodes: list[NodeId]) -> None:
    """The old one and the new one are not mixed up."""
    old, new = nodes
    body = encode_change(ChangeKind.REPLACE, new, old_node_id=old, address=ADDRESS)
    assert decode_change(HEADER + body) == Replace(old, new, ADDRESS)


@settings(deadline=None)
@given(st.none() | node_ids)
def test_transfer_round_trip(target: NodeId | None) -> None:
    """So does every target, and none."""
    assert decode_transfer(HEADER + encode_transfer(target)) == target


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (encode_change(ChangeKind.ADD_VOTER, 0, address=ADDRESS), "0 names no node"),
        (encode_change(ChangeKind.ADD_VOTER, NODE_ID_MAX + 1, address=ADDRESS), "names no node"),
        (encode_change(ChangeKind.ADD_VOTER, 4), "the address '' is not of the form"),
        (encode_change(ChangeKind.ADD_LEARNER, 4, address="n4:7400"), "is not of the form"),
        (encode_change(ChangeKind.UPDATE_ADDRESS, 4, address=ADDRESS.replace("n4:7401", "[::]:1")), "every address"),
        (encode_change(ChangeKind.REPLACE, 4, address=ADDRESS), "0 names no node"),
        (encode_change(ChangeKind.REPLACE, 4, old_node_id=4, address=ADDRESS), "its own place"),
        (encode_change(ChangeKind.REPLACE, 4, old_node_id=2), "is not of the form"),
        (encode_change(ChangeKind.PROMOTE, 4, address=ADDRESS), "PROMOTE has no address"),
        (encode_change(ChangeKind.REMOVE, 4, address=ADDRESS), "REMOVE has no address"),
        (encode_change(ChangeKind.ADD_VOTER, 4, old_node_id=2, address=ADDRESS), "replaces nobody"),
    ],
)
def test_nonsense_is_refused(body: bytes, reason: str) -> None:
    """What cannot be meant is said in one line, before anybody looks at the membership."""
    with pytest.raises(DecodeError, match=reason) as caught:
        decode_change(HEADER + body)
    assert "\n" not in str(caught.value)


PROMOTE = encode_change(ChangeKind.PROMOTE, 4)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", "change needs 1 bytes", id="empty"),
        pytest.param(PROMOTE[:-1], "address needs 2 bytes", id="cut"),
        pytest.param(PROMOTE + b"x", "1 bytes too many", id="too long"),
        pytest.param(b"\x00" + PROMOTE[1:], "unknown kind 0", id="kind 0"),
        pytest.param(b"\x07" + PROMOTE[1:], "unknown kind 7", id="unknown kind"),
    ],
)
def test_bodies_of_another_form_are_refused(body: bytes, reason: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(DecodeError, match=reason):
        decode_change(HEADER + body)


def test_the_first_and_the_last_node_are_nodes() -> None:
    """The bounds of ids are included."""
    for number in (1, NODE_ID_MAX):
        assert decode_transfer(HEADER + encode_transfer(number)) == number
        assert decode_change(HEADER + encode_change(ChangeKind.REMOVE, number)) == Remove(NodeId(number))


@pytest.mark.parametrize("body", [b"", bytes(7), bytes(9), b"\xff" * 8, struct.pack("<Q", NODE_ID_MAX + 1)])
def test_targets_of_another_form_are_refused(body: bytes) -> None:
    """Eight bytes, and a node's id or 0."""
    with pytest.raises(DecodeError):
        decode_transfer(HEADER + body)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes(body: bytes) -> None:
    """Any bytes are decoded or refused; nothing else ever happens."""
    for decode in (decode_change, decode_transfer):
        try:
            decode(HEADER + body)
        except DecodeError:
            continue
