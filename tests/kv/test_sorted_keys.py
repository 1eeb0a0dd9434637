"""Keys in byte order, against a sorted list."""

from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.kv import sorted_keys
from raftd.kv.sorted_keys import SortedKeys

few_keys = st.binary(min_size=1, max_size=2)


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that are split and joined all the time."""
    monkeypatch.setattr(sorted_keys, "_RUN_MAX", 8)
    monkeypatch.setattr(sorted_keys, "_RUN_MIN", 2)
    monkeypatch.setattr(sorted_keys, "_MANY_MIN", 3)


def check(keys: SortedKeys, model: list[bytes]) -> None:
    assert list(keys) == model
    assert len(keys) == len(model)
    assert all(keys._runs)
    assert keys._last_keys == [run[-1] for run in keys._runs]
    assert all(len(run) <= 8 for run in keys._runs)


@given(touched=st.lists(few_keys, max_size=200), low=few_keys | st.just(b""), high=few_keys | st.just(b""))
@settings(deadline=None)
def test_against_a_sorted_list(touched: list[bytes], low: bytes, high: bytes) -> None:
    """After any additions and removals, all keys, those of a range, and their number are those of a sorted list."""
    keys = SortedKeys()
    model: set[bytes] = set()
    for key in touched:
        if key in model:
            keys.remove(key)
        else:
            keys.add(key)
        model ^= {key}
    check(keys, sorted(model))
    expected = [key for key in sorted(model) if low <= key and (not high or key < high)]
    assert list(keys.between(low, high)) == expected
    assert all(keys.runs_between(low, high))
    assert keys.count_between(low, high) == len(expected)


@given(batches=st.lists(st.sets(few_keys, max_size=60), max_size=12))
@settings(deadline=None)
def test_many_at_a_time_are_as_one_by_one(batches: list[set[bytes]]) -> None:
    """Whatever comes and goes together, in whichever order it is named, all runs are as they should be."""
    keys = SortedKeys()
    model: set[bytes] = set()
    for batch in batches:
        keys.remove_all(batch & model)
        check(keys, sorted(model - batch))
        keys.add_all(batch - model)
        model ^= batch
        check(keys, sorted(model))


@pytest.mark.parametrize("count", [7, 8, 9, 60])
def test_a_range_comes_and_goes_between_others(count: int) -> None:
    """Keys that lie side by side go as a piece of each run, and what is left on both sides stays."""
    keys = SortedKeys()
    others = [b"a%02d" % number for number in range(20)] + [b"c%02d" % number for number in range(20)]
    batch = [b"b%02d" % number for number in range(count)]
    keys.add_all(others)
    keys.add_all(reversed(batch))
    check(keys, sorted(others + batch))
    keys.remove_all(batch)
    check(keys, others)


@given(numbers=st.permutations(range(120)), again=st.permutations(range(120)))
@settings(deadline=None, max_examples=50)
def test_keys_come_and_go_in_any_order(numbers: list[int], again: list[int]) -> None:
    """All added, then all removed: runs are never empty, never too long, and in the end there is none."""
    keys = SortedKeys()
    model: list[bytes] = []
    for number in numbers:
        key = b"%03d" % number
        keys.add(key)
        model.insert(bisect_left(model, key), key)
        check(keys, model)
    for number in again:
        key = b"%03d" % number
        keys.remove(key)
        model.remove(key)
        check(keys, model)


def test_keys_that_come_in_order_fill_the_runs() -> None:
    """What a snapshot brings does not take twice the room."""
    keys = SortedKeys()
    for number in range(80):
        keys.add(b"%03d" % number)
    assert [len(run) for run in keys._runs] == [8] * 10
    for number in range(80, 160, 5):
        keys.add_all(b"%03d" % each for each in range(number, number + 5))
    assert [len(run) for run in keys._runs] == [8] * 20


def test_runs_do_not_stay_short() -> None:
    """When nearly all keys are gone, there are few runs: a count goes over runs."""
    keys = SortedKeys()
    for number in range(800):
        keys.add(b"%03d" % number)
    for number in range(800):
        if number % 10:
            keys.remove(b"%03d" % number)
    assert len(keys) == 80
    assert len(keys._runs) <= 40


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 50), st.integers(0, 50))
def test_keys_by_their_place(key_count: int, place: int, count: int) -> None:
    """As a list would give them, over as many runs as it takes."""
    keys = SortedKeys()
    for number in range(key_count):
        keys.add(b"%03d" % number)
    assert keys.slice(place, count) == list(keys)[place : place + count]
