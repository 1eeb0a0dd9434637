"""Who may do what."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftd.kv.access import AccessRules, Grant, Operation

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
