"""Whether a node that has started is again where it was before: until then even a stale answer says too little.

A restart forgets the commit index (Figure 2: volatile), and a leader tells of it bit by bit, so it is nothing to go by.
But the log is still there, and whatever this node had applied lies in it, but for what a crash took from the log's end.
"""

from typing import Protocol

from raftd.consensus.types import LogIndex, NodeId, Term


class Leadership(Protocol):
    """What must be known of consensus."""

    @property
    def current_term(self) -> Term:
        """This node's term."""

    @property
    def leader_id(self) -> NodeId | None:
        """Who leads, if known."""

    @property
    def last_index(self) -> LogIndex:
        """Where the log ends."""

    def term_at(self, index: LogIndex, /) -> Term | None:
        """Term of the entry at `index`; None where the log does not reach."""


class Machine(Protocol):
    """What must be known of the state machine."""

    @property
    def last_applied(self) -> LogIndex:
        """Entries up to here are applied."""


class Replay:
    """Watches a node come back; made before it hears of anybody."""

    __slots__ = ("_end", "_end_term", "_leadership", "_machine", "is_done")

    def __init__(self, leadership: Leadership, machine: Machine) -> None:
        self._leadership = leadership
        self._machine = machine
        self._end = leadership.last_index
        self._end_term = leadership.term_at(self._end)
        self.is_done = False
        """Whether all that the log held at the start is applied, but for what has turned out not to be committed."""

    def look(self) -> None:
        """See how far it is; to be called in each turn. Once done it stays so, with a leader or without.

        All that was committed in earlier terms lies before any committed entry of the leader's own term, and each
        leader has one a moment after its election, though no client writes anything. If the term is the one in which
        this node stopped, its leader keeps and commits what it had sent, so there is an index to wait for. By itself
        the index would not do: who leads now may have replaced the log's end by something shorter.
        """
        if self.is_done:
            return
        leadership, applied = self._leadership, self._machine.last_applied
        term = leadership.current_term
        self.is_done = (
            leadership.leader_id is not None
            and leadership.term_at(applied) == term
            and (applied >= self._end or term != self._end_term)
        )
