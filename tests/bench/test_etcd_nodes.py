"""Who leads a cluster of etcd."""

import json

from tests.bench.etcd_nodes import leader_of


def statuses(*leaders: int) -> str:
    """Members 1, 2, … by what each says who leads."""
    return json.dumps(
        [
            {"Endpoint": f"node-{member}", "Status": {"header": {"member_id": member}, "leader": leader}}
            for member, leader in enumerate(leaders, start=1)
        ]
    )


def test_finds_the_leader() -> None:
    """It is the member that says so of itself, when all have answered."""
    assert leader_of(statuses(2, 2, 2)) == "node-2"
    assert leader_of(statuses(0, 0, 0)) is None
    assert leader_of(statuses(2, 2)) is None
