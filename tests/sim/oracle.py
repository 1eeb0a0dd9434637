"""What must hold between all nodes and clients, checked where it happens and never by walking along a log.

Log matching (§5.3) is checked by induction: whatever entry is ever put into a log is registered under (index, term)
with its data and the term before it. If an entry that is registered already comes with other data or after another
term, two logs that share it differ; if that never happens, all logs that share an entry are equal up to it.

Three pictures of each node's log are kept apart from raftd's own: what it handed out (`LogPicture` of the process),
what its disk holds (`Disk.durable`), and what is committed by whomever said so first.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

from raftd.consensus import (
    Entry,
    EntryKind,
    LogIndex,
    Membership,
    NodeId,
    Role,
    Term,
    check_basic,
    check_delta,
    decode_membership,
    observe,
)
from raftd.kv import answers
from raftd.kv.answers import Outcome
from raftd.kv.commands import InvalidCommand, Opcode, decode
from raftd.kv.machine import StateMachine
from tests.sim.contact import Contact
from tests.sim.leases import Leases, decides
from tests.sim.plan import ELECTION_TIMEOUT_SECONDS

if TYPE_CHECKING:
    from tests.sim.process import Process
    from tests.sim.world import World


class Violation(AssertionError):  # noqa: N818 - of a promise, as in `InvariantViolation`
    """A promise does not hold."""


_FAR_BEHIND_ENTRIES = 30
_FEW_VOTERS = 2
_SOME_VOTERS = 3
_MANY_VOTERS = 5
_TURNS_SECONDS = 0.1
"""A leader's entries may be handed out so much later than they were proposed."""
_NOT_DONE = frozenset((Outcome.SESSION_EXPIRED, Outcome.SEQUENCE_ANSWERED, Outcome.TOO_MANY_IN_FLIGHT, Outcome.INVALID))
"""Answers of the session to a write, which it does not remember: the write has not been tried."""
_WRITES = frozenset(
    (
        Opcode.PUT,
        Opcode.DELETE,
        Opcode.INCREMENT,
        Opcode.DELETE_RANGE,
        Opcode.TRANSACTION,
        Opcode.LEASE_GRANT,
        Opcode.LEASE_REVOKE,
    )
)


def _is_one_of_few(candidate: "Process") -> bool:
    """Whether nobody can have gone on without this one: it votes in each half of a membership of one or two."""
    membership = candidate.membership_in_force()
    halves = [half for half in (membership.voters, membership.outgoing) if half]
    return all(candidate.node_id in half and len(half) <= _FEW_VOTERS for half in halves)


