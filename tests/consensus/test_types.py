"""Numbers that are on disk, and refusals that say whom to ask."""

from raftd.consensus import EntryKind, NodeId, ProposalRefused, RefusalReason
from raftd.errors import LocalProtocolError


def test_entry_kinds_keep_their_numbers() -> None:
    """They are on disk and on the wire."""
    assert {kind.name: kind.value for kind in EntryKind} == {"NOOP": 0, "COMMAND": 1, "MEMBERSHIP": 2}


def test_a_refusal_names_the_leader_if_it_knows_one() -> None:
    """One line that says what to do."""
    refusal = ProposalRefused(RefusalReason.NOT_LEADER, NodeId(3))
    assert isinstance(refusal, LocalProtocolError)
    assert str(refusal) == "not the leader; node 3 leads"
    assert str(ProposalRefused(RefusalReason.NO_LEADER, None)) == "no leader is known"
