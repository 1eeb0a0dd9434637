"""One panel of a dashboard, and what Grafana wants to be told of it."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}

RUNBOOK: Final = "https://raftd.example.org/runbook.html"
"""As in the alerts; the Ansible role puts the address of the operator's own copy in its place."""

COLUMNS: Final = 24
"""Grafana's grid."""

GREEN: Final = "green"
ORANGE: Final = "orange"
RED: Final = "red"


class Shape(enum.Enum):
    """Grafana's names of the kinds of panels that are used here."""

    CURVES = "timeseries"
    NUMBER = "stat"
    TABLE = "table"
    HEATMAP = "heatmap"
    STATES = "state-timeline"


_FORMATS: Final = {Shape.TABLE: "table", Shape.HEATMAP: "heatmap"}
"""In which a panel's answers come, where that is not as curves."""


class Unit(enum.Enum):
    """Grafana's names of units. Every panel has one; `NONE` is said on purpose."""

    NONE = "none"
    COUNT = "short"
    PER_SECOND = "ops"
    SECONDS = "s"
    BYTES = "bytes"
    BYTES_PER_SECOND = "Bps"
    RATIO = "percentunit"
    MOMENT = "dateTimeFromNow"
    """Milliseconds since the epoch, shown as the time that has passed since or remains until then."""


@dataclass(frozen=True, slots=True)
class Query:
    """What Prometheus is asked, and what each curve of the answer is called."""

    expression: str
    legend: str
    """With `{{label}}` for a label's value, so that curves can be told apart."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """From `value` on, the panel shows `colour`."""

    value: float
    colour: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `alert` names the alert whose section of the runbook says what to do about what is seen here."""

    title: str
    description: str
    queries: Sequence[Query]
    unit: Unit
    shape: Shape = Shape.CURVES
    thresholds: Sequence[Threshold] = ()
    first_colour: str = GREEN
    """Below the first threshold."""
    mappings: Sequence[tuple[int, str, str]] = ()
    """(value, text, colour): what a number is shown as."""
    no_value: str = "no answer"
    """What a number is shown as while there is none, in `first_colour`."""
    alert: str | None = None
    columns: int = 8
    rows: int = 8
    stacked: bool = False

    @property
    def is_instant(self) -> bool:
        """Whether it shows what is so now. Over a range, Grafana would show the last value there was, hours later."""
        return self.shape in {Shape.NUMBER, Shape.TABLE}

    def json(self, number: int, column: int, row: int) -> dict[str, Any]:
        """This panel as Grafana's JSON, numbered and placed on the grid."""
        return {
            "id": number,
            "type": self.shape.value,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"x": column, "y": row, "w": self.columns, "h": self.rows},
            "targets": [self._target(place, query) for place, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": self._options(),
            "links": self._links(),
        }

    def _target(self, place: int, query: Query) -> dict[str, Any]:
        return {
            "refId": chr(ord("A") + place),
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": query.expression,
            "legendFormat": query.legend,
            "range": not self.is_instant,
            "instant": self.is_instant,
            "format": _FORMATS.get(self.shape, "time_series"),
        }

    def _defaults(self) -> dict[str, Any]:
        steps: list[dict[str, Any]] = [{"value": None, "color": self.first_colour}]
        steps += [{"value": each.value, "color": each.colour} for each in self.thresholds]
        by_threshold = self.shape in {Shape.NUMBER, Shape.STATES, Shape.TABLE}
        return {
            "unit": self.unit.value,
            **({"noValue": self.no_value} if self.shape is Shape.NUMBER else {}),
            "color": {"mode": "thresholds" if by_threshold else "palette-classic"},
            "thresholds": {"mode": "absolute", "steps": steps},
            "mappings": [
                {"type": "value", "options": {str(value): {"text": text, "color": colour}}}
                for value, text, colour in self.mappings
            ],
            "custom": self._custom(),
        }

    def _custom(self) -> dict[str, Any]:
        match self.shape:
            case Shape.CURVES:
                return {
                    "drawStyle": "line",
                    "lineWidth": 1,
                    "fillOpacity": 20 if self.stacked else 0,
                    "showPoints": "never",
                    "spanNulls": False,  # a gap is a node that did not answer: it is not to be drawn over
                    "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
                    "thresholdsStyle": {"mode": "line" if self.thresholds else "off"},
                }
            case Shape.STATES:
                return {"fillOpacity": 80, "lineWidth": 0, "spanNulls": False}
            case Shape.NUMBER | Shape.TABLE | Shape.HEATMAP:
                return {}

    def _options(self) -> dict[str, Any]:
        last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        match self.shape:
            case Shape.CURVES:
                return {
                    "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                    "tooltip": {"mode": "multi", "sort": "desc"},
                }
            case Shape.NUMBER:
                return {"reduceOptions": last, "colorMode": "value", "graphMode": "none", "textMode": "auto"}
            case Shape.STATES:
                return {"mergeValues": True, "showValue": "auto", "legend": {"showLegend": True, "placement": "bottom"}}
            case Shape.HEATMAP:
                return {"calculate": False, "yAxis": {"unit": self.unit.value}, "color": {"scheme": "Oranges"}}
            case Shape.TABLE:
                return {"showHeader": True, "cellHeight": "sm"}

    def _links(self) -> list[dict[str, Any]]:
        if self.alert is None:
            return []
        return [{"title": "What to do", "url": f"{RUNBOOK}#{self.alert.lower()}", "targetBlank": True}]
