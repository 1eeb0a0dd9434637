from typing import Any, cast

import pytest

from raftd.cli.inquiry import inquire
from raftd.client import Client, Unavailable
from tests.cli.test_status import document, overview


class Told:
    """A client whose nodes answer, but for the second."""

    def __init__(self) -> None:
        self.pings: list[str] = []

    def ping(self, endpoint: str) -> float:
        self.pings.append(endpoint)
        return 0.001

    def diagnostics(self, endpoint: str) -> dict[str, Any]:
        if endpoint.startswith("n2"):
            raise Unavailable("n2: it is gone")
        return {"wall_clock_seconds": 0.0}


def test_each_that_answered_is_asked_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its clock, as exactly as the way allows; one that is gone meanwhile, or never answered, is no obstacle."""
    clock = iter([10.0, 14.0, 100.0, 100.0])
    monkeypatch.setattr("time.time", lambda: next(clock))
    told = Told()
    seen = overview(document(1), Unavailable("n2:7400: refused"), Unavailable("n3:7400: refused"))
    cluster = inquire(cast("Client", told), seen, 0.25)
    (node,) = cluster.nodes
    assert (node.name, node.ping_seconds) == ("node 1", (0.001,) * 5)
    assert (node.clock_ahead_seconds, node.clock_error_seconds) == (-12.0, 2.0)
    assert (cluster.now_seconds, cluster.measured_sync_seconds) == (100.0, 0.25)
    assert len(cluster.rows) == 3


def test_a_node_that_is_gone_meanwhile() -> None:
    """Has the status that it gave, and nothing else."""
    told = Told()
    seen = overview(Unavailable("n1:7400: refused"), document(2), Unavailable("n3:7400: refused"))
    (node,) = inquire(cast("Client", told), seen).nodes
    assert (node.name, node.diagnostics, node.clock_ahead_seconds) == ("node 2", None, None)
    assert told.pings == ["n2:7400"] * 5
