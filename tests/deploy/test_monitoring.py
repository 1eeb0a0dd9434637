"""Rules and dashboards beside the targets, as the role raftd_monitoring writes them on the controller."""

import os
import re
from pathlib import Path

import pytest

from tests.deploy.playing import DEPLOY, HERE, play_tasks

pytestmark = pytest.mark.timeout(120)

SHIPPED = "https://raftd.example.org/runbook.html"
OWN = "https://wiki.example.net/raftd"


def written(place: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (*place.glob("rules/*"), *place.glob("dashboards/*"))}


def test_only_what_is_not_right_is_written(tmp_path: Path) -> None:
    """Each file names one's own runbook; run again, one that was changed by hand is set right, and no other touched."""
    monitoring = DEPLOY / "monitoring"
    sources = (*monitoring.glob("rules/*.yml"), *monitoring.glob("dashboards/*.json"))
    expected = {source.name: source.read_text().replace(SHIPPED, OWN) for source in sources}
    place = tmp_path / "generated"
    role = {"ansible.builtin.include_role": {"name": "raftd_monitoring"}}

    def play() -> str:
        code, said = play_tasks(
            tmp_path,
            [role],
            {"n1": {"raftd_node_id": 1, **HERE}},
            raftd_cluster_name="prod",
            raftd_file_nodes=[{"id": 1, "http_address": "n1:7402"}],
            raftd_monitoring_targets_file=str(place / "targets.json"),
            raftd_monitoring_runbook=OWN,
        )
        assert code == 0, said
        return said

    play()
    assert written(place) == expected
    *untouched, changed = sorted((*place.glob("rules/*"), *place.glob("dashboards/*")))
    changed.write_text("by hand")
    for path in untouched:
        os.utime(path, (1, 1))
    again = play()
    assert "changed=1 " in again
    assert re.search(r"Write the targets\] \*+ skipping", again), again
    assert written(place) == expected
    assert {path.stat().st_mtime for path in untouched} == {1.0}
