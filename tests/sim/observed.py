"""Parts of a node as they are shipped, with somebody who looks on."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from raftd.consensus import InstallSnapshot, LogIndex, ReadId, Role, Term
from raftd.kv import answers
from raftd.kv.machine import StateMachine
from raftd.node.lease_keeper import LeaseKeeper
from raftd.node.requests import Requests
from raftd.node.transfers import SnapshotInstaller
from raftd.wire.client import Refusal
from raftd.wire.watch import decode_keep_alive_answer

if TYPE_CHECKING:
    from tests.sim.process import Process


class ObservedMachine(StateMachine):
    """The state machine, with somebody who looks on."""

    __slots__ = ("_process",)

    def __init__(self, process: "Process") -> None:
        super().__init__(process.world.plan.machine_limits)
        self._process = process

    def become(self, other: StateMachine) -> Iterator[int]:
        """See `StateMachine`."""
        remains = super().become(other)
        self._process.world.oracle.loaded(self._process, self)
        return remains

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


class ObservedInstaller(SnapshotInstaller):
    """What takes in a leader's snapshots, with somebody who looks on."""

    def __init__(self, process: "Process", **parts: Any) -> None:
        super().__init__(**parts)
        self._process = process

    def receive(self, message: InstallSnapshot) -> None:
        """See `SnapshotInstaller`."""
        self._process.world.oracle.takes_in(self._process, message.term)
        super().receive(message)


class ObservedRequests(Requests):
    """What clients wait for, with somebody who looks on."""

    def __init__(self, machine: StateMachine, process: "Process") -> None:
        super().__init__(machine, clock=process.time)
        self._process = process
        self._committed: dict[ReadId, int] = {}
        """Reads that wait -> how many entries were committed, wherever, when they were asked for."""

    def reads_requested(self, read_id: ReadId) -> None:
        """See `Requests`."""
        super().reads_requested(read_id)
        process = self._process
        self._committed[read_id] = len(process.world.oracle.committed_terms)
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

    def quorum_reads_requested(self, read_id: ReadId) -> None:
        """See `Requests`."""
        super().quorum_reads_requested(read_id)
        self._committed[read_id] = len(self._process.world.oracle.committed_terms)

    def reads_confirmed(self, read_id: ReadId, read_index: LogIndex, term: Term) -> None:
        """See `Requests`."""
        self._process.world.oracle.read_confirmed(self._process, read_index, self._committed.pop(read_id))
        super().reads_confirmed(read_id, read_index, term)
        if self._process.raft.role is not Role.LEADER:
            self._process.world.sometimes("follower_read")

    def reads_refused(self, read_id: ReadId, refusal: Refusal) -> None:
        """See `Requests`."""
        super().reads_refused(read_id, refusal)
        del self._committed[read_id]
        self._process.world.sometimes("read_refused")


class ObservedKeeper(LeaseKeeper):
    """The keeper of leases, with somebody who looks on."""

    def __init__(self, process: "Process") -> None:
        super().__init__(process.raft, process.machine, process.time)
        self._process = process

    def keep_alive(self, lease_ids: Sequence[int], user: bytes, term: Term) -> bytes | None:
        """See `LeaseKeeper`."""
        answer = super().keep_alive(lease_ids, user, term)
        service = self._process.world.service
        if answer is not None and service is not None:
            remaining = decode_keep_alive_answer(answers.decode(answer).body)
            for lease_id, remaining_ms in zip(lease_ids, remaining, strict=True):
                if remaining_ms:
                    service.lease_times.kept_alive(self._process, lease_id)
        return answer


class NoDocuments:
    """Administrators ask nothing here."""

    def status_document(self) -> object:
        """See `Documents`."""
        return {}

    def log_document(self, last: int) -> Iterator[str]:
        """See `Documents`."""
        return iter(f'{{"last":{last}}}')

    def diagnostics_document(self) -> object:
        """See `Documents`."""
        return {}
