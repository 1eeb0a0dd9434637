"""What can be seen of a node."""

from raftd.consensus import LogIndex, Raft, RaftView, observe
from tests.consensus.words import accepted, complete, make_leader, make_raft, members, say


def test_looking_changes_nothing() -> None:
    """Every property can be read at any time, and the node is as it was."""
    raft = make_leader(1)
    say(raft, 2, accepted(2, 2))
    complete(raft)
    before = observe(raft)
    seen = {name: getattr(raft, name) for name, item in vars(RaftView).items() if isinstance(item, property)}
    assert observe(raft) == before
    assert not raft.has_ready
    assert (seen["membership_index"], seen["base_index"], seen["is_removed"], seen["snapshot"]) == (0, 0, False, None)


def test_a_node_that_can_be_driven_can_be_seen() -> None:
    """Who only reports needs no more than the view."""
    assert issubclass(Raft, RaftView)
    assert make_leader().membership_at(LogIndex(1)) == members(1, 2, 3)


def test_only_a_leader_knows_its_margin() -> None:
    """Of three voters that all answer one may fail; who does not lead does not know who answers."""
    assert make_leader(1).quorum_margin == 1
    assert make_raft().quorum_margin is None
