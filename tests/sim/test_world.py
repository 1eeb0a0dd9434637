"""The simulator itself: that a seed decides everything, and that its watchdogs bark."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raftd.consensus import NO_MEMBERSHIP, EntryKind, LogIndex, Membership, NodeId, Term
from raftd.kv.history import History
from raftd.kv.leases import LeaseTable
from raftd.kv.machine import StateMachine
from raftd.kv.sessions import SessionTable
from raftd.kv.snapshot import State
from raftd.kv.store import Store
from tests.sim import sometimes
from tests.sim.campaign import choose_seeds, run_seed
from tests.sim.faults import FAULTS
from tests.sim.leases import decides
from tests.sim.oracle import Violation
from tests.sim.plan import FOCUSES, SIZES, make_plan
from tests.sim.world import build

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("focus", FOCUSES)
def test_seeds_with_one_focus_can_be_asked_for(focus: str) -> None:
    """They have all faults of the group, none is left out, and without a focus they are just consecutive."""
    assert choose_seeds(7, 3) == [7, 8, 9]
    chosen = choose_seeds(1, 5, focus)
    plans = {seed: make_plan(seed, 1.0, tuple(FAULTS)) for seed in range(1, chosen[-1] + 1)}
    assert [seed for seed, plan in plans.items() if plan.focus == focus] == chosen
    assert all(plans[seed].has(fault) for seed in chosen for fault in FOCUSES[focus])


@pytest.mark.parametrize("seed", [4, 29], ids=["with users and watchers", "with single keys"])
def test_a_seed_decides_everything_whatever_strings_hash_to(seed: int) -> None:
    """The trace of a seed is the same in processes whose sets and dicts of strings are ordered otherwise."""
    assert bool(make_plan(seed, 8.0, tuple(FAULTS)).users) == (seed == 4)
    hashes = set()
    for hash_seed in ("0", "1", "4242"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.sim", "--seed", str(seed), "--seconds", "8"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        hashes.add(done.stdout)
    assert len(hashes) == 1


def test_a_run_leaves_nothing_behind_for_the_next() -> None:
    """The second run of a seed in one process is the first one again."""
    first = run_seed(9, 5.0)
    run_seed(10, 5.0)
    assert run_seed(9, 5.0) == first


def test_seeds_differ() -> None:
    """Each seed is another run; all sizes come up, and each fault is in about half of those without a focus."""
    plans = [make_plan(seed, 20.0, tuple(FAULTS)) for seed in range(400)]
    assert {plan.size for plan in plans} == set(SIZES)
    for name in FAULTS:
        assert 120 < sum(plan.has(name) for plan in plans) < 260, name


def test_a_new_fault_leaves_the_other_draws_alone() -> None:
    """A fault that is added later changes no seed but by its own effects."""
    old = make_plan(3, 20.0, ("loss", "pause"))
    new = make_plan(3, 20.0, ("loss", "brand_new", "pause"))
    assert set(old.faults) == set(new.faults) - {"brand_new"}
    assert (old.size, old.heals, old.keys, old.latency) == (new.size, new.heals, new.keys, new.latency)


def test_an_event_that_is_not_listed_cannot_be_counted() -> None:
    """A misspelt name would never be missed."""
    with pytest.raises(KeyError):
        sometimes.Sometimes()("comit_in_partition")
    assert len(sometimes.EVENTS) >= 30


def test_the_oracle_barks() -> None:
    """Each promise between nodes is refused when it is broken by hand."""
    world = build(29, 5.0)
    world.run()
    oracle = world.oracle
    index = len(oracle.committed_terms)
    assert index > 3
    process = next(process for process in world.processes.values() if process.is_up)
    (term, data, _), oracle_applied = oracle._applied[1], oracle._applied
    with pytest.raises(Violation, match="log matching"):
        oracle.register([(LogIndex(2), Term(term), EntryKind.COMMAND, b"other")], 99, "a log made up")
    with pytest.raises(Violation, match="state machine safety"):
        oracle.applied(process, 2, term + 1, data, b"")
    del oracle_applied[-2:]
    with pytest.raises(Violation, match="and nobody"):
        oracle.applied(process, len(oracle_applied) + 2, oracle.committed_terms[-1], None, None)
    with pytest.raises(Violation, match="has not stored it"):
        oracle.votes(process, process.node_id, 1 << 40)
    with pytest.raises(Violation, match="has not stored them"):
        oracle.accepts(process, 1 << 40, 1 << 40)
    with pytest.raises(Violation, match="commits entry 1"):
        oracle._committed(1, oracle.committed_terms[0] + 1, process)
    with pytest.raises(Violation, match=r"only .* have stored it"):
        oracle._committed(index + 1, 1 << 40, process)
    with pytest.raises(Violation, match="asked after 2 was committed"):
        oracle.read_confirmed(process, 1, 2)
    with pytest.raises(Violation, match="was not opened by this"):
        oracle.session_opened(1 << 40, b"")
    with pytest.raises(Violation, match="which is not committed"):
        oracle.log_reset(process, LogIndex(2), Term(1 << 40))
    limits = world.plan.machine_limits
    tables = SessionTable(limits), LeaseTable(limits), History(limits)
    with pytest.raises(Violation, match="that nobody had"):
        oracle.loaded(process, StateMachine.restored(State(Store(), *tables, LogIndex(index), 1)))
    with pytest.raises(Violation, match="no snapshot has that"):
        process.writer.compact(LogIndex(1 << 40))


def test_majorities_are_counted_on_both_sides() -> None:
    """A joint membership decides by both, learners count for nothing, and nobody decides where no one is known."""
    one, two, three, four = map(NodeId, range(1, 5))
    joint = Membership(frozenset({one, two, three}), outgoing=frozenset({one, four}), learners=frozenset({NodeId(5)}))
    assert decides(joint, {one, two, four})
    assert not decides(joint, {one, two, three})
    assert not decides(joint, {one, four, NodeId(5)})
    assert not decides(NO_MEMBERSHIP, {one, two, three, four})
