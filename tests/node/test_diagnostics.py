import json
import logging

from raftd import events
from raftd.http.metrics import Metrics
from raftd.http.recent import RecentEvents
from raftd.node.diagnostics import Diagnostics


def test_it_is_all_that_helps_as_json() -> None:
    """Settings, metrics and the newest event first; and the node's own time, to be compared with."""
    recent, logger = RecentEvents(), logging.getLogger("raftd.test.diagnostics")
    logger.addHandler(recent)
    logger.setLevel(logging.INFO)
    events.NODE_STOPPED.log(logger)
    events.LEADER_LOST.log(logger, term=3, reason="of a test")
    logger.removeHandler(recent)
    gathered = Diagnostics(lambda: {"node_id": 1}, Metrics(), recent, lambda: 12.5).document()
    document = json.loads(json.dumps(gathered))
    assert (document["wall_clock_seconds"], document["settings"]) == (12.5, {"node_id": 1})
    assert [event["name"] for event in document["events"]] == ["leader_lost", "node_stopped"]
    assert document["events"][0]["text"] == "no leader is known in term 3: of a test"
    assert "# TYPE raftd_log_sync_duration_seconds histogram" in document["metrics"]
