"""Memberships as bytes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.consensus import NO_MEMBERSHIP, Membership, NodeId, decode_membership, encode_membership
from raftd.errors import DecodeError
from tests.consensus.words import members

node_ids = (st.integers(1, 9) | st.integers(1, (1 << 64) - 1)).map(NodeId)


@st.composite
def memberships(draw: st.DrawFn) -> Membership:
    """Any membership, joint ones and joining learners included."""
    voters = draw(st.frozensets(node_ids, min_size=1, max_size=5))
    outgoing = draw(st.frozensets(node_ids, max_size=5))
    learners = draw(st.frozensets(node_ids, max_size=4)) - voters - outgoing
    replaced = draw(st.permutations(sorted(voters)))
    joining = {
        learner: draw(st.sampled_from([None, old]))
        for learner, old in zip(sorted(learners), replaced, strict=False)
        if draw(st.booleans())
    }
    known = sorted(voters | outgoing | learners)
    addresses = draw(st.dictionaries(st.sampled_from(known), st.text(min_size=1, max_size=20)))
    return Membership(voters, outgoing, learners, joining, addresses)


@settings(deadline=None)
@given(memberships())
def test_round_trip(membership: Membership) -> None:
    """What was encoded is decoded again."""
    assert decode_membership(encode_membership(membership)) == membership


@settings(deadline=None, max_examples=300)
@given(
    memberships().map(encode_membership) | st.binary(max_size=60),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=3),
    st.integers(0, 3),
)
def test_any_bytes(data: bytes, changes: list[tuple[int, int]], cut: int) -> None:
    """Any bytes are refused, or are a membership that encodes back to them: there is one spelling."""
    mutated = bytearray(data[: len(data) - cut])
    for offset, value in changes:
        if offset < len(mutated):
            mutated[offset] = value
    try:
        membership = decode_membership(bytes(mutated))
    except DecodeError:
        return
    assert encode_membership(membership) == mutated


def test_bytes_as_described() -> None:
    """The layout is the one that the module describes, and that others may have to read."""
    membership = Membership(
        frozenset({NodeId(1), NodeId(2)}), learners=frozenset({NodeId(3)}), joining={NodeId(3): NodeId(1)},
        addresses={NodeId(2): "two"},
    )  # fmt: skip
    assert encode_membership(membership).hex() == (
        "01"
        "0200" "0100000000000000" "0200000000000000"
        "0000"
        "0100" "0300000000000000"
        "0100" "0300000000000000" "0100000000000000"
        "0100" "0200000000000000" "0300" "74776f"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "version is missing"),
        (b"\2", "version is 02"),
        (encode_membership(members(1)) + b"\0", "1 bytes follow"),
        (bytes.fromhex("01 0200 0200000000000000 0100000000000000 0000 0000 0000 0000"), "node 1 behind node 2"),
        (bytes.fromhex("01 0100 0000000000000000 0000 0000 0000 0000"), "node 0"),
        (bytes.fromhex("01 ffff 0100000000000000"), "cannot be read"),
        (bytes.fromhex("01 0100 0100000000000000 0000 0000 0000 0100 0100000000000000 0000"), "an address of 0 bytes"),
        (bytes.fromhex("01 0100 0100000000000000 0000 0000 0000 0100 0100000000000000 ffff"), "of 65535 bytes"),
        (bytes.fromhex("01 0100 0100000000000000 0000 0000 0000 0100 0100000000000000 0100 ff"), "cannot be read"),
        (bytes.fromhex("01 0100 0100000000000000 0000 0100 0100000000000000 0000 0000"), "learner cannot be a voter"),
    ],
)
def test_refusals(data: bytes, reason: str) -> None:
    """What is not a membership is refused, with the reason."""
    with pytest.raises(DecodeError, match=reason):
        decode_membership(data)


def test_nothing_known_has_a_spelling() -> None:
    """A node that waits to be added knows no membership, and can say so."""
    assert decode_membership(encode_membership(NO_MEMBERSHIP)) == NO_MEMBERSHIP
