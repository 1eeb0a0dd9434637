"""Grafana's dashboards, made here and kept in deploy/monitoring/dashboards: `make dashboards`."""

from pathlib import Path
from typing import Final

from raftd_build.dashboards.clients import CLIENTS
from raftd_build.dashboards.dashboard import Dashboard
from raftd_build.dashboards.node import NODE
from raftd_build.dashboards.overview import OVERVIEW
from raftd_build.dashboards.upkeep import UPKEEP

DASHBOARDS: Final[tuple[Dashboard, ...]] = (OVERVIEW, NODE, CLIENTS, UPKEEP)


def write_dashboards(directory: Path) -> list[Path]:
    """Write one JSON file for each dashboard into `directory`, and return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for dashboard in DASHBOARDS:
        path = directory / f"{dashboard.uid}.json"
        path.write_text(dashboard.text(), encoding="utf-8")
        paths.append(path)
    return paths
