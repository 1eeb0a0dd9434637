"""The client's half of exactly-once, pure: which sequences of a session are still unanswered.

The cluster's half is in the state machine (ARCHITECTURE.md, "Exactly once"): it keeps the answers of a session from
`first_unanswered` on, gives the kept answer to a repeated sequence, and refuses a sequence below `first_unanswered`.
Two things follow, and this module is where both are kept:

- A sequence may leave the unanswered ones only when the client will never send its bytes again: it has an answer, or
  its caller was told that there will be none.
- So a write that was given up is fenced: as soon as a command of the session is applied that began when no earlier
  sequence was unanswered, a late copy of the given-up one, still under way somewhere, is refused instead of applied.
"""

from raftd.errors import LocalProtocolError


class Session:
    """One session of the cluster as its client knows it.

    Invariant: `first_unanswered` is the lowest unanswered sequence, the next one when there is none, and never falls.
    At most `window` sequences lie between `first_unanswered` and the next one, so that the cluster never has to keep
    more answers than that.
    """

    __slots__ = ("_next_sequence", "_unanswered", "_window", "first_unanswered", "id")

    def __init__(self, session_id: int, window: int) -> None:
        self.id = session_id
        self.first_unanswered = 1
        self._window = window
        self._next_sequence = 1
        self._unanswered: set[int] = set()

    @property
    def unanswered(self) -> int:
        """How many writes are begun and not ended."""
        return len(self._unanswered)

    @property
    def full(self) -> bool:
        """Whether `begin` must wait until the lowest unanswered sequence has ended."""
        return self._next_sequence - self.first_unanswered >= self._window

    def begin(self) -> int:
        """Take the next sequence for a new write.

        Raises:
            LocalProtocolError: the session is `full`.
        """
        if self.full:
            raise LocalProtocolError(f"{self._window} writes of session {self.id} have no answer yet")
        sequence = self._next_sequence
        self._next_sequence = sequence + 1
        self._unanswered.add(sequence)
        return sequence

    def end(self, sequence: int) -> None:
        """Note that the bytes of `sequence` will never be sent again: it was answered, or given up.

        Raises:
            LocalProtocolError: the sequence was not begun, or has ended before.
        """
        if sequence not in self._unanswered:
            raise LocalProtocolError(f"sequence {sequence} of session {self.id} is not unanswered")
        self._unanswered.remove(sequence)
        while self.first_unanswered < self._next_sequence and self.first_unanswered not in self._unanswered:
            self.first_unanswered += 1
