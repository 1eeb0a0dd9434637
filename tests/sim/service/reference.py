"""What the log says: each committed command done once more, in its order, by the model of plain dicts.

A client's history is linearizable if this order explains it: whatever was answered is what the model gives at that
place of the log, and nothing that was asked for after an answer was there stands before it. The first half is checked
here, entry by entry and read by read; the second by revisions, where clients hear answers (`tests.sim.service.user`).

The model lets go of old changes as nodes do. All of them are kept here beside it, for that is what watches are told.
"""

from typing import TYPE_CHECKING

from raftd.kv import answers
from raftd.kv.answers import Answer, Outcome
from raftd.kv.commands import Command, Opcode
from raftd.kv.limits import Limits
from raftd.kv.machine import StateMachine
from raftd.kv.operations import Delete, Put, Range, Write
from raftd.kv.pages import decode_history, decode_lease, decode_range
from raftd.kv.queries import HistoryQuery
from raftd.kv.types import LeaseId, Revision
from tests.kv.model import Model, ModelChange, Origin, State, page
from tests.kv.shown import shown_change, shown_result

if TYPE_CHECKING:
    from tests.sim.world import World


class Reference:
    """The state behind each revision, and every change that led there."""

    def __init__(self, world: "World", limits: Limits) -> None:
        self._world = world
        self.model = Model(limits)
        self.changes: list[ModelChange] = []
        """All there ever were, in the log's order."""
        self._compacted: list[int] = []
        """After each applied entry, up to where changes are not held any more."""

    @property
    def revision(self) -> int:
        """The newest."""
        return self.model.revision

    # What the log does.

    def applied(self, process_name: str, index: int, machine: StateMachine) -> None:
        """Some node has applied an entry, for the first time or later: all let go of the same changes."""
        known = self._compacted
        while len(known) < index:
            known.append(self.model.compacted_revision)
        if machine.history.compacted_revision != known[index - 1]:
            self._world.oracle.fail(
                f"{process_name} holds the changes after {machine.history.compacted_revision} at entry {index}, "
                f"and not those after {known[index - 1]}"
            )

    def first_applied(self, index: int, command: Command, answer: bytes, *, is_done: bool) -> None:
        """The first node has applied a command; `is_done`: by this entry, and not by an earlier one or never."""
        before = self.model.revision
        if command.opcode is Opcode.ADVANCE_CLOCK:
            assert isinstance(command.argument, int)
            self.model.advance_clock(command.argument)
        elif command.opcode is Opcode.EXPIRE_LEASES:
            self.model.end_leases(set(expired_by(command)), _origin_of(command, by_lease=True))
        elif is_done:
            self._do(index, command, answers.decode(answer))
        model = self.model
        new = len(model.changes)
        while new and model.changes[new - 1].revision > before:
            new -= 1
        self.changes += model.changes[new:]

    def _do(self, index: int, command: Command, answer: Answer) -> None:
        """Do a write, and compare what is answered."""
        model, origin = self.model, _origin_of(command, by_lease=command.opcode is Opcode.LEASE_REVOKE)
        found: object
        expected: object
        if command.opcode is Opcode.LEASE_GRANT:
            assert isinstance(command.argument, int)
            granted_ms = model.grant(LeaseId(index), origin.user, command.argument)
            found, expected = answer.outcome, Outcome.LEASE_LIMIT
            if granted_ms is not None and found is Outcome.OK:
                found, expected = answers.decode_lease_grant(answer.body), (index, granted_ms)
        elif command.opcode is Opcode.LEASE_REVOKE:
            assert isinstance(command.argument, int)
            lease = LeaseId(command.argument)
            found, expected = answer.outcome, Outcome.LEASE_NOT_FOUND
            if lease in model.leases and model.leases[lease][0] == origin.user:
                count = model.end_leases({lease}, origin)
                found, expected = (answer.outcome, answer.body), (Outcome.OK, count.to_bytes(4, "little"))
        else:
            wanted = write_of(command)
            expected = model.write(wanted, origin)
            found = answer.outcome, shown_result(wanted.operation, answer)
        if found != expected or answer.revision != model.revision:
            self._world.oracle.fail(
                f"entry {index}, {command.opcode.name}, is answered {found} at revision {answer.revision}, "
                f"and the log says {expected} at {model.revision}"
            )

    # What clients are told.

    def check_get(self, key: bytes, answer: Answer) -> None:
        """A read of one key was answered."""
        row = self._state_at(answer.revision).get(key)
        shown = answers.decode_get(answer.body) if answer.outcome is Outcome.OK else None
        if shown != row or answer.outcome not in {Outcome.OK, Outcome.NOT_FOUND}:
            self._world.oracle.fail(f"{key!r} is read as {shown} at revision {answer.revision}, and it was {row}")

    def check_page(self, wanted: Range, revision: int | None, answer: Answer) -> None:
        """A read of a range was answered, as it is or as it was at a revision."""
        fail = self._world.oracle.fail
        state_now = self._state_at(answer.revision)
        match answer.outcome:
            case Outcome.OK:
                shown = decode_range(answer.body, keys_only=wanted.keys_only)
                at = answer.revision if revision is None else revision
                expected = page(state_now if revision is None else self._state_at(revision), wanted, at)
                if shown != expected:
                    fail(f"{wanted} at revision {at} is shown as {shown}, and it was {expected}")
            case Outcome.COMPACTED:
                self.check_compacted(revision, answers.decode_compacted(answer.body))
            case Outcome.FUTURE_REVISION if revision is not None and revision > answer.revision:
                pass
            case _:
                fail(f"{wanted} at revision {revision} is answered with {answer.outcome.name}")

    def check_history(self, query: HistoryQuery, answer: Answer) -> None:
        """The changes of a key were read."""
        newest = answer.revision
        self._state_at(newest)
        shown = decode_history(answer.body)
        found = [
            shown_change(change, values=query.values, previous=query.values)
            for change in reversed(self.changes)
            if change.key == query.key and shown.compacted_revision < change.revision <= newest
        ]
        limit = query.limit or len(found)
        is_right = shown.changes == tuple(found[:limit]) and shown.more == (len(found) > limit)
        if not is_right or shown.compacted_revision > self.model.compacted_revision:
            self._world.oracle.fail(f"{query} is answered at revision {newest} with {shown}, and the log says {found}")

    def check_lease(self, lease: LeaseId, answer: Answer) -> None:
        """A lease was asked for."""
        known = self.model.leases.get(lease)
        if answer.outcome is Outcome.LEASE_NOT_FOUND and known is None:
            return
        shown = decode_lease(answer.body) if answer.outcome is Outcome.OK else None
        keys = self.model.keys_of(lease, self._state_at(answer.revision))
        if shown is None or list(shown.keys) != keys or shown.remaining_ms > shown.ttl_ms:
            self._world.oracle.fail(f"lease {lease} is shown as {shown}, and the log says {known} with {keys}")

    def check_compacted(self, revision: int | None, compacted: int) -> None:
        """Somebody who asked for the state at `revision`, or the changes after it, was told that it is too late."""
        if revision is None or not revision < compacted <= self.model.compacted_revision:
            self._world.oracle.fail(
                f"revision {revision} is said to be compacted up to {compacted}, "
                f"and the log holds what is after {self.model.compacted_revision}"
            )

    def _state_at(self, revision: int) -> State:
        if revision > self.model.revision:
            self._world.oracle.fail(f"revision {revision} is told of, and the newest is {self.model.revision}")
        return self.model.states[revision]


def write_of(command: Command) -> Write:
    """What a command of a session does to the keys."""
    argument = command.argument
    if isinstance(argument, Write):
        return argument
    assert not isinstance(argument, tuple)
    revision = None if argument is None else Revision(argument)
    if command.opcode is Opcode.PUT:
        return Write(Put(command.key, command.value, expected_revision=revision))
    return Write(Delete(command.key, expected_revision=revision))


def expired_by(command: Command) -> tuple[LeaseId, ...]:
    """The leases that an EXPIRE_LEASES names; none of any other command."""
    argument = command.argument
    if command.opcode is Opcode.EXPIRE_LEASES and isinstance(argument, tuple) and not isinstance(argument, Write):
        return argument
    return ()


def _origin_of(command: Command, *, by_lease: bool) -> Origin:
    return Origin(by_lease, command.wall_clock_ms, command.user.encode(), command.address.encode())
