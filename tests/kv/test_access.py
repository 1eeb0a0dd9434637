"""Who may do what."""

from bisect import bisect_right
from dataclasses import dataclass
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.kv import access, commands
from raftd.kv.access import AccessRules, Grant, Need, Operation, needs_of_write
from raftd.kv.commands import SessionId, validate_client_command
from raftd.kv.operations import (
    Compare,
    CompareTarget,
    Delete,
    DeleteRange,
    Fence,
    Get,
    Increment,
    Put,
    Range,
    Relation,
    Transaction,
    Write,
    WriteOperation,
)
from raftd.kv.operations import Operation as KeyOperation
from raftd.kv.ranges import is_in_range
from raftd.kv.types import LeaseId, Revision

READ, WRITE = Operation.READ, Operation.WRITE

RULES = AccessRules(
    [
        Grant("alice", b"app/", read=True, write=True),
        Grant("alice", b"shared/", read=True),
        Grant("reporter", b"", read=True),
        Grant("deploy-*", b"release/", write=True),
        Grant("*", b"public/", read=True),
        Grant("idle", b"app/"),
    ],
    administrators=["root", "ops-*"],
)


@pytest.mark.parametrize(
    ("user", "operation", "key", "allowed"),
    [
        ("alice", READ, b"app/x", True),
        ("alice", WRITE, b"app/x", True),
        ("alice", WRITE, b"app/", True),
        ("alice", WRITE, b"app", False),
        ("alice", WRITE, b"apple", False),
        ("alice", READ, b"shared/x", True),
        ("alice", WRITE, b"shared/x", False),
        ("alice", READ, b"release/1", False),
        ("Alice", READ, b"app/x", False),
        ("alice2", READ, b"app/x", False),
        ("alic", READ, b"app/x", False),
        ("reporter", READ, b"\xff\xff", True),
        ("reporter", WRITE, b"app/x", False),
        ("deploy-1", WRITE, b"release/1", True),
        ("deploy-", WRITE, b"release/1", True),
        ("deploy", WRITE, b"release/1", False),
        ("deploy-1", READ, b"release/1", False),
        ("deploy-*", WRITE, b"release/1", True),
        ("anyone", READ, b"public/x", True),
        ("anyone", WRITE, b"public/x", False),
        ("anyone", READ, b"app/x", False),
        ("idle", READ, b"app/x", False),
        ("idle", WRITE, b"app/x", False),
        ("root", READ, b"app/x", False),
        ("", READ, b"public/x", False),
    ],
)
def test_table(user: str, operation: Operation, key: bytes, *, allowed: bool) -> None:
    """A user may do what a grant gives, and nothing else."""
    assert RULES.allows(user, operation, key) is allowed
    assert RULES.of(user).allows(operation, key) is allowed


@pytest.mark.parametrize(
    ("grants", "administers", "is_unbounded"),
    [
        ([Grant("alice", b"", read=True, write=True)], True, True),
        ([Grant("alice", b"", read=True), Grant("alice", b"", write=True)], True, True),
        ([Grant("alice", b"", read=True, write=True)], False, False),
        ([Grant("alice", b"", read=True)], True, False),
        ([Grant("alice", b"", write=True)], True, False),
        ([Grant("alice", b"a", read=True, write=True)], True, False),
        ([], True, False),
    ],
)
def test_whoever_may_do_everything(grants: list[Grant], *, administers: bool, is_unbounded: bool) -> None:
    """Every key, both ways, and administration: nothing less is everything."""
    rules = AccessRules(grants, ["alice"] if administers else [])
    assert rules.of("alice").is_unbounded is is_unbounded


@pytest.mark.parametrize(
    ("user", "administers"), [("root", True), ("ops-1", True), ("ops", False), ("alice", False), ("", False)]
)
def test_administration_is_a_right_of_its_own(user: str, *, administers: bool) -> None:
    """Keys do not give administration, and administration gives no keys."""
    assert RULES.of(user).administers is administers
    assert not AccessRules([Grant("*", b"", read=True, write=True)]).of(user).administers
    if administers:
        assert not RULES.allows(user, READ, b"app/x")


