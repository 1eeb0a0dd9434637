"""Who belongs to the cluster, found out by asking nodes until one says that it leads."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from raftd.client.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Members:
    """Who belongs to the cluster, as one node has it in its log."""

    node_id: int
    """The node that says so."""
    leader_id: int | None
    """Who leads, as far as it knows; only a leader's word on members is the newest."""
    index: int
    """Where this stands in the log; 0: the cluster has never changed."""
    committed: bool
    """Whether that is decided. What is not may be taken back by another leader."""
    commit_index: int
    voters: frozenset[int]
    outgoing: frozenset[int]
    """Who voted before the change that is under way, if one is."""
    learners: frozenset[int]
    joining: Mapping[int, int | None]
    """Learners that become voters as soon as they have caught up, each with the voter whose place it takes."""
    addresses: Mapping[int, str]
    """`client=HOST:PORT,peer=HOST:PORT,http=HOST:PORT`, of those of which it was ever said."""
    lag_entries: Mapping[int, int]
    """On a leader, how many entries each other member is not known to have."""

    @property
    def all(self) -> frozenset[int]:
        """Everybody who is sent the log."""
        return self.voters | self.outgoing | self.learners

    @classmethod
    def of_status(cls, status: Mapping[str, Any]) -> Self:
        """Take them out of a node's STATUS document. Raises: KeyError, TypeError, ValueError: it is none."""
        membership = status["membership"]
        return cls(
            node_id=status["node_id"],
            leader_id=status["leader_id"],
            index=membership["index"],
            committed=membership["committed"],
            commit_index=status["commit_index"],
            voters=frozenset(membership["voters"]),
            outgoing=frozenset(membership["outgoing"]),
            learners=frozenset(membership["learners"]),
            joining={int(node): old for node, old in membership["joining"].items()},
            addresses={int(node): text for node, text in membership["addresses"].items()},
            lag_entries={peer["node_id"]: peer["lag_entries"] for peer in status["peers"]},
        )


async def find_members(ask: Callable[[str], Awaitable[dict[str, Any]]], endpoints: Iterable[str]) -> Members:
    """Take the leader's word; of another node, if no leader can be had.

    Args:
        ask: for a node's STATUS document. It raises `Unavailable` where another node may be better off.
        endpoints: whom to ask, in this order; a leader that one of them knows comes before the next.

    Raises:
        ClientError: as `ask`, of the last node that was asked, when none has answered.
    """
    queue, asked = deque(endpoints), set[str]()
    found: Members | None = None
    failure = Unavailable("there is nobody to ask")
    while queue:
        endpoint = queue.popleft()
        if endpoint in asked:
            continue
        asked.add(endpoint)
        try:
            status = await ask(endpoint)
            members = Members.of_status(status)
            addresses = {member["node_id"]: member["client_address"] for member in status["members"]}
        except Unavailable as error:
            failure = error
            continue
        except (KeyError, TypeError, ValueError, AttributeError):
            failure = Unavailable(f"{endpoint}: its status does not say who is a member")
            continue
        if members.node_id == members.leader_id:
            return members
        if found is None or members.index > found.index:
            found = members
        if leader := addresses.get(members.leader_id):
            queue.appendleft(leader)
    if found is None:
        raise failure
    return found
