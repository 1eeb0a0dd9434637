"""A node as its disk remembers it: a snapshot, a log that goes on behind it, and a hard state.

Snapshot and log are different files. A snapshot that came from a leader is durable before the log is told that it
stands for everything (`Ready.log_base`). So a crash may leave

1. a log that ends before the snapshot, or that has another term at the snapshot's end. What it holds is covered by the
   snapshot or conflicts with it, so all of it goes, and the first Ready resets the log on disk;
2. a term below the snapshot's, if a version was at work that did not wait until the term was stored in which a snapshot
   came (`Node.has_snapshot_data`). Nothing was promised in any term in between, since promises leave only after the
   hard state is stored: the node goes on in the snapshot's term, without a vote.

An empty log may be one of the first kind, so it is reset too; that is without effect if it begins behind the snapshot.
"""

from collections.abc import Iterable
from typing import Final

from raftd.consensus.limits import Limits
from raftd.consensus.log import RaftLog
from raftd.consensus.membership import Membership, SnapshotMetadata
from raftd.consensus.memberships import Memberships
from raftd.consensus.node import Node
from raftd.consensus.storing import Storing
from raftd.consensus.types import NO_INDEX, NO_TERM, Entry, HardState, NodeId
from raftd.errors import InvariantViolation

_NOTHING: Final = SnapshotMetadata(NO_INDEX, NO_TERM, Membership(frozenset()))


def recover(
    *,
    node_id: NodeId,
    limits: Limits,
    bootstrap: Membership,
    snapshot: SnapshotMetadata | None,
    hard_state: HardState,
    entries: Iterable[Entry],
    unproven: bool = False,
) -> Node:
    """Make a node of what its disk holds; `bootstrap` is the membership where no snapshot has one.

    Raises:
        InvariantViolation: no crash can have left this.
    """
    base = _NOTHING if snapshot is None else snapshot
    index, term = base.last_included_index, base.last_included_term
    recovered = list(entries)
    _check(index, recovered, hard_state)
    behind = entries_behind(snapshot, recovered)
    log = RaftLog(() if behind is None else behind, base_index=index, base_term=term)
    memberships = Memberships(node_id, index, bootstrap if snapshot is None else snapshot.membership)
    memberships.append(() if behind is None else behind)
    storing = Storing(hard_state, log.last_index)
    if behind is None:
        storing.reset(index, term)
    has_newer_term = term > hard_state.current_term
    return Node(
        node_id=node_id,
        limits=limits,
        memberships=memberships,
        log=log,
        storing=storing,
        current_term=term if has_newer_term else hard_state.current_term,
        voted_for=None if has_newer_term else hard_state.voted_for,
        founders=bootstrap.voters,
        unproven=unproven,
        snapshot=snapshot,
        commit_index=index,
        handed_index=index,
        last_applied=index,
    )


def entries_behind(snapshot: SnapshotMetadata | None, recovered: list[Entry]) -> list[Entry] | None:
    """The entries that go on behind the snapshot; None if the log on disk does not, and none of it counts.

    Without a snapshot that is all of them. With one, the log must not begin later than just behind it.
    """
    if snapshot is None:
        return recovered
    index, term = snapshot.last_included_index, snapshot.last_included_term
    if not recovered or recovered[-1][0] < index:
        return None
    first_kept = index + 1 - recovered[0][0]
    if first_kept and recovered[first_kept - 1][1] != term:
        return None
    return recovered[first_kept:]


def _check(base_index: int, recovered: list[Entry], hard_state: HardState) -> None:
    if not recovered:
        return
    first_index, last_term = recovered[0][0], recovered[-1][1]
    if first_index > base_index + 1:
        raise InvariantViolation(f"the log begins at index {first_index}, and the snapshot ends at {base_index}")
    if last_term > hard_state.current_term:
        raise InvariantViolation(f"the log ends in term {last_term}, after term {hard_state.current_term}")
