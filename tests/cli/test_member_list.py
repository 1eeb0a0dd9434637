"""The table of members, from what nodes say."""

from typing import Any

import pytest

from raftd.cli.member_list import rows_of
from raftd.cli.output import Styled
from raftd.client import Denied, Unavailable


def document(node_id: int, *differences: tuple[int, str], **membership: Any) -> dict[str, Any]:
    return {
        "node_id": node_id,
        "leader_id": 1,
        "commit_index": 9,
        "membership": {
            "index": 5,
            "committed": True,
            "voters": [1, 2],
            "outgoing": [],
            "learners": [4],
            "joining": {"4": 2},
            "addresses": {"1": "client=n1:7400,peer=n1:7401,http=n1:7402"},
            **membership,
        },
        "peers": [{"node_id": 2, "lag_entries": 0}, {"node_id": 4, "lag_entries": 77}],
        "settings_differ": [{"node_id": node, "difference": text} for node, text in differences],
    }


def plain(row: dict[str, object]) -> dict[str, object]:
    return {name: value.value if isinstance(value, Styled) else value for name, value in row.items()}


def test_each_member_has_a_row() -> None:
    """And so has each node that only a file knows; what differs is told with where."""
    extra = (9, "in raftd.yaml, and no member")
    rows = rows_of({"b": document(2, extra, index=6), "a": document(1, extra), "c": Unavailable("down")})
    assert [plain(row) for row in rows] == [
        {
            "node": 1,
            "role": "voter, leader",
            "replaces": None,
            "lag": None,
            "client": "n1:7400",
            "peer": "n1:7401",
            "http": "n1:7402",
            "settings": "ok",
        },
        {"node": 2, "role": "voter", "replaces": None, "lag": 0, **NOWHERE, "settings": "ok"},
        {"node": 4, "role": "learner, joining", "replaces": 2, "lag": 77, **NOWHERE, "settings": "ok"},
        {
            "node": 9,
            "role": "no member",
            "replaces": None,
            "lag": None,
            **NOWHERE,
            "settings": "in raftd.yaml, and no member (on node 1, 2)",
        },
    ]


NOWHERE = {"client": None, "peer": None, "http": None}


def test_a_change_under_way_shows() -> None:
    """Who enters and who leaves."""
    rows = rows_of({"a": document(1, voters=[1, 3], outgoing=[1, 2], learners=[4], joining={})})
    assert [plain(row)["role"] for row in rows] == ["voter, leader", "voter, leaving", "voter, entering", "learner"]


def test_when_nobody_answers_the_reason_is_told() -> None:
    """It is the only thing to show."""
    with pytest.raises(Denied):
        rows_of({"a": Denied("no")})
