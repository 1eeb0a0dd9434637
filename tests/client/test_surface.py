"""The two clients offer the same: each method of one has its counterpart in the other, with the same parameters."""

import inspect
from typing import Any

import pytest

import raftd.client
from raftd.client import AsyncClient, Client, blocking, leases, results, watching
from raftd.client.recipes import barrier, double_barrier, election, lock

PAIRS = [
    (AsyncClient, Client),
    (watching.Watch, blocking.Watch),
    (leases.Lease, blocking.Lease),
    (lock.Lock, blocking.Lock),
    (election.Election, blocking.Election),
    (barrier.Barrier, blocking.Barrier),
    (double_barrier.DoubleBarrier, blocking.DoubleBarrier),
]
OWN = {
    (leases.Lease, "abandon"),
    (leases.Lease, "end"),
    (watching.Watch, "subscription"),
    (double_barrier.DoubleBarrier, "give_up"),
}
"""What the package needs of the asynchronous one, and no user."""


def public(kind: type[Any]) -> dict[str, Any]:
    return {name: getattr(kind, name) for name in vars(kind) if not name.startswith("_") and (kind, name) not in OWN}


@pytest.mark.parametrize(("asynchronous", "synchronous"), PAIRS)
def test_the_same_methods(asynchronous: type[Any], synchronous: type[Any]) -> None:
    """Neither has one that the other lacks, and each is described."""
    assert public(asynchronous).keys() - {"id", "time"} == public(synchronous).keys() - {"id", "time"}
    for name, member in (*public(asynchronous).items(), *public(synchronous).items()):
        assert member.__doc__, name


@pytest.mark.parametrize(("asynchronous", "synchronous"), PAIRS)
def test_the_same_parameters(asynchronous: type[Any], synchronous: type[Any]) -> None:
    """By name, kind, default and type."""
    for name, member in public(asynchronous).items():
        if not callable(member):
            continue
        theirs, ours = inspect.signature(member), inspect.signature(getattr(synchronous, name))
        assert list(theirs.parameters.values()) == list(ours.parameters.values()), name


def test_the_same_beginning() -> None:
    """Both are made of the same."""
    theirs, ours = inspect.signature(AsyncClient.__init__), inspect.signature(Client.__init__)
    assert list(theirs.parameters.values()) == list(ours.parameters.values())


@pytest.mark.parametrize(("asynchronous", "synchronous"), PAIRS)
def test_one_waits_where_the_other_is_awaited(asynchronous: type[Any], synchronous: type[Any]) -> None:
    """Context managers and iterators are there in both forms, and nothing of the blocking client is to be awaited."""
    for theirs, ours in (("__aenter__", "__enter__"), ("__aexit__", "__exit__"), ("__anext__", "__next__")):
        assert hasattr(asynchronous, theirs) == hasattr(synchronous, ours)
    assert not any(inspect.iscoroutinefunction(member) for member in public(synchronous).values())


def test_what_calls_return_can_be_named() -> None:
    """Each kind of result is imported from the package itself, as whoever annotates a function wants to."""
    kinds = {
        name
        for name, value in vars(results).items()
        if inspect.isclass(value) and value.__module__ == results.__name__ and not name.startswith("_")
    }
    assert "PutResult" in kinds
    assert kinds <= set(raftd.client.__all__)
