"""The log against a list, whatever is done to both in whatever order."""

import random
from pathlib import Path
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from raftd.consensus.types import Entry, EntryKind, HardState, LogIndex, NodeId, Term
from raftd.storage.data_directory import DataDirectory
from raftd.storage.format import Identity
from raftd.storage.log import open_log
from raftd.storage.recovery import Recovered
from raftd.storage.simulated import SimulatedFileSystem
from raftd.wire.entries import encode_entries


class State(NamedTuple):
    """What a log should hold."""

    hard_state: HardState
    first_index: int
    entries: list[Entry]
    """From `first_index` on, whatever was compacted."""
    compacted_index: int
    """The log need not go back before the entry behind this."""

    @property
    def next_index(self) -> int:
        return self.first_index + len(self.entries)

    def is_in(self, recovered: Recovered) -> bool:
        """Whether this was recovered, but for a beginning that a snapshot holds."""
        return (
            recovered.hard_state == self.hard_state
            and self.first_index <= recovered.first_index <= self.compacted_index + 1
            and recovered.entries == self.entries[recovered.first_index - self.first_index :]
        )


def commands(first: int, term: int, fill: bytes, sizes: list[int]) -> list[Entry]:
    return [(LogIndex(first + i), Term(term), EntryKind.COMMAND, fill * size) for i, size in enumerate(sizes)]


class LogAgainstList(RuleBasedStateMachine):
    """Random appends, truncations, votes, resets, compactions, restarts and power cuts, against a list.

    Terms are odd and greater than one: so no sector has just one bit set, which a tear could empty and recovery would
    then rightly refuse (test_recovery.py has that case).
    """

    def __init__(self) -> None:
        super().__init__()
        self.filesystem = SimulatedFileSystem()
        self.state = State(HardState(Term(0), None), 1, [], 0)
        self.unsynced: State | None = None
        self.start()

    def start(self) -> Recovered:
        directory = DataDirectory(self.filesystem, Path("/data"), Identity(bytes(16), NodeId(1)))
        compacted_index = max(state.compacted_index for state in (self.state, self.unsynced or self.state))
        self.log, recovered = open_log(
            directory, segment_bytes=4096, reserve_bytes=0, compacted_index=LogIndex(compacted_index)
        )
        return recovered

    def next_hard_state(self, term_step: int, vote: NodeId | None) -> HardState:
        now = self.state.hard_state
        term = Term(max(3, now.current_term + term_step))
        return HardState(term, vote) if term > now.current_term else now

    def written(self, state: State, *, sync: bool) -> None:
        """Take note of a batch; at most one at a time is unsynced, as in the writer."""
        if sync:
            self.log.sync()
            self.state = state
        else:
            self.unsynced = state

    @rule(
        back=st.integers(0, 3),
        sizes=st.lists(st.sampled_from([0, 1, 30, 500, 2000, 6000]), max_size=4),
        term_step=st.sampled_from([0, 2]),
        vote=st.sampled_from([None, NodeId(1), NodeId(2)]),
        fill=st.sampled_from([b"\0", b"x"]),
        sync=st.booleans(),
    )
    def append(
        self, back: int, sizes: list[int], term_step: int, vote: NodeId | None, fill: bytes, *, sync: bool
    ) -> None:
        now = self.state
        hard_state = self.next_hard_state(term_step, vote)
        first = max(now.compacted_index + 1, now.next_index - back) if sizes else now.next_index
        new = commands(first, hard_state.current_term, fill, sizes)
        self.log.append(encode_entries(new), first_index=LogIndex(first), entry_count=len(new), hard_state=hard_state)
        entries = now.entries[: first - now.first_index] + new
        self.written(now._replace(hard_state=hard_state, entries=entries), sync=sync)

    @rule(
        ahead=st.integers(-9, 9),
        sizes=st.lists(st.sampled_from([0, 30, 6000]), max_size=2),
        term_step=st.sampled_from([0, 2]),
        sync=st.booleans(),
    )
    def reset(self, ahead: int, sizes: list[int], term_step: int, *, sync: bool) -> None:
        hard_state = self.next_hard_state(term_step, None)
        base_index = max(0, self.state.next_index - 1 + ahead)
        new = commands(base_index + 1, hard_state.current_term, b"r", sizes)
        self.log.reset(LogIndex(base_index), encode_entries(new), entry_count=len(new), hard_state=hard_state)
        self.written(State(hard_state, base_index + 1, new, base_index), sync=sync)

    @rule(back=st.integers(0, 9), only_one=st.booleans())
    def compact(self, back: int, *, only_one: bool) -> None:
        index = max(self.state.compacted_index, self.state.next_index - 1 - back)
        self.state = self.state._replace(compacted_index=index)
        if only_one:
            self.log.release(LogIndex(index))
            self.log.remove_released()
        else:
            self.log.compact(LogIndex(index))
            assert not self.log.has_released

    @rule(data=st.data(), power=st.booleans())
    def restart(self, data: st.DataObject, *, power: bool) -> None:
        self.check(data.draw(st.randoms(use_true_random=False)), power=power)

    @rule()
    def prepare(self) -> None:
        self.log.prepare()

    def check(self, generator: random.Random, *, power: bool) -> None:
        if power:
            self.filesystem.lose_power(lambda _: generator.random() < 0.5)
        else:
            self.filesystem.kill()
        recovered = self.start()
        found = [state for state in (self.state, self.unsynced) if state is not None and state.is_in(recovered)]
        assert found, (recovered, self.state, self.unsynced)
        self.state, self.unsynced = found[0], None

    @invariant()
    def the_log_is_the_list(self) -> None:
        if self.unsynced is not None:
            self.check(random.Random(len(self.state.entries)), power=True)
        state = self.state
        assert self.log.next_index == state.next_index
        assert state.first_index <= self.log.first_index <= state.compacted_index + 1
        assert self.log.hard_state == state.hard_state


TestLogAgainstList = LogAgainstList.TestCase
TestLogAgainstList.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)
