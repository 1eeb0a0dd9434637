"""Waiting until a change of members or leader is done, and saying on a terminal how far it is."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, assert_never

from raftd.cli.output import complain, is_terminal
from raftd.client import ChangeKind, Client, Members, Unavailable

_POLL_SECONDS: Final = 0.2
_CLEAR_LINE: Final = "\r\x1b[K"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of membership that was asked for."""

    kind: ChangeKind
    node_id: int
    old_node_id: int = 0
    address: str = ""

    def begin(self, client: Client) -> int:
        """Ask for it; harmless if it is under way or done. Raises: as `Client.change_membership`."""
        return client.change_membership(self.kind, self.node_id, old_node_id=self.old_node_id, address=self.address)

    def is_done(self, members: Members) -> bool:
        """Whether the leader's word is that nothing is left to do."""
        if not members.committed or members.outgoing:
            return False
        match self.kind:
            case ChangeKind.ADD_VOTER | ChangeKind.PROMOTE:
                return self.node_id in members.voters
            case ChangeKind.ADD_LEARNER:
                return self.node_id in members.all
            case ChangeKind.REMOVE:
                return self.node_id not in members.all
            case ChangeKind.REPLACE:
                return self.node_id in members.voters and self.old_node_id not in members.all
            case ChangeKind.UPDATE_ADDRESS:
                return members.addresses.get(self.node_id) == self.address
            case _:
                assert_never(self.kind)


def wait_for_change(
    client: Client,
    change: Change,
    index: int,
    seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Members:
    """Wait until a change is done that began at `index` of the leader's log; begin it anew if that leader was lost.

    Raises:
        Unavailable: Not within so many `seconds`. It goes on all the same.
        ClientError: As `Client.members` and `Client.change_membership`.
    """
    deadline = clock() + seconds
    progress = _Progress()
    try:
        while True:
            members = _look(client)
            if members is not None:
                if change.is_done(members):
                    return members
                if members.index < index <= members.commit_index:
                    # Something else was committed where the change stood: it was lost with the leader that had it.
                    index = change.begin(client)
                progress.show(_described(change, members))
            if clock() >= deadline:
                raise Unavailable(f"not done within {seconds:g} s; it goes on, see `raftctl member list`")
            sleep(_POLL_SECONDS)
    finally:
        progress.end()


def wait_for_leader(
    client: Client,
    node_id: int,
    seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until a node says that it leads.

    Raises:
        Unavailable: It does not within so many `seconds`; the leader has given up then, and is or has another.
        ClientError: As `Client.members`.
    """
    deadline = clock() + seconds
    while True:
        members = _look(client)
        if members is not None and members.node_id == node_id:
            return
        if clock() >= deadline:
            leader = "no node" if members is None else f"node {members.leader_id}"
            raise Unavailable(f"node {node_id} has not taken over within {seconds:g} s; {leader} leads")
        sleep(_POLL_SECONDS)


def _look(client: Client) -> Members | None:
    """The leader's word, if there is a leader."""
    try:
        members = client.members()
    except Unavailable:
        return None
    return members if members.node_id == members.leader_id else None


def _described(change: Change, members: Members) -> str:
    lag = members.lag_entries.get(change.node_id)
    if change.node_id in members.learners and lag is not None:
        return f"node {change.node_id} is {lag:,} entries behind"
    return "waiting for the voters to agree"


class _Progress:
    """One line on a terminal, written over again and again; nothing anywhere else."""

    def __init__(self) -> None:
        self._is_shown = is_terminal(sys.stderr)

    def show(self, text: str) -> None:
        if self._is_shown:
            complain(f"{_CLEAR_LINE}{text}")

    def end(self) -> None:
        if self._is_shown:
            complain(_CLEAR_LINE)
