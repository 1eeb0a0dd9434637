import pytest

from raftd.client import (
    Delete,
    DeleteRange,
    Get,
    Increment,
    InvalidRequest,
    Put,
    Range,
    TooLarge,
    create_revision,
    lease,
    modify_revision,
    value,
    version,
)
from raftd.client.namespace import Namespace
from raftd.client.operations import encode_condition, encode_operation
from raftd.kv import operations as kv
from raftd.kv.operations import CompareTarget, Relation
from raftd.kv.types import LeaseId

APP = Namespace("app/")


def test_conditions_are_built_by_comparing() -> None:
    """Each comparison, from either side, is a condition that the cluster decides."""
    assert encode_condition(version("a") == 1, APP) == kv.Compare(CompareTarget.VERSION, Relation.EQUAL, b"app/a", 1)
    assert encode_condition(create_revision("a") != 0, APP).relation is Relation.NOT_EQUAL
    assert encode_condition(modify_revision(b"a") < 7, APP) == kv.Compare(
        CompareTarget.MODIFY_REVISION, Relation.LESS, b"app/a", 7
    )
    assert encode_condition(lease("a") > 7, APP) == kv.Compare(CompareTarget.LEASE, Relation.GREATER, b"app/a", 7)
    assert encode_condition(value("a") == "ü", APP) == kv.Compare(
        CompareTarget.VALUE, Relation.EQUAL, b"app/a", b"\xc3\xbc"
    )
    reversed_condition = 7 > modify_revision("a")  # noqa: SIM300 - that is what is tested
    assert reversed_condition.relation is Relation.LESS


def test_conditions_cannot_be_joined_by_mistake() -> None:
    """`and`, `or`, `not` and chains would silently drop one of them: they are errors."""
    with pytest.raises(TypeError, match="when"):
        _ = (version("a") == 1) and (version("b") == 1)
    with pytest.raises(TypeError):
        _ = bool(version("a") == 1)
    with pytest.raises(TypeError):
        _ = 1 < version("a") < 3
    with pytest.raises(TypeError):
        _ = {version("a"): 1}


@pytest.mark.parametrize("operand", ["1", b"1", None, True, 1.0])
def test_numbers_are_compared_with_numbers(operand: object) -> None:
    """A version is no text, and a value is no number."""
    with pytest.raises(TypeError):
        _ = version("a") == operand
    with pytest.raises(TypeError):
        _ = value("a") == 5
    for number in (-1, 1 << 64):
        with pytest.raises(InvalidRequest):
            _ = version("a") == number
    with pytest.raises(TooLarge):
        _ = value("a") == bytes((1 << 20) + 1)


def test_what_the_cluster_gets() -> None:
    """Each operation in the cluster's own form, within the namespace."""
    assert [
        encode_operation(operation, APP)
        for operation in (
            Get("a"),
            Put("a", "1", lease=5, previous=True),
            Put("a", "1"),
            Delete("a"),
            Delete("a", previous=True),
            Increment("a"),
            Increment("a", -(1 << 63)),
            Increment("a", (1 << 63) - 1),
            Put("a", "1", lease=1),
            Put("a", "1", lease=(1 << 64) - 1),
            Range("a", "b", limit=3, keys_only=True),
            Range(prefix="a", count_only=True),
            Range(),
            Range("a", limit=1),
            Range("a", limit=(1 << 32) - 1),
            DeleteRange(prefix="a", previous=True),
            DeleteRange("a", "b", limit=1),
            DeleteRange("a", "b", limit=10_000),
        )
    ] == [
        kv.Get(b"app/a"),
        kv.Put(b"app/a", b"1", LeaseId(5), previous=True),
        kv.Put(b"app/a", b"1"),
        kv.Delete(b"app/a"),
        kv.Delete(b"app/a", previous=True),
        kv.Increment(b"app/a", 1),
        kv.Increment(b"app/a", -(1 << 63)),
        kv.Increment(b"app/a", (1 << 63) - 1),
        kv.Put(b"app/a", b"1", LeaseId(1)),
        kv.Put(b"app/a", b"1", LeaseId((1 << 64) - 1)),
        kv.Range(b"app/a", b"app/b", 3, True),
        kv.Range(b"app/a", b"app/b", 0, False, True),
        kv.Range(b"app/\x00", b"app0"),
        kv.Range(b"app/a", b"app0", 1),
        kv.Range(b"app/a", b"app0", (1 << 32) - 1),
        kv.DeleteRange(b"app/a", b"app/b", 10_000, True),
        kv.DeleteRange(b"app/a", b"app/b", 1),
        kv.DeleteRange(b"app/a", b"app/b", 10_000),
    ]


@pytest.mark.parametrize(
    "operation",
    [
        Get(""),
        Put("a", "1", lease=0),
        Put("a", "1", lease=1 << 64),
        Increment("a", -(1 << 63) - 1),
        Increment("a", 1 << 63),
        Range(limit=0),
        Range(limit=1 << 32),
        Range("a", prefix="a"),
        DeleteRange(limit=0),
        DeleteRange(limit=10_001),
    ],
)
def test_what_makes_no_sense(operation: Get) -> None:
    """Is refused before it is sent."""
    with pytest.raises(InvalidRequest):
        encode_operation(operation, APP)


def test_what_is_no_operation() -> None:
    """Is a TypeError that says so."""
    with pytest.raises(TypeError, match="str is no operation"):
        encode_operation("get a", APP)  # type: ignore[arg-type]  # wrong on purpose
