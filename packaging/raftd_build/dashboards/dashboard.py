"""A dashboard: rows of panels, the variables above them, and the moments that are marked in all of them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from raftd_build.dashboards.panel import COLUMNS, DATASOURCE, RUNBOOK, Panel

CLUSTER: Final = 'job=~"$job", cluster=~"$cluster"'
"""The selector of every query about a whole cluster."""

NODES: Final = f'{CLUSTER}, instance=~"$instance"'
"""The selector of every query about the nodes that were chosen above."""

_EVERYWHERE: Final = "raftd_term"
"""What every node exports without any label of its own, so that its labels are the target's, as in all panels.

Where targets have no `cluster`, `raftd_build_info` has one all the same, and no panel would find anything by it.
"""

TAG: Final = "raftd"
SCHEMA_VERSION: Final = 39
"""Of Grafana 10.4; newer ones read it, and bring it up to date themselves."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading, placed from left to right and then below."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One file for Grafana. `uid` is what links point at, so it never changes."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]

    @property
    def panels(self) -> Iterator[Panel]:
        """All panels, in order."""
        for row in self.rows:
            yield from row.panels

    def text(self) -> str:
        """The file, the same each time."""
        return json.dumps(self.json(), indent=1) + "\n"

    def json(self) -> dict[str, Any]:
        """What Grafana reads."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": [TAG],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,  # one crosshair in all panels: what happened at the same time is seen at a glance
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "timezone": "browser",
            "templating": {"list": list(_variables())},
            "annotations": {"list": list(_annotations())},
            "links": [
                {
                    "type": "dashboards",
                    "title": "raftd",
                    "tags": [TAG],
                    "asDropdown": False,
                    "includeVars": True,
                    "keepTime": True,
                },
                {"type": "link", "title": "Runbook", "url": RUNBOOK, "icon": "doc", "targetBlank": True},
            ],
            "panels": list(self._placed()),
        }

    def _placed(self) -> Iterator[dict[str, Any]]:
        number, top = 1, 0
        for row in self.rows:
            yield {
                "id": number,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
                "panels": [],
            }
            number, top, column, height = number + 1, top + 1, 0, 0
            for panel in row.panels:
                if column + panel.columns > COLUMNS:
                    top, column, height = top + height, 0, 0
                yield panel.json(number, column, top)
                number, column, height = number + 1, column + panel.columns, max(height, panel.rows)
            top += height


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    for name, label, query in (
        ("job", "Job", f"label_values({_EVERYWHERE}, job)"),
        ("cluster", "Cluster", f'label_values({_EVERYWHERE}{{job=~"$job"}}, cluster)'),
        ("instance", "Node", f"label_values({_EVERYWHERE}{{{CLUSTER}}}, instance)"),
    ):
        yield {
            "name": name,
            "label": label,
            "type": "query",
            "datasource": DATASOURCE,
            "query": {"query": query, "refId": name},
            "definition": query,
            "refresh": 2,  # with the time range: nodes come and go
            "sort": 1,
            "multi": name == "instance",
            "includeAll": name == "instance",
            "current": {"text": "All", "value": "$__all"} if name == "instance" else {},
        }


def _annotations() -> Iterator[dict[str, Any]]:
    for name, colour, expression, text in (
        (
            "Leader changes",
            "orange",
            f"max by (cluster) (changes(raftd_leader_changes_total{{{CLUSTER}}}[$__rate_interval])) > 0",
            "another leader",
        ),
        (
            "Deploys",
            "blue",
            (
                f"max by (version) (raftd_build_info{{{CLUSTER}}}) unless "
                f"max by (version) (raftd_build_info{{{CLUSTER}}} offset 5m)"
            ),
            "version {{version}} has come",
        ),
        (
            "Restarts",
            "purple",
            f"changes(process_start_time_seconds{{{CLUSTER}}}[$__rate_interval]) > 0",
            "{{instance}} has started",
        ),
    ):
        yield {
            "name": name,
            "enable": True,
            "iconColor": colour,
            "datasource": DATASOURCE,
            "expr": expression,
            "titleFormat": name,
            "textFormat": text,
            "step": "15s",
        }