def test_no_rules_allow_nothing() -> None:
    """Without a grant everything is denied."""
    permissions = AccessRules().of("alice")
    assert not permissions.administers
    assert not any(permissions.allows(operation, b"key") for operation in Operation)


prefixes = st.binary(max_size=3).map(lambda data: bytes(byte & 1 for byte in data))
grants = st.builds(Grant, st.sampled_from(["a", "ab", "a*", "*", "b"]), prefixes, st.booleans(), st.booleans())


@given(st.lists(grants), st.sampled_from(["a", "ab", "abc", "b", "c"]), prefixes)
@settings(deadline=None)
def test_against_going_through_all_grants(rules: list[Grant], user: str, key: bytes) -> None:
    """The prepared permissions say what the grants say one by one, in any order."""
    fitting = [
        grant
        for grant in rules
        if key[: len(grant.prefix)] == grant.prefix
        and (grant.user in (user, "*") or (grant.user == "a*" and user[0] == "a"))
    ]
    for ordered in (rules, rules[::-1]):
        permissions = AccessRules(ordered).of(user)
        assert permissions.allows(READ, key) == any(grant.read for grant in fitting)
        assert permissions.allows(WRITE, key) == any(grant.write for grant in fitting)


@dataclass
class Counted:
    """A grant that counts how often anybody looks at whose it is."""

    name: str
    prefix: bytes
    looks: list[str]
    read: bool = True
    write: bool = False

    @property
    def user(self) -> str:
        self.looks.append(self.name)
        return self.name


def test_what_one_user_may_does_not_cost_the_grants_of_all() -> None:
    """A reload asks for each connected user, on the event loop: thousands of grants are gone through once."""
    looks: list[str] = []
    counted = [Counted(f"user-{number % 100}", b"%d" % number, looks) for number in range(1000)]
    counted += [Counted("*", b"public/%d" % number, looks) for number in range(1000)]
    rules = AccessRules(cast("list[Grant]", counted))
    assert len(looks) == len(counted)
    looks.clear()
    for number in range(100):
        assert rules.of(f"user-{number}").allows(READ, b"%d" % number)
        assert rules.of(f"stranger-{number}").allows(READ, b"public/7")
        assert not rules.administers(f"user-{number}")
    assert looks == []


