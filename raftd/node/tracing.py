"""Where the time of a write went, for clients that ask: noted for their writes only.

A write that is not traced costs nothing here, and the driver's turns a look at `is_active`. A traced one is noted from
its arrival on, in the order queued, proposed, stored by each node, committed, applied, answered; the last of the nodes
may store it when it is answered already. What is noted is dropped after some seconds, when leadership is lost, and when
newer ones need its place: nobody may rely on it, and nothing does.

How long each batch of entries took to be written is noted on every node, once for each fdatasync (`SyncLog`): whoever
wants to know of an entry asks afterwards.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from raftd.consensus.types import NO_INDEX, NO_TERM, LogIndex, NodeId, Term
from raftd.node.connection import ClientConnection
from raftd.storage.writer import SyncRecord

TRACES_MAX: Final = 16
"""Noted at a time; the oldest gives way."""
TRACE_SECONDS_MAX: Final = 10.0
"""After which a trace is forgotten, whether it was asked for or not."""
SYNCS_MAX: Final = 1024
"""Of which it is known how long they took: some seconds of a busy node."""


@dataclass(slots=True)
class Trace:
    """One write; times are the clock's, None: not yet."""

    connection: ClientConnection
    position: int
    """Among the writes that are queued."""
    arrived: float
    index: LogIndex = NO_INDEX
    term: Term = NO_TERM
    proposed: float | None = None
    stored: dict[NodeId, float] = field(default_factory=dict)
    committed: float | None = None
    applied: float | None = None
    answered: float | None = None


class Tracer:
    """The traces of one node, which leads while it has any. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._traces: list[Trace] = []
        self.is_active = False
        """Whether anything is to be noted."""

    def begin(self, connection: ClientConnection, position: int) -> None:
        """A write was queued, as the one at this position, from 0 on."""
        now = self._clock()
        self._traces = [each for each in self._traces if now - each.arrived < TRACE_SECONDS_MAX][1 - TRACES_MAX :]
        self._traces.append(Trace(connection, position, now))
        self.is_active = True

    def drop(self) -> None:
        """Forget all: what was queued was not proposed, or leadership is lost."""
        self._traces = []
        self.is_active = False

    def proposed(self, first_index: LogIndex, term: Term) -> None:
        """What was queued is in the log from `first_index` on."""
        now = self._clock()
        for trace in self._traces:
            if trace.proposed is None:
                trace.index, trace.term, trace.proposed = LogIndex(first_index + trace.position), term, now

    def stored(self, node_id: NodeId, index: LogIndex) -> None:
        """A node is known to have stored all up to `index`."""
        now = self._clock()
        for trace in self._traces:
            if NO_INDEX < trace.index <= index:
                trace.stored.setdefault(node_id, now)

    def committed(self, index: LogIndex) -> None:
        """All up to `index` is committed, and about to be applied."""
        now = self._clock()
        for trace in self._traces:
            if NO_INDEX < trace.index <= index and trace.committed is None:
                trace.committed = now

    def applied(self, index: LogIndex) -> None:
        """All up to `index` is applied."""
        now = self._clock()
        for trace in self._traces:
            if NO_INDEX < trace.index <= index and trace.applied is None:
                trace.applied = now

    def answered(self) -> None:
        """The answers to all that is applied are on their way. Called in each turn: so it ends what is too old."""
        now = self._clock()
        for trace in self._traces:
            if trace.applied is not None and trace.answered is None:
                trace.answered = now
        if now - self._traces[0].arrived > TRACE_SECONDS_MAX:
            self._traces = [each for each in self._traces if now - each.arrived <= TRACE_SECONDS_MAX]
            self.is_active = bool(self._traces)

    def latest(self, connection: ClientConnection) -> Trace | None:
        """The newest trace of this connection that was answered."""
        mine = (trace for trace in reversed(self._traces) if trace.connection is connection)
        return next((trace for trace in mine if trace.answered is not None), None)


class SyncLog:
    """How many batches were stored, and how long the latest took; noted by the log writer's thread, read by others."""

    def __init__(self) -> None:
        self._records: deque[SyncRecord] = deque(maxlen=SYNCS_MAX)
        self.batches_total = 0
        """Each with one fdatasync."""
        self.entries_total = self.bytes_total = 0

    def note(self, record: SyncRecord) -> None:
        """A batch was stored."""
        self._records.append(record)
        self.batches_total += 1
        self.entries_total += record.entry_count
        self.bytes_total += record.payload_bytes

    def of(self, index: LogIndex) -> SyncRecord | None:
        """The batch in which an entry was stored last; None: it is not known any more."""
        for record in reversed(tuple(self._records)):
            if record.first_index is not None and record.first_index <= index < record.first_index + record.entry_count:
                return record
        return None


class Traces:
    """What clients may have traced, and are told of it.

    Args:
        node_id: Of this node.
        tracer: Its traces.
        syncs: Its batches.
        addresses: Where clients reach each other member.
    """

    def __init__(
        self, node_id: NodeId, tracer: Tracer, syncs: SyncLog, addresses: Callable[[], dict[NodeId, str]]
    ) -> None:
        self._node_id = node_id
        self._tracer = tracer
        self._syncs = syncs
        self._addresses = addresses

    def begin(self, connection: ClientConnection, position: int) -> None:
        """As `Tracer.begin`."""
        self._tracer.begin(connection, position)

    def document(self, connection: ClientConnection, index: LogIndex) -> dict[str, object] | None:
        """What there is to tell of an entry, or with index 0 of a connection's latest traced write."""
        return self.entry(index) if index else self.write(connection)

    def entry(self, index: LogIndex) -> dict[str, object]:
        """How long this node took to store an entry, as JSON has it; null where that is not known any more."""
        record = self._syncs.of(index)
        return {
            "node_id": self._node_id,
            "write_seconds": None if record is None else record.write_seconds,
            "sync_seconds": None if record is None else record.sync_seconds,
            "entries": None if record is None else record.entry_count,
        }

    def write(self, connection: ClientConnection) -> dict[str, object] | None:
        """Where the time of this connection's latest traced write went, as JSON has it; None: there is none."""
        trace = self._tracer.latest(connection)
        if trace is None or None in {trace.proposed, trace.committed, trace.applied, trace.answered}:
            return None
        times = (trace.arrived, trace.proposed, trace.committed, trace.applied, trace.answered)
        begun = trace.proposed or 0.0
        spans = [float(end or 0.0) - float(start or 0.0) for start, end in pairwise(times)]
        return {
            "index": trace.index,
            "term": trace.term,
            **dict(zip(("queue_seconds", "commit_seconds", "apply_seconds", "answer_seconds"), spans, strict=True)),
            "nodes": [
                {
                    "node_id": node_id,
                    "address": address,
                    "stored_seconds": trace.stored[node_id] - begun if node_id in trace.stored else None,
                    **({} if node_id != self._node_id else self.entry(trace.index)),
                }
                for node_id, address in sorted(self._addresses().items())
            ],
        }