class Oracle:
    """Sees everything, and believes nothing twice."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.leases = Leases(world)
        self.contact = Contact(world)
        self.memberships: list[tuple[int, Membership]] = [(0, world.membership)]
        """Those that were committed, with their indexes; the first is what the cluster began with."""
        self._registry: dict[tuple[int, int], tuple[int, EntryKind, bytes]] = {}
        self.committed_terms: list[int] = []
        """Term of each committed entry, from index 1 on."""
        self._committed_in: list[int] = []
        """The current term of the node that committed it first: not before the term in which it was committed."""
        self._applied: list[tuple[int, bytes | None, int]] = []
        """(term, data, state hash behind it) of each applied entry."""
        self.leaders: dict[int, NodeId] = {}
        self._candidates: dict[int, set[NodeId]] = {}
        self._votes: dict[tuple[NodeId, int, int], NodeId] = {}
        """(voter, which of its disks, term) -> whom it voted for: who lost a disk has forgotten its votes."""
        self._pre_votes: dict[tuple[NodeId, int], set[NodeId]] = {}
        """(candidate, term that it asked for) -> who would vote for it."""
        self._relied: dict[NodeId, int] = {}
        """The last committed entry of which the copy on a node's lost disk was one that counted."""
        self._rounds: dict[tuple[NodeId, int], int] = {}
        """(leader, term) -> the last heartbeat round that it has begun."""
        self.write_answers: dict[tuple[int, int], bytes] = {}
        """(session, sequence) -> what the state machine answered when it was applied first."""
        self.changed: set[tuple[int, int]] = set()
        """Those that have changed the store."""
        self._session_openers: dict[int, bytes] = {}
        self._born: dict[tuple[int, int], float] = {}
        """When an entry was first in a log."""
        self._touched: dict[int, float] = {}
        """Open sessions -> when the last command that was theirs was born."""
        self.revision = 0

    def fail(self, promise: str) -> None:
        """Say what does not hold.

        Raises:
            Violation: always.
        """
        raise Violation(promise)

    # One node's steps.

    def after_step(self, process: "Process") -> None:
        """Check what a step of one process has changed."""
        raft = process.raft
        check_basic(raft)
        # Only where all of memory's log was handed out does the oracle know as much as the node.
        is_handed_out = (raft.last_index, raft.term_at(raft.last_index)) == (process.log_end, process.log_last_term)
        if is_handed_out and raft.membership != process.membership_in_force():
            self.fail(
                f"node {process.node_id} is in {raft.membership}, and its log says {process.membership_in_force()}"
            )
        now = observe(raft)
        before = process.observation
        if now == before:
            return
        process.observation = now
        check_delta(before, now)
        base = raft.base_index
        if base and raft.term_at(base) != self.committed_terms[base - 1]:
            self.fail(f"node {process.node_id} has term {raft.term_at(base)} at {base}, where its log begins")
        if now.voted_for is not None and (now.current_term, now.voted_for) != (before.current_term, before.voted_for):
            self.leases.votes(process, now.voted_for, before.current_term)
            self._check_trust(process, now.voted_for)
        if now.commit_index != before.commit_index:
            if before.role is now.role is Role.LEADER and now.commit_term != now.current_term:
                self.fail(
                    f"leader {process.node_id} commits entry {now.commit_index} of an older term by itself (§5.4.2)"
                )
            for index in range(max(before.commit_index + 1, raft.base_index), now.commit_index + 1):
                self._committed(index, raft.term_at(LogIndex(index)), process)
        if now.role is not before.role or now.current_term != before.current_term:
            self._role_changed(process, before.role, before.current_term)

    def _check_trust(self, voter: "Process", candidate_id: NodeId) -> None:
        """A node that may have forgotten what it stored elects none who relies on that (`raftd.consensus.proof`)."""
        raft, candidate = voter.raft, self._world.processes[candidate_id]
        if voter is candidate or not candidate.is_up or candidate.raft.role is not Role.CANDIDATE:
            return
        if candidate.raft.current_term != raft.current_term:
            return
        if not candidate.raft.is_proven and not self._world.knows_founders_only(candidate):
            self.fail(f"node {candidate_id} asks for votes, on a new disk of an old cluster")
        if not raft.is_proven and not candidate.raft.is_proven:
            if not self._world.knows_founders_only(voter):
                self.fail(f"node {voter.node_id} votes for node {candidate_id}, both on new disks of an old cluster")
            return
        if _is_one_of_few(candidate):
            return
        if raft.is_proven != candidate.raft.is_proven:
            self.fail(f"of node {voter.node_id} and node {candidate_id}, whom it votes for, one has a new disk")

    def _role_changed(self, process: "Process", role_before: Role, term_before: int) -> None:
        raft, world = process.raft, self._world
        term, role = raft.current_term, raft.role
        world.trace.note(f"node {process.node_id} is {role.value} in term {term}")
        if role_before is Role.LEADER:
            if term > term_before:
                world.sometimes("leader_deposed")
            elif raft.role is not Role.LEADER:
                world.sometimes("leader_without_quorum_steps_down")
            self._leader_gave_up(process)
        if role is not Role.LEADER:
            if role is Role.CANDIDATE:
                self._campaigns(process, term)
            return
        if world.service is not None:
            world.service.lease_times.leads(process)
        if process.told_term is not None and term == process.told_term + 1:
            world.sometimes("leadership_transferred")
        leader = self.leaders.setdefault(term, process.node_id)
        if leader != process.node_id:
            self.fail(f"election safety: nodes {leader} and {process.node_id} both lead term {term}")
        membership = process.membership_in_force()
        voters = membership.all_voters
        votes = {voter for voter in voters if self._has_voted(voter, process.node_id, term)} | {process.node_id}
        if not decides(membership, votes):
            self.fail(f"node {process.node_id} leads term {term} with the votes of {sorted(votes)} only")
        # What was committed in an earlier term; a leader that was elected and comes late need not know of later ones.
        last = len(self.committed_terms)
        while last and self._committed_in[last - 1] >= term:
            last -= 1
        if last > raft.base_index and raft.term_at(LogIndex(last)) != self.committed_terms[last - 1]:
            self.fail(
                f"leader completeness: node {process.node_id} leads term {term} without entry {last} "
                f"of term {self.committed_terms[last - 1]}, committed in term {self._committed_in[last - 1]}"
            )

    def _has_voted(self, voter: NodeId, candidate: NodeId, term: int) -> bool:
        disks = range(self._world.disks[voter].generation + 1)
        return any(self._votes.get((voter, disk, term)) == candidate for disk in disks)

    def _leader_gave_up(self, process: "Process") -> None:
        raft, world = process.raft, self._world
        membership_index, membership = process.memberships[-1]
        if process.node_id not in membership.members and membership_index <= raft.commit_index:
            world.sometimes("leader_removes_itself")
        busy_since = process.writer.busy_since
        if busy_since is not None and process.local_time() - busy_since > ELECTION_TIMEOUT_SECONDS:
            world.sometimes("stalled_disk_hands_over")

    def _campaigns(self, process: "Process", term: int) -> None:
        node_id = process.node_id
        backing = {node_id} | self._pre_votes.get((node_id, term), set())
        if not self.leases.was_told(node_id, term - 1) and not decides(process.membership_in_force(), backing):
            self.fail(f"node {node_id} begins term {term}, and only {sorted(backing)} would vote for it (thesis §9.6)")
        candidates = self._candidates.setdefault(term, set())
        candidates.add(node_id)
        if len(candidates) == 2:
            self._world.sometimes("several_candidates")
        previous = self._candidates.get(term - 1)
        if previous and len(previous) > 1 and term - 1 not in self.leaders:
            self._world.sometimes("split_vote")

    # Logs.

    def appended(self, process: "Process", entries: Sequence[Entry]) -> None:
        """A process hands out entries of its log, to be stored and sent."""
        terms, base = process.log_terms, process.log_base
        first = entries[0][0]
        if not base < first <= base + len(terms) + 1:
            self.fail(f"node {process.node_id} has a hole in its log before entry {first}, or none behind {base}")
        replaced = base + len(terms) - first + 1
        if replaced > 0:
            if process.raft.role is Role.LEADER:
                self.fail(f"leader append-only: node {process.node_id} replaces entry {first} of its own log")
            # A leader of an older term that comes late may replace what is committed in a newer one, on a node that had
            # no part in that.
            is_committed = first <= len(self.committed_terms) and self._committed_in[first - 1] <= (
                process.raft.current_term
            )
            if is_committed and terms[first - base - 1] == self.committed_terms[first - 1]:
                self.fail(f"node {process.node_id} gives up committed entry {first}")
            self._world.sometimes("suffix_replaced")
            if replaced >= 5:
                self._world.sometimes("long_suffix_replaced")
            del terms[first - base - 1 :]
            while process.memberships[-1][0] >= first:
                process.memberships.pop()
                self._world.sometimes("membership_rolled_back")
        self.register(entries, terms[-1] if terms else process.log_base_term, f"node {process.node_id}'s log")
        if process.raft.role is Role.LEADER:
            self._check_changes(process, entries)
            if self._world.service is not None:
                self._world.service.appended(process, entries)
        process.read_memberships(entries)
        committed = len(self.committed_terms)
        if base + len(terms) + _FAR_BEHIND_ENTRIES < committed:
            process.is_far_behind = True
        terms.extend([entry[1] for entry in entries])
        if process.is_far_behind and base + len(terms) >= committed:
            process.is_far_behind = False
            self._world.sometimes("log_behind_catches_up")

    def _check_changes(self, process: "Process", entries: Sequence[Entry]) -> None:
        """A leader begins a change of the membership only when the last one is committed (thesis §4.1, §4.3)."""
        last, raft = process.memberships[-1][0], process.raft
        for index, term, kind, _ in entries:
            if kind is not EntryKind.MEMBERSHIP or term != raft.current_term:
                continue
            if last > raft.commit_index:
                self.fail(f"leader {process.node_id} changes the membership at {index}, and {last} is not committed")
            if raft.term_at(raft.commit_index) != term:
                self.fail(f"leader {process.node_id} changes the membership before it has committed in term {term}")
            last = index

    def log_reset(self, process: "Process", index: LogIndex, term: Term) -> None:
        """A snapshot takes the place of a process's whole log."""
        if index > len(self.committed_terms) or self.committed_terms[index - 1] != term:
            self.fail(f"node {process.node_id} has a snapshot of entry {index} of term {term}, which is not committed")
        held = process.log_base + len(process.log_terms)
        if held >= index:
            self._world.sometimes("snapshot_over_divergent_log")
        process.log_base, process.log_base_term, process.log_terms = index, term, []
        process.memberships = [(index, self.membership_at(index))]

    def loaded(self, process: "Process", machine: StateMachine) -> None:
        """A process has the state of a snapshot, its own or a leader's."""
        index = machine.last_applied
        if index > len(self._applied) or self._applied[index - 1][2] != machine.state_hash:
            self.fail(f"node {process.node_id} loads a state of entry {index} that nobody had")
        if process.is_up:
            self._world.sometimes("snapshot_installed")

    def membership_at(self, index: int) -> Membership:
        """The membership of the committed log at `index`, by what was committed."""
        position = bisect_right(self.memberships, index, key=lambda item: item[0])
        return self.memberships[position - 1][1]

    def register(self, entries: Sequence[Entry], previous_term: int | None, where: str) -> None:
        """Compare entries with all others that ever had their index and term; None: what is before is not known."""
        registry = self._registry
        for index, term, kind, data in entries:
            if previous_term is None:
                previous_term = registry.get((index, term), (0, kind, data))[0]
            known = registry.setdefault((index, term), (previous_term, kind, data))
            self._born.setdefault((index, term), self._world.timeline.now)
            if known != (previous_term, kind, data):
                self.fail(f"log matching: entry {index} of term {term} in {where} is not what it is elsewhere")
            previous_term = term

    def _committed(self, index: int, term: int | None, process: "Process") -> None:
        terms = self.committed_terms
        if term is None:
            return
        if index <= len(terms):
            if terms[index - 1] != term:
                self.fail(
                    f"node {process.node_id} commits entry {index} of term {term}, "
                    f"and another node that of term {terms[index - 1]}"
                )
            return
        if index != len(terms) + 1:
            self.fail(f"entry {index} is committed before entry {len(terms) + 1}")
        world = self._world
        membership = process.membership_in_force()
        holders = {node_id for node_id, disk in world.disks.items() if disk.holds(index, term)}
        if not decides(membership, holders):
            self.fail(f"entry {index} of term {term} is committed, and only {sorted(holders)} have stored it")
        for node_id in sorted(holders):
            if not world.disks[node_id].has(index, term) and not decides(membership, holders - {node_id}):
                self._relied[node_id] = index
        terms.append(term)
        self._note_membership(index, term)
        if membership.is_joint:
            world.sometimes("commit_in_joint_membership")
        self._committed_in.append(process.raft.current_term)
        world.trace.note(f"entry {index} of term {term} is committed by node {process.node_id}")
        if term < process.raft.current_term:
            world.sometimes("old_term_committed_indirectly")
        if world.down_count():
            world.sometimes("commit_with_minority_down")
        if world.network.cut:
            world.sometimes("commit_in_partition")

    def _note_membership(self, index: int, term: int) -> None:
        entry = self._registry.get((index, term))
        if entry is None or entry[1] is not EntryKind.MEMBERSHIP:
            return
        membership, before = decode_membership(entry[2]), self.memberships[-1][1]
        if membership.voters & before.learners:
            self._world.sometimes("learner_promoted")
        if len(membership.voters ^ before.voters) > 1 and not membership.is_joint and not before.is_joint:
            self.fail(f"membership {membership} follows {before} without a joint one")
        if len(before.voters) < len(membership.voters) == _MANY_VOTERS > self._world.plan.size:
            self._world.sometimes("grown_to_five")
        if len(membership.voters) == 1 and max(len(one.voters) for _, one in self.memberships) >= _SOME_VOTERS:
            self._world.sometimes("shrunk_to_one")
        self.memberships.append((index, membership))

    # The state machine.

    def applied(self, process: "Process", index: int, term: int, data: bytes | None, answer: bytes | None) -> None:
        """A state machine has applied an entry; `data` and `answer` of a command."""
        if index > len(self.committed_terms):
            self._committed(index, term, process)
        machine = process.machine
        record = (term, data, machine.state_hash)
        if index <= len(self._applied):
            if self._applied[index - 1] != record:
                self.fail(f"state machine safety: node {process.node_id} applies another entry {index}, or otherwise")
            if self._world.service is not None:
                self._world.service.applied(process, index)
            return
        if index != len(self._applied) + 1:
            self.fail(f"node {process.node_id} applies entry {index}, and nobody {len(self._applied) + 1}")
        if term != self.committed_terms[index - 1]:
            self.fail(f"node {process.node_id} applies entry {index} of term {term}, which is not committed")
        self._applied.append(record)
        if data is not None and answer is not None:
            self._first_applied(index, data, answer, machine)
        if self._world.service is not None:
            self._world.service.applied(process, index)

    def _first_applied(self, index: int, data: bytes, answer: bytes, machine: StateMachine) -> None:
        """Judge a command by its own: each (session, sequence) changes the store at most once."""
        changed = machine.revision != self.revision
        self.revision = machine.revision
        born = self._born[index, self.committed_terms[index - 1]]
        try:
            command = decode(data)
        except InvalidCommand:
            self.fail(f"entry {index} is not a valid command")
            return
        outcome = Outcome(answer[0])
        is_done = False
        if outcome is not Outcome.SESSION_EXPIRED and command.session:
            self._touched[command.session] = born
        if command.opcode is Opcode.OPEN_SESSION:
            self._session_openers[index] = answer
            self._touched[index] = born
        elif command.opcode is Opcode.ADVANCE_CLOCK:
            self._world.sometimes("clock_advanced")
            self._clock_advanced(machine, born)
        elif command.opcode in _WRITES:
            name = (command.session, command.sequence)
            if changed:
                if name in self.changed:
                    self.fail(f"exactly once: entry {index} changes the store a second time for {name}")
                self.changed.add(name)
            if outcome not in _NOT_DONE:
                is_done = name not in self.write_answers
                if self.write_answers.setdefault(name, answer) != answer:
                    self.fail(f"one answer per (session, sequence): two for {name}")
                if not is_done:
                    self._world.sometimes("same_bytes_applied_once")
        if self._world.service is not None:
            entry = index, self.committed_terms[index - 1]
            self._world.service.first_applied(entry, command, answer, is_done=is_done)

    def _clock_advanced(self, machine: StateMachine, now: float) -> None:
        """Sessions expire by an entry, and not before their time is over by the clock of any leader that may be."""
        plan = self._world.plan
        ttl = plan.session_ttl_ms / 1000 * (1 - plan.drift) - _TURNS_SECONDS
        gone = self._touched.keys() - {session for session, _ in machine._sessions}
        for session in sorted(gone):
            idle = now - self._touched.pop(session)
            if idle < ttl:
                self.fail(f"session {session} expires {idle:.3f} s after it was last used")

    # Promises on the wire.

    def refuses_for_log(self, voter: "Process", candidate: "Process") -> bool:
        """Whether a vote that is refused now is refused since the candidate's log is behind (§5.4.1)."""
        last = [(process.log_last_term, process.log_end) for process in (voter, candidate)]
        return voter.raft.voted_for in {None, candidate.node_id} and last[1] < last[0]

    def votes(self, voter: "Process", candidate: NodeId, term: int) -> None:
        """A vote leaves the node that gave it."""
        first = self._votes.setdefault((voter.node_id, voter.disk.generation, term), candidate)
        if first != candidate:
            self.fail(f"node {voter.node_id} votes for {first} and for {candidate} in term {term}")
        stored = voter.disk.durable
        if stored.current_term < term or (stored.current_term == term and stored.voted_for != candidate):
            self.fail(f"node {voter.node_id} votes for {candidate} in term {term}, and has not stored it")

    def loses_disk(self, node_id: NodeId) -> None:
        """A disk is gone with what it held."""
        lost = self._world.disks[node_id].durable
        index = min(len(self.committed_terms), lost.last_index)
        while index > lost.base and lost.term_at(index) != self.committed_terms[index - 1]:
            index -= 1
        self._relied[node_id] = index

    def is_proven(self, process: "Process") -> None:
        """A node vouches for its new disk: whatever was committed on the strength of the lost one has to be there."""
        index, disk = self._relied.pop(process.node_id, 0), process.disk
        if index and not disk.has(index, self.committed_terms[index - 1]):
            self.fail(f"node {process.node_id} vouches for a disk without entry {index}, which its lost one had")

    def would_vote(self, voter: "Process", candidate: NodeId, term: int) -> None:
        """The grant of a pre-vote leaves."""
        self._pre_votes.setdefault((candidate, term), set()).add(voter.node_id)
        # Where turns begin at once, what is sent is what was decided just now.
        if self._world.plan.turn_delay == 0.0 and self.leases.hears_leader(voter) and term > voter.raft.current_term:
            self.fail(f"node {voter.node_id} would vote for node {candidate} in term {term}, and hears a leader")

    def accepts(self, process: "Process", match_index: int, term: int) -> None:
        """A follower says in `term` that it has stored entries.

        In an older term than that on its disk, it has since heard of another leader, who may have replaced them before
        they were ever stored: then that is what the disk holds, and it is as if they had been.
        """
        if term < process.disk.durable.current_term:
            return
        if match_index > max(process.disk.stored_index_max, process.disk.snapshot_index()):
            self.fail(f"node {process.node_id} accepts entries up to {match_index}, and has not stored them")

    def takes_in(self, process: "Process", term: int) -> None:
        """A chunk of a snapshot goes to the disk, where the term must be in which it came (`consensus.node`)."""
        if process.disk.durable.current_term < term:
            self.fail(f"node {process.node_id} takes in a snapshot that came in term {term}, and has not stored that")

    def begins_round(self, process: "Process", term: int, number: int) -> None:
        """A leader sends a heartbeat."""
        name = process.node_id, term
        self._rounds[name] = max(number, self._rounds.get(name, 0))
        if process.raft.role is Role.LEADER and process.raft.current_term == term:
            self.contact.leads(process)

    def confirms_round(self, process: "Process", leader: NodeId, term: int, number: int) -> None:
        """An answer to a heartbeat leaves: of a round that its leader has begun in that term, or of none."""
        if number > self._rounds.get((leader, term), 0):
            self.fail(f"node {process.node_id} confirms round {number} of term {term} to node {leader}, not begun")

    def read_confirmed(self, process: "Process", read_index: int, committed_index: int) -> None:
        """A read may be answered at `read_index`; `committed_index` was committed when it was asked for."""
        if read_index < committed_index:
            self.fail(f"node {process.node_id} reads at {read_index}, asked after {committed_index} was committed")

    # Answers.

    def answered(self, session: int, sequence: int, answer: bytes) -> None:
        """A client was given an answer to a write."""
        if Outcome(answer[0]) not in _NOT_DONE and self.write_answers.get((session, sequence)) != answer:
            self.fail(f"the answer to {(session, sequence)} is not what the state machine said")

    def session_opened(self, session: int, answer: bytes) -> None:
        """A client was given a session."""
        if self._session_openers.pop(session, None) != answer:
            self.fail(f"session {session} was not opened by this, or given to two clients")

    def born(self, entry: tuple[int, int]) -> float:
        """When the entry at (index, term) was first in a log."""
        return self._born[entry]

    def revision_of(self, answer: bytes) -> int:
        """The store's revision that an answer tells of."""
        return answers.decode(answer).revision

    def finish(self) -> None:
        """Compare whole states of all that have applied the same."""
        digests: dict[int, tuple[NodeId, bytes]] = {}
        for process in self._world.processes.values():
            if process.is_up:
                machine = process.machine
                first, digest = digests.setdefault(machine.last_applied, (process.node_id, machine.digest()))
                if digest != machine.digest():
                    self.fail(f"nodes {first} and {process.node_id} differ at applied index {machine.last_applied}")
        lost = sum(index > len(self.committed_terms) for index, _ in self._registry) or sum(
            self.committed_terms[index - 1] != term
            for index, term in self._registry
            if index <= len(self.committed_terms)
        )
        if lost:
            self._world.sometimes("uncommitted_lost")
