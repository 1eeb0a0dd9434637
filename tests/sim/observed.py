"""Parts of a node as they are shipped, with somebody who looks on."""

from typing import TYPE_CHECKING

from raftd.consensus import LogIndex, ReadId, Role, Term
from raftd.kv.machine import StateMachine
from raftd.node.requests import Requests
from raftd.wire.client import Refusal
from tests.sim.disk import MACHINE_LIMITS

if TYPE_CHECKING:
    from tests.sim.process import Process


class ObservedMachine(StateMachine):
    """The state machine, with somebody who looks on."""

    __slots__ = ("_process",)

    def __init__(self, process: "Process") -> None:
        super().__init__(MACHINE_LIMITS)
        self._process = process

    def become(self, other: StateMachine) -> None:
        """See `StateMachine`."""
        super().become(other)
        self._process.world.oracle.loaded(self._process, self)

    def apply(self, index: LogIndex, term: Term, data: bytes) -> bytes:
        """See `StateMachine`."""
        process = self._process
        process.reach("apply")
        answer = super().apply(index, term, data)
        process.world.oracle.applied(process, index, term, data, answer)
        return answer

    def skip(self, index: LogIndex) -> None:
        """See `StateMachine`."""
        super().skip(index)
        process = self._process
        term = process.raft.term_at(index)
        if term is not None:
            process.world.oracle.applied(process, index, term, None, None)


class ObservedRequests(Requests):
    """What clients wait for, with somebody who looks on."""

    def __init__(self, machine: StateMachine, process: "Process") -> None:
        super().__init__(machine)
        self._process = process

    def reads_requested(self, read_id: ReadId) -> None:
        """See `Requests`."""
        super().reads_requested(read_id)
        process = self._process
        raft, sometimes = process.raft, process.world.sometimes
        if raft.role is not Role.LEADER:
            return
        if raft.term_at(raft.commit_index) != raft.current_term:
            sometimes("read_waits_for_noop")
        elif process.world.plan.lease_reads:
            confirmed = raft._reads._confirmed
            if confirmed and confirmed[-1][0] == read_id:
                process.world.oracle.leases.reads(process)
                sometimes("lease_read")
            else:
                sometimes("lease_read_refused")

    def reads_confirmed(self, read_id: ReadId, read_index: LogIndex, term: Term) -> None:
        """See `Requests`."""
        super().reads_confirmed(read_id, read_index, term)
        if self._process.raft.role is not Role.LEADER:
            self._process.world.sometimes("follower_read")

    def reads_refused(self, read_id: ReadId, refusal: Refusal) -> None:
        """See `Requests`."""
        super().reads_refused(read_id, refusal)
        self._process.world.sometimes("read_refused")


class NoDocuments:
    """Administrators ask nothing here."""

    def status_document(self) -> object:
        """See `Documents`."""
        return {}

    def log_document(self, last: int) -> object:
        """See `Documents`."""
        return {"last": last}