def test_what_is_everybodys_is_shared_or_joined_with_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of grants of a pattern are not gone through for each user either: only what is his own is placed."""
    grants = [Grant("*", b"public/%05d" % number, read=True) for number in range(2000)]
    grants += [Grant("alice", b"public/0000", read=True), Grant("alice", b"public/00055/x", read=True)]
    rules = AccessRules(grants)
    placed: list[bytes] = []

    def counting(places: list[bytes], prefix: bytes) -> int:
        placed.append(prefix)
        return bisect_right(places, prefix)

    monkeypatch.setattr(access, "bisect_right", counting)
    monkeypatch.setattr(access, "_minimal", None)
    alice, bob = rules.of("alice"), rules.of("bob")
    assert placed == [b"public/0000", b"public/00055/x"]
    monkeypatch.undo()
    assert alice.allows_range(READ, b"public/0000", b"public/0001")
    assert not alice.allows_range(READ, b"public/0000", b"public/00011")
    assert not bob.allows_range(READ, b"public/0000", b"public/0001")
    for user in (alice, bob):
        assert all(user.allows(READ, b"public/%05d" % number) for number in range(2000))
        assert user.allows_range(READ, b"public/01999", b"public/01999/z")
        assert user.allows_range(READ, b"public/00055/x", b"public/00055/y")


def test_rules_are_equal_if_they_say_the_same() -> None:
    """In any order, and in however many lines; another right, prefix or name makes a difference."""
    one = AccessRules([Grant("a", b"x", read=True), Grant("b*", b"", write=True)], ["root", "ops-*"])
    same = [Grant("b*", b"", write=True), Grant("a", b"x", read=True), Grant("a", b"xy", read=True)]
    assert one == AccessRules(same, ["ops-*", "root"])
    assert hash(one) == hash(AccessRules(same, ["ops-*", "root"]))
    assert one != AccessRules([Grant("a", b"x", read=True), Grant("b*", b"", write=True)], ["root"])
    assert one != AccessRules([Grant("a", b"x", read=True), Grant("b*", b"", read=True)], ["root", "ops-*"])
    assert one != AccessRules([Grant("a", b"y", read=True), Grant("b*", b"", write=True)], ["root", "ops-*"])
    assert one != "rules"


def test_a_wildcard_stands_for_nothing_too_and_is_no_part_of_a_name() -> None:
    """Whatever a certificate has for a name."""
    rules = AccessRules([Grant("a*", b"x", read=True), Grant("a**", b"y", read=True)], ["ab*"])
    assert {name: rules.of(name).allows(READ, b"x") for name in ("a", "a*", "ab", "b", "*", "")} == {
        "a": True, "a*": True, "ab": True, "b": False, "*": False, "": False,
    }  # fmt: skip
    assert {name: rules.of(name).allows(READ, b"y") for name in ("a", "a*", "a*b", "ab")} == {
        "a": False, "a*": True, "a*b": True, "ab": False,
    }  # fmt: skip
    assert [rules.administers(name) for name in ("ab", "abc", "a", "")] == [True, True, False, False]


# Ranges.


@pytest.mark.parametrize(
    ("user", "low", "high", "allowed"),
    [
        ("alice", b"app/", b"app0", True),
        ("alice", b"app/a", b"app/b", True),
        ("alice", b"app/\xff", b"app0", True),
        ("alice", b"app/a", b"app0\x00", False),
        ("alice", b"app/a", b"", False),
        ("alice", b"app", b"app0", False),
        ("alice", b"", b"app0", False),
        ("alice", b"", b"", False),
        ("alice", b"app/a", b"app/a", True),
        ("alice", b"b", b"a", False),
        ("alice", b"shared/a", b"shared/b", True),
        ("alice", b"app/z", b"shared/a", False),
        ("reporter", b"", b"", True),
        ("reporter", b"\xff", b"", True),
        ("root", b"app/", b"app0", False),
    ],
)
def test_ranges_lie_under_one_prefix(user: str, low: bytes, high: bytes, *, allowed: bool) -> None:
    """A range that reaches out of the granted prefix on either side is denied, an open end included (pitfall 34)."""
    assert RULES.of(user).allows_range(READ, low, high) is allowed


def test_neighbouring_grants_do_not_add_up() -> None:
    """What two grants cover together is under neither of them as a whole."""
    permissions = AccessRules([Grant("a", b"a", read=True), Grant("a", b"b", read=True)]).of("a")
    assert permissions.allows_range(READ, b"a", b"b")
    assert permissions.allows_range(READ, b"b", b"c")
    assert not permissions.allows_range(READ, b"a", b"c")


@pytest.mark.parametrize(
    ("low", "high", "allowed"), [(b"\xff", b"", True), (b"\xff\x01", b"", True), (b"a", b"", False)]
)
def test_a_prefix_at_the_very_end(low: bytes, high: bytes, *, allowed: bool) -> None:
    """All keys from 0xff on begin with it, so a range without an end may be under that prefix."""
    assert AccessRules([Grant("a", b"\xff", read=True)]).of("a").allows_range(READ, low, high) is allowed


@given(st.lists(grants), prefixes, prefixes)
@settings(deadline=None)
def test_an_allowed_range_holds_allowed_keys_only(rules: list[Grant], low: bytes, high: bytes) -> None:
    """Every key in a range that may be read may be read by itself."""
    permissions = AccessRules(rules).of("a")
    if permissions.allows_range(READ, low, high):
        some = [bytes(key) for key in (*((a,) for a in (0, 1)), *((a, b) for a in (0, 1) for b in (0, 1, 255)), (2,))]
        for key in [*some, low, low + b"\x00", high + b"\x00", high[:-1]]:
            if is_in_range(key, low, high):
                assert permissions.allows(READ, key)


# Operation x role x nesting (pitfall 34).

MINE, OTHER = b"app/key", b"elsewhere"
ROLES = {
    "nobody": [],
    "reader": [Grant("u", b"app/", read=True)],
    "writer": [Grant("u", b"app/", write=True)],
    "owner": [Grant("u", b"app/", read=True, write=True)],
    "writer of another prefix": [Grant("u", b"app/", read=True), Grant("u", b"other/", write=True)],
    "reader of a part": [Grant("u", b"app/key", read=True), Grant("u", b"app/", write=True)],
}
MAY = {
    "nobody": "",
    "reader": "r",
    "writer": "w",
    "owner": "rw",
    "writer of another prefix": "r",
    "reader of a part": "rw",
}
"""What each may do with the key MINE."""
MAY_WITH_ALL = {**MAY, "reader of a part": "w"}
"""What each may do with all keys under app/."""

SINGLE: list[tuple[str, KeyOperation, str]] = [
    ("put", Put(MINE, b"v"), "w"),
    ("put with a lease", Put(MINE, b"v", LeaseId(3)), "w"),
    ("put, previous", Put(MINE, b"v", previous=True), "rw"),
    ("delete", Delete(MINE), "w"),
    ("delete, previous", Delete(MINE, previous=True), "rw"),
    ("increment", Increment(MINE, 1), "rw"),
    ("get", Get(MINE), "r"),
]
RANGES: list[tuple[str, KeyOperation, str]] = [
    ("delete range", DeleteRange(b"app/", b"app0"), "w"),
    ("delete range, previous", DeleteRange(b"app/", b"app0", previous=True), "rw"),
    ("range", Range(b"app/", b"app0"), "r"),
    ("range of keys", Range(b"app/", b"app0", keys_only=True), "r"),
    ("count", Range(b"app/", b"app0", count_only=True), "r"),
]
ONLY_ALONE: list[tuple[str, Put | Delete, str]] = [
    ("put if revision", Put(MINE, b"v", expected_revision=Revision(3)), "w"),
    ("put if value", Put(MINE, b"v", expected_value=b"v"), "rw"),
    ("delete if revision", Delete(MINE, Revision(3)), "w"),
    ("delete if value", Delete(MINE, expected_value=b"v"), "rw"),
]
UNREACHABLE: list[KeyOperation] = [
    Put(OTHER, b"v"),
    Delete(OTHER),
    Increment(OTHER, 1),
    Get(OTHER),
    Range(b"app/", b""),
    Range(b"", b"app0"),
    Range(OTHER, OTHER + b"\x00", count_only=True),
    DeleteRange(b"app/", b""),
    DeleteRange(b"app/", b"app1"),
]
"""What nobody here may do."""

HARMLESS = (Put(b"app/key", b"v"),)
NESTINGS = {
    "in then": lambda operation: Transaction((), (operation,)),
    "in else": lambda operation: Transaction((), (), (operation,)),
    "nested in then": lambda operation: Transaction((), (Transaction((), (operation,)),)),
    "nested in else": lambda operation: Transaction((), (), (Transaction((), (), (operation,)),)),
}


def may(role: str, write: Write) -> bool:
    """Whether the gateway would let it pass: what a client sends is decoded, and asked of the rules."""
    command = commands.write(SessionId(1), 1, 1, write)
    return AccessRules(ROLES[role]).of("u").allows_all(validate_client_command(command))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("name", "operation", "needed"),
    [row for row in (*SINGLE, *RANGES, *ONLY_ALONE) if not isinstance(row[1], Get | Range)],
)
def test_an_operation_by_itself(role: str, name: str, operation: WriteOperation, needed: str) -> None:
    """It passes exactly if the role has each right that the operation needs."""
    held = (MAY_WITH_ALL if isinstance(operation, DeleteRange) else MAY)[role]
    assert may(role, Write(operation)) is set(needed).issubset(held), name


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("nesting", NESTINGS)
@pytest.mark.parametrize(("name", "operation", "needed"), [*SINGLE, *RANGES])
def test_an_operation_in_a_transaction(
    role: str, nesting: str, name: str, operation: KeyOperation, needed: str
) -> None:
    """It needs what it needs by itself, in whichever list and however deep, be it done or not."""
    held = (MAY_WITH_ALL if isinstance(operation, Range | DeleteRange) else MAY)[role]
    assert may(role, Write(NESTINGS[nesting](operation))) is set(needed).issubset(held), name


@pytest.mark.parametrize("nesting", NESTINGS)
@pytest.mark.parametrize("operation", UNREACHABLE)
def test_nothing_hides_in_a_transaction(nesting: str, operation: KeyOperation) -> None:
    """One operation that is not allowed denies the whole, whatever stands around it."""
    inner = NESTINGS[nesting](operation)
    around = Transaction(inner.compares, (*HARMLESS, *inner.then), (*HARMLESS, *inner.otherwise))
    assert may("owner", Write(Transaction((), HARMLESS)))
    assert not may("owner", Write(around))
    if not isinstance(operation, Get | Range):
        assert not may("owner", Write(operation))


@pytest.mark.parametrize("target", CompareTarget)
@pytest.mark.parametrize("is_nested", [False, True])
def test_compares_need_to_read(target: CompareTarget, *, is_nested: bool) -> None:
    """What is compared is told by the answer: a version as well as a value."""

    def write(key: bytes) -> Write:
        operand = b"v" if target is CompareTarget.VALUE else 3
        compare = Compare(target, Relation.EQUAL, key, operand)
        inner = Transaction((compare,), HARMLESS)
        return Write(Transaction((), (inner,)) if is_nested else inner)

    assert may("owner", write(MINE))
    assert not may("writer", write(MINE))
    assert not may("owner", write(OTHER))


@pytest.mark.parametrize(
    "operation", [Put(MINE, b"v"), Delete(MINE), DeleteRange(b"app/", b"app0"), Transaction((), HARMLESS)]
)
def test_a_fence_needs_to_read_its_key(operation: Put | Delete | DeleteRange | Transaction) -> None:
    """Whether a lock is held is told by the answer."""
    assert may("owner", Write(operation, Fence(MINE, Revision(1))))
    assert not may("owner", Write(operation, Fence(OTHER, Revision(1))))
    assert may("writer", Write(operation))
    assert not may("writer", Write(operation, Fence(MINE, Revision(1))))


@pytest.mark.parametrize(
    "command",
    [
        commands.open_session(),
        commands.close_session(SessionId(1)),
        commands.keep_alive(SessionId(1)),
        commands.lease_grant(SessionId(1), 1, 1),
        commands.lease_revoke(SessionId(1), 1, 1, LeaseId(3)),
        commands.write(SessionId(1), 1, 1, Write(Transaction((), ()))),
    ],
)
def test_what_concerns_no_key_is_for_whoever_may_write_any(command: bytes) -> None:
    """Sessions and leases are of use to nobody else."""
    needs = validate_client_command(command)
    assert needs == ()
    allowed = {role for role, held in ROLES.items() if AccessRules(held).of("u").allows_all(needs)}
    assert allowed == {"writer", "owner", "writer of another prefix", "reader of a part"}


def test_all_needs_of_a_write_are_told() -> None:
    """Each key and range once for each right, compares first, the fence last."""
    compare = Compare(CompareTarget.VERSION, Relation.EQUAL, b"c", 0)
    nested = Transaction((compare,), (DeleteRange(b"d", b"", previous=True),))
    write = Write(Transaction((), (Put(b"p", b"", previous=True), nested), (Get(b"g"),)), Fence(b"f", Revision(1)))
    expected: tuple[Need, ...] = (
        (WRITE, b"p", None),
        (READ, b"p", None),
        (READ, b"c", None),
        (WRITE, b"d", b""),
        (READ, b"d", b""),
        (READ, b"g", None),
        (READ, b"f", None),
    )
    assert needs_of_write(write) == expected
