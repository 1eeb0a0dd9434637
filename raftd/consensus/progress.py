"""What a leader knows of one peer, and what that allows it to send."""

import enum
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from raftd.consensus.limits import Limits
from raftd.consensus.types import NO_INDEX, NO_TERM, LogIndex, Term

_CHUNK_PATIENCE_INTERVALS: Final = 8
"""A chunk of a snapshot is sent again if it was not answered for this many heartbeat intervals, then for twice as many,
and so on: a slow link or disk needs time and not more of the same."""
_CHUNK_PATIENCE_INTERVALS_MAX: Final = 64

_FIRST_INDEX: Final = LogIndex(1)


class ProgressState(enum.Enum):
    """How a leader sends its log to one peer."""

    PROBE = "probe"
    """Where the peer's log agrees is a guess: one AppendEntries at a time, until one succeeds."""
    REPLICATE = "replicate"
    """It is known: AppendEntries follow one another without waiting, within the in-flight window."""
    SNAPSHOT = "snapshot"
    """It lacks what the log does not hold any more: one chunk of a snapshot at a time, until it has all of it."""


@dataclass(slots=True)
class Progress:
    """One peer, as seen by the leader of this term.

    Invariants: 0 <= match_index < next_index; match_index never goes down, but to nothing when the peer is found to
    have lost what it confirmed.
    """

    next_index: LogIndex
    """The next entry to send. In PROBE a guess, in REPLICATE one behind the last that was sent, in SNAPSHOT one behind
    the snapshot."""
    match_index: LogIndex = NO_INDEX
    """The peer has stored the leader's log up to here."""
    own_index: LogIndex = _FIRST_INDEX
    """The first entry of the leader's own term."""
    must_ask: bool = False
    """The peer has confirmed nothing since it was out of reach, or became a peer while this node led: it may have begun
    anew, without its log."""
    state: ProgressState = ProgressState.PROBE
    silent_ticks: int = 0
    """Ticks since the peer last answered as a follower of this term."""
    confirmed_round: int = 0
    """The latest heartbeat round that the peer has answered."""
    is_paused: bool = False
    """PROBE, SNAPSHOT: a probe or a chunk is on its way, or the peer cannot be reached; nothing is sent until an answer
    comes, or one to a heartbeat."""
    inquiry_due: bool = False
    """An empty AppendEntries behind what was last sent is due, to ask whether all of that arrived."""
    in_flight: deque[tuple[LogIndex, int]] = field(default_factory=deque)
    """REPLICATE: (last index, bytes of entries) of each AppendEntries without an answer, oldest first."""
    in_flight_bytes: int = 0
    held_long: bool = False
    """A tick has passed since the last AppendEntries left: nothing is held back any longer."""
    snapshot_term: Term = NO_TERM
    """SNAPSHOT: the last included term of the snapshot that is sent; its last included index is next_index - 1."""
    snapshot_offset: int = 0
    """SNAPSHOT: the peer has this many bytes of it."""
    _doubtful_intervals: int = 0
    """How many heartbeat intervals have begun since something was sent, without any answer about the log."""
    _patience_intervals: int = _CHUNK_PATIENCE_INTERVALS
    losses: int = 0
    """How often the peer was found to have lost some of what it had confirmed, ..."""
    lost_index: LogIndex = NO_INDEX
    """... and how much it had confirmed the last time; NO_INDEX: never."""
    _is_asked: bool = False
    """Entries have left since the peer was out of reach: their answer is awaited, and an inquiry does as well."""
    is_doubted: bool = False
    """The peer may have begun anew: nothing it says counts until it is trusted (`replication`, *Lost disks*), ..."""
    doubted_index: LogIndex = NO_INDEX
    """... which is when the entry at this index is committed; NO_INDEX: there is none yet."""

    @property
    def confirmed_index(self) -> LogIndex:
        """What the peer surely holds now: nothing, while it may have begun anew."""
        return NO_INDEX if self.must_ask else self.match_index

    @property
    def is_doubtful(self) -> bool:
        """Whether the peer may have forgotten a newer term, for all that it has shown."""
        return self.must_ask or self.is_doubted

    @property
    def counted_index(self) -> LogIndex:
        """What of the log counts as stored by the peer, when it comes to commitment."""
        return NO_INDEX if self.is_doubted else self.match_index

    @property
    def counted_round(self) -> int:
        """The latest heartbeat round that counts as answered by the peer."""
        return 0 if self.is_doubtful else self.confirmed_round

    def may_send(self, last_index: LogIndex, limits: Limits) -> bool:
        """Whether an AppendEntries from next_index on can go out now, to a peer that lacks something of the log."""
        if self.state is ProgressState.PROBE:
            return not self.is_paused and self.match_index < last_index
        return (
            self.state is ProgressState.REPLICATE
            and self.next_index <= last_index
            and len(self.in_flight) < limits.in_flight_appends_max
            and self.in_flight_bytes < limits.in_flight_bytes_max
        )

    def holds_back(self, waiting_entries: int, waiting_bytes: int, limits: Limits) -> bool:
        """Whether what waits is too little to be worth an AppendEntries of its own (`Replication`, *Holding back*)."""
        return (
            bool(self.in_flight)
            and not self.held_long
            and waiting_entries < limits.held_entries_max
            and waiting_bytes < limits.held_bytes_max
        )

    def sent(self, high: LogIndex, size_bytes: int) -> None:
        """Entries [next_index, high) left in one AppendEntries."""
        self.inquiry_due = False
        self.held_long = False
        if self.state is ProgressState.PROBE:
            self.is_paused = self._is_asked = True
            return
        self.in_flight.append((LogIndex(high - 1), size_bytes))
        self.in_flight_bytes += size_bytes
        self.next_index = high

    def accepted(self, match_index: LogIndex) -> bool:
        """The peer has stored everything up to `match_index`. Returns whether that is news.

        Late and repeated answers change nothing: both indexes only rise.
        """
        if self.must_ask:
            self.must_ask = False
            if self.match_index < self.own_index or self.state is ProgressState.SNAPSHOT:
                # Of the leader's own term it had nothing, and what is of older ones a new disk may have from elsewhere:
                # from an even older leader, or from a backup. A snapshot fits any disk.
                self._doubt()
        if self.state is ProgressState.SNAPSHOT and match_index >= self.next_index - 1:
            self.match_index = match_index
            self._replicate()
            return True
        is_news = match_index > self.match_index
        if is_news:
            self.match_index = match_index
            self._doubtful_intervals = 0
            while self.in_flight and self.in_flight[0][0] <= match_index:
                self.in_flight_bytes -= self.in_flight.popleft()[1]
        if self.state is ProgressState.PROBE and match_index >= self.next_index - 1:
            self._replicate()
        else:
            self.next_index = max(self.next_index, LogIndex(self.match_index + 1))
        return is_news

    def refused(self, prev_log_index: LogIndex, next_index: LogIndex) -> bool:
        """The peer has no entry of ours at `prev_log_index`; `next_index` is the better guess. Returns if it is news.

        Old news is what is known to match by now, and what was not asked by the probe under way: late answers to a
        pipeline whose first refusal was acted on. Of a peer that was out of reach, and has confirmed nothing since, a
        refusal of what it had confirmed before is the worst of news: its disk was set back, to an old copy perhaps.
        """
        if self.state is ProgressState.SNAPSHOT:
            return False
        if prev_log_index <= self.match_index:
            if not self.must_ask or prev_log_index == NO_INDEX:
                return False
            self._begin_anew(min(next_index, prev_log_index))
            return True
        if self.state is ProgressState.PROBE and prev_log_index != self.next_index - 1:
            return False
        # At least one lower than what was refused, so that probing ends; above what is known to match.
        self._probe(max(LogIndex(self.match_index + 1), min(next_index, prev_log_index)))
        return True

    def installed(self, match_index: LogIndex) -> bool:
        """The peer has taken in a snapshot, so it has everything up to `match_index`. Returns whether that is news."""
        is_news = self.accepted(match_index)
        if is_news and self.state is ProgressState.SNAPSHOT:
            # It was busy with an older one, and what came of this one meanwhile was not looked at.
            self.is_paused = False
        return is_news

    def has_no_log(self) -> bool:
        """The peer's log is empty. Returns whether that may be since it lost its disk and begins anew (`proof`)."""
        if not self.must_ask or self.state is ProgressState.SNAPSHOT:
            return False
        self._begin_anew(LogIndex(1))
        return True

    def trust(self) -> None:
        """What the peer says counts again, and it may hear what is committed."""
        self.is_doubted = False
        self.doubted_index = NO_INDEX
        self.tell_commit()

    def tell_commit(self) -> None:
        """Tell the peer what is committed, be there anything new or not: an AppendEntries proves it (`proof`)."""
        if self.state is ProgressState.REPLICATE and not self.is_doubtful:
            self.inquiry_due = True

    def unreachable(self) -> None:
        """Something to this peer was dropped: send nothing more than heartbeats until it answers one."""
        if self.state is not ProgressState.SNAPSHOT:
            self._probe(self.next_index)
        self.is_paused = True
        self.must_ask = True
        self._doubtful_intervals = self._patience_intervals

    def begin_interval(self) -> None:
        """A heartbeat interval begins: count those in which the peer says nothing about what it was sent."""
        in_doubt = (
            self.must_ask
            or self.is_paused
            or (self.state is not ProgressState.SNAPSHOT and self.next_index - 1 > self.match_index)
        )
        self._doubtful_intervals = self._doubtful_intervals + 1 if in_doubt else 0

    def heartbeat_answered(self) -> None:
        """The peer is alive. If it was silent about the log for a whole interval, something may have been lost.

        What was lost cannot be told from what waits for a slow disk, so nothing is sent twice on suspicion: the peer is
        asked, with an empty AppendEntries, and either confirms everything or says where it goes on.
        """
        if self.state is ProgressState.SNAPSHOT:
            if self.is_paused and self._doubtful_intervals >= self._patience_intervals:
                self.is_paused = False
                self._patience_intervals = min(2 * self._patience_intervals, _CHUNK_PATIENCE_INTERVALS_MAX)
            return
        if self._doubtful_intervals < 2:
            return
        self._doubtful_intervals = 1  # One inquiry in an interval.
        if self.match_index != self.next_index - 1:
            self.inquiry_due = True
        elif self.must_ask:
            # What is new asks as well as nothing does, but once: its disk may be slow.
            self.is_paused = self._is_asked
            self.inquiry_due = True
        else:
            self._replicate()

    def begin_snapshot(self, last_included_index: LogIndex, last_included_term: Term) -> None:
        """Send this snapshot, from its beginning."""
        self.state = ProgressState.SNAPSHOT
        self.next_index = LogIndex(last_included_index + 1)
        self._start_afresh()
        self.snapshot_term = last_included_term
        self.snapshot_offset = 0

    def end_snapshot(self) -> None:
        """The peer has as much of the log as it needs: go on with entries."""
        self._replicate()

    def chunk_sent(self) -> None:
        """A chunk from `snapshot_offset` on is on its way."""
        self.is_paused = True
        self._doubtful_intervals = 0

    def chunk_answered(self, last_included_index: LogIndex, next_offset: int) -> None:
        """The peer has the snapshot that ends there up to `next_offset`, in bytes.

        The offset that was sent from last is no news: it is what a repeated answer says. Were it believed, each
        repetition would set one more chunk in flight. A lower one is: the peer has lost what it had.
        """
        if self.state is not ProgressState.SNAPSHOT or last_included_index != self.next_index - 1:
            return
        if self.is_paused and next_offset == self.snapshot_offset:
            return
        self.snapshot_offset = next_offset
        self.is_paused = False
        self._patience_intervals = _CHUNK_PATIENCE_INTERVALS

    def _begin_anew(self, next_index: LogIndex) -> None:
        """The peer has lost what it had confirmed: it has to say again what it has.

        The one case in which match_index goes back, and only after the peer was out of reach. Should an answer from
        before its first success come this late, then this is wrong, and does no more harm than to ask again.
        """
        self.must_ask = False
        self._doubt()
        if self.match_index:
            self.losses += 1
            self.lost_index = self.match_index
        self.match_index = NO_INDEX
        self._probe(next_index)

    def _doubt(self) -> None:
        self.is_doubted = True
        self.doubted_index = NO_INDEX

    def _probe(self, next_index: LogIndex) -> None:
        self.state = ProgressState.PROBE
        self.next_index = next_index
        self._start_afresh()

    def _replicate(self) -> None:
        self.state = ProgressState.REPLICATE
        self.next_index = LogIndex(self.match_index + 1)
        self._start_afresh()
        self.tell_commit()

    def _start_afresh(self) -> None:
        self.is_paused = False
        self._is_asked = False
        self.inquiry_due = False
        self._doubtful_intervals = 0
        self._patience_intervals = _CHUNK_PATIENCE_INTERVALS
        self.in_flight.clear()
        self.in_flight_bytes = 0
