import pytest

from raftd.client import Fence, Get, InvalidRequest, Put, Transaction, version
from raftd.client.namespace import Namespace
from raftd.client.transactions import Plan

ALL = Namespace()


def build() -> Transaction[tuple[Plan, Fence | None]]:
    return Transaction(lambda plan, fence: (plan, fence))


def test_it_grows_as_it_is_told() -> None:
    """Lists are added to in the order of the calls, and `commit` hands over what is there then."""
    transaction = build().when(version("a") == 0).then(Get("a")).then(Get("b"), Get("c"))
    transaction.when(version("b") == 0).otherwise(Get("d"))
    plan, fence = transaction.commit(Fence(b"l", 3))
    assert list(plan.then) == [Get("a"), Get("b"), Get("c")]
    assert (len(plan.conditions), plan.otherwise, fence) == (2, (Get("d"),), Fence(b"l", 3))
    transaction.then(Get("e"))
    assert len(plan.then) == 3


def test_nested_once() -> None:
    """A transaction may stand inside of another one, and no deeper."""
    inner = build().then(Get("a"))
    outer = build().otherwise(inner)
    (encoded,) = outer.plan.encode(ALL).otherwise
    assert encoded == inner.plan.encode(ALL)
    with pytest.raises(InvalidRequest, match="no further one"):
        build().then(outer).plan.encode(ALL)


@pytest.mark.parametrize(("then", "nested", "fits"), [(128, 0, True), (129, 0, False), (64, 63, True), (64, 64, False)])
def test_128_operations(then: int, nested: int, fits: bool) -> None:
    """Nested ones count too, and so does the nested transaction itself."""
    transaction = build().then(*[Put("a", "1")] * then)
    if nested:
        transaction.otherwise(build().then(*[Get("a")] * nested))
    if fits:
        transaction.plan.encode(ALL)
    else:
        with pytest.raises(InvalidRequest, match="at most 128 operations"):
            transaction.plan.encode(ALL)


def test_128_conditions() -> None:
    """Those of nested transactions count too."""
    nested = build().when(*[version("a") == 0] * 64)
    build().when(*[version("a") == 0] * 64).then(nested).plan.encode(ALL)
    with pytest.raises(InvalidRequest, match="at most 128 conditions"):
        build().when(*[version("a") == 0] * 65).then(nested).plan.encode(ALL)


def test_what_is_no_condition() -> None:
    """A bool, as a comparison of two plain things gives, is a TypeError and not a condition that always holds."""
    with pytest.raises(TypeError, match="version"):
        build().when(1 == 1)  # type: ignore[arg-type]  # noqa: PLR0133 - wrong on purpose
