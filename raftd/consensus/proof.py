"""Nodes that cannot vouch for what they once promised: elections after a disk was lost and began anew.

Raft's safety rests on every node remembering what it acknowledged. A node whose disk was replaced does not, and nothing
in its empty log says so: it would vote for a candidate that lacks an entry which only this node and a node that happens
to be down had stored, and a committed entry would be gone.

So a node whose disk is new is *unproven*, until it has stored everything that was committed when a leader said so.
Unproven nodes and others elect each other no leaders: a vote counts only between two of a kind. When a cluster begins
all nodes are unproven, so they elect one of them as always, and are proven a moment later, with the first commit. When
a disk was lost, the others have all that was committed and elect one of them, or nobody; the unproven node receives
the log from it, and is proven when it has caught up.

Two unproven nodes elect each other only as *founders*: while each knows of no voters but those that the cluster began
with, and has the other among them. Where the membership has changed since, the cluster began long ago. A node that was
removed before it had caught up may never hear of that: its log ends where it still was one of two voters, say, and the
other one of these, on a new disk, would not know better (seed 738210465202 of the simulator).

A candidate that has one or two voters needs all of them, itself included, and so has all that they ever committed: what
others have forgotten does not matter, and anybody may vote for it, if not both have forgotten. Only the candidate knows
how many votes it needs, so it says so. The voter's own membership is no answer: on a new disk it is what the cluster
began with, or none. And the candidate's may be of long ago: so it counts only that nobody went on without it. While the
membership is joint that is so if it votes in both halves, and neither has more than two. One that is on its way out of
two voters needs the other's vote, and the other, alone by then, may have committed much since, with others that came
later (seed 1575347471725). And one that is on its way in may have the change from a leader that forgot it in a crash
and went on alone. The one of two that stays while the other is replaced does need all three: else a third that is
proven, and loses power before its disk knows of that, would leave nobody who may be elected.

An unproven voter does not compare logs with such a candidate (§5.4.1): what it was sent and has stored beyond the
candidate's end is not committed, and while it cannot campaign itself nobody else could lead.

For whoever is unproven and no founder asks for no votes. It would go by the voters in half of a log, and be elected by
one of them that was left behind with that very half: of two voters one was on its way out, and the other, which went on
without it, has forgotten what came then (seed 3000002443). A node that is its own only voter asks nobody, and could be
one that lost its disk and has received no more than the beginning of its log, from when it was alone. So on a new disk
it elects itself only where it knows of no term but one that it began itself.

What is *everything that was committed*? The commit index that a leader tells of in an AppendEntries that fits, if the
entry there is of the leader's own term (§5.4.2: only then does a leader know of all commits before it). Fits, because a
leader that thinks that this node has entries which it lost learns of that by a refusal. From then on no commit counts
them, nor anything that this node says, and it is told of none, until others have confirmed that this leader is not one
of long ago (`replication`, *Lost disks*).

What this leaves open is whatever two unproven founders can decide between themselves, and must: when a cluster begins
with two of its three nodes up, they are one new node and another, and when the third is down, which has seen a commit,
and one of the two had too and lost its disk, they are the same. No rule that starts the one cluster stops the other,
but to wait for all three. So it is for whoever replaces a disk to see that a majority is proven. Votes are left open
likewise: one that was forgotten in the very term of the loss can be given anew to another such founder, and to nobody
else.

The price is a narrow one, and paid in the first milliseconds of a cluster's life only. If nodes crash when some are
proven already and others not, a majority may have to be of one kind before it can elect. And a node that crashes after
its vote and before its first entry looks like one that lost its disk: with another one of three down, nobody can tell.
"""

from raftd.consensus.messages import RequestPreVote, RequestVote
from raftd.consensus.node import Node
from raftd.consensus.types import NO_INDEX, NO_TERM, LogIndex, NodeId, Role

_UNANIMOUS_VOTERS_MAX = 2


def needs_every_vote(node: Node) -> bool:
    """Whether no election can do without any voter that this node knows, nor without this node in what came since."""
    membership = node.membership
    halves = (membership.voters, membership.outgoing) if membership.outgoing else (membership.voters,)
    return all(node.node_id in half and len(half) <= _UNANIMOUS_VOTERS_MAX for half in halves)


def _is_founder(node: Node) -> bool:
    """Whether this node knows of no voters but those that the cluster began with."""
    return node.membership.voters == node.founders and not node.membership.outgoing


def claims(node: Node) -> tuple[bool, bool]:
    """What this node says of itself when it asks for votes: whether it is unproven, and whether it needs every vote."""
    return node.unproven, needs_every_vote(node)


def may_trust(node: Node, candidate: NodeId, request: RequestPreVote | RequestVote) -> bool:
    """Whether this node may vote for the candidate, as far as lost disks are concerned."""
    if node.unproven and request.unproven:
        return _is_founder(node) and candidate in node.founders
    return node.unproven == request.unproven or request.unanimous


def is_complete(node: Node, request: RequestPreVote | RequestVote) -> bool:
    """Whether the candidate has all that was ever committed, though this node's log may say more."""
    return node.unproven and request.unanimous and not request.unproven


def may_campaign(node: Node) -> bool:
    """Whether this node may ask for votes: not if it is unproven and could be elected by what it and others forgot.

    One that needs no vote but its own has nobody who would judge by a log of his (§5.4.1).
    """
    if not node.unproven:
        return True
    if node.membership.all_voters == {node.node_id}:
        return node.current_term == NO_TERM or node.voted_for == node.node_id
    return _is_founder(node)


def hear_commit(node: Node, leader_commit: LogIndex) -> None:
    """The leader of this term has committed up to `leader_commit`, and this node's log fits what came with that."""
    if not node.unproven:
        return
    term, index = node.proof_target
    # The first one that will do: a later one would only be further away. What a snapshot stands for will not: of which
    # term it was, nobody can tell any more.
    is_gone = index < node.log.base_index
    if term != node.current_term or is_gone or node.log.term_at(index) not in {None, node.current_term}:
        node.proof_target = node.current_term, leader_commit


def try_to_prove(node: Node) -> None:
    """Something was stored or committed: perhaps this node can vouch for itself now."""
    if not node.unproven:
        return
    term, index = node.proof_target
    if node.role is Role.LEADER:
        term, index = node.current_term, node.commit_index
    if (
        term == node.current_term
        and node.log.term_at(index) == node.current_term
        and NO_INDEX < index <= min(node.storing.stored_index, node.commit_index)
    ):
        node.unproven = False
