"""`raftctl member` and `transfer-leader` against a node of its own: what is typed wrong, and what cannot be."""

from collections.abc import Callable
from typing import Any

import pytest

from raftd.errors import ExitCode
from tests.cli.conftest import Raftctl

ADDRESSES = ("--client-address", "n9", "--peer-address", "n9", "--http-address", "n9")


def test_list(raftctl_json: Callable[..., Any], raftctl: Raftctl) -> None:
    """A cluster that was never changed has the members that its settings name."""
    (row,) = raftctl_json("member", "list")
    assert (row["node"], row["role"], row["replaces"], row["settings"]) == (1, "voter, leader", None, "ok")
    assert raftctl("member", "list").startswith(b"NODE  ROLE")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("remove", "1"), "cannot remove node 1: it is the last voter, and a cluster has at least one"),
        (("remove", "9"), "cannot remove node 9: it is not a member of the cluster"),
        (("promote", "9"), "cannot promote node 9: it is not a member of the cluster"),
        (("update", "9", *ADDRESSES), "cannot change the addresses of node 9: it is not a member of the cluster"),
        (("replace", "8", "9", *ADDRESSES), "cannot put node 9 in the place of node 8: it is not a member of the"),
        (("add", "1", "--learner", *ADDRESSES), "cannot add node 1 as a learner: it votes already"),
    ],
)
def test_what_cannot_be_is_one_line(raftctl: Raftctl, arguments: tuple[str, ...], message: str) -> None:
    """With exit code 1, and nothing is changed."""
    said = raftctl("member", *arguments, code=ExitCode.ERROR).decode()
    assert said.startswith(f"raftctl: {message}")
    assert said.count("\n") == 1


def test_a_voter_that_is_promoted_is_one_already(raftctl_json: Callable[..., Any]) -> None:
    """What is so already changes nothing."""
    assert raftctl_json("member", "promote", "1")["done"] is True
    assert raftctl_json("member", "promote", "1", "--no-wait")["done"] is True


def test_leadership(raftctl: Raftctl, raftctl_json: Callable[..., Any]) -> None:
    """To whom it is already, and to nobody."""
    assert raftctl_json("transfer-leader", "1") == {"leader": 1}
    assert b"it is not a member" in raftctl("transfer-leader", "9", code=ExitCode.ERROR)
    assert b"does not answer" in raftctl("transfer-leader", code=ExitCode.ERROR)


@pytest.mark.parametrize(
    "arguments",
    [
        ("member", "add", "4"),
        ("member", "add", "0", *ADDRESSES),
        ("member", "add", "4", *ADDRESSES[:-1], "0x1:y"),
        ("member", "replace", "4", "4", *ADDRESSES),
        ("member", "remove", "four"),
        ("member", "remove", "4", "--wait-timeout", "long"),
        ("transfer-leader", "-1"),
    ],
)
def test_what_is_typed_wrong_is_a_usage_error(raftctl: Raftctl, arguments: tuple[str, ...]) -> None:
    """Before anybody is asked."""
    raftctl(*arguments, code=ExitCode.USAGE)
