"""Pictures for the documentation: `make screenshots`, which is this module run as a program.

The status page and `raftctl top` are taken as they are (tests/monitoring/pages.py). For the dashboards Grafana is not
needed: what a real Prometheus answers to the panels' own queries, over a live cluster whose leader is killed on the
way, is drawn by matplotlib on the dashboards' own grid. Each picture says so.
"""

import asyncio
import dataclasses
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from raftd.pki import create_authorities, issue_node, issue_user
from raftd.settings import Document
from raftd_build.dashboards import DASHBOARDS
from raftd_build.dashboards.dashboard import Dashboard
from raftd_build.dashboards.panel import COLUMNS, Panel, Shape, Unit
from tests.e2e.cluster import CLUSTER_NAME, USER, Cluster, own_address, until
from tests.e2e.workload import writing
from tests.monitoring.pages import shrink, take_pages
from tests.monitoring.prometheus import JOB, Prometheus, nodes_of

PICTURES: Final = Path(__file__).parents[2] / "docs" / "img"
QUIET_SECONDS: Final = 25.0
"""Of work before the leader is killed, while one is missing, and after it is back."""
STEP_SECONDS: Final = 1.0
SIZE: Final = 3
INCHES_PER_COLUMN: Final = 0.55
INCHES_PER_ROW: Final = 0.27
NOTE: Final = "drawn by `make screenshots` from the answers of a real Prometheus, not by Grafana"
_LEGENDS_MAX: Final = 8
"""More would be taller than the panel."""
_PREFIXES: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"))
_SUFFIXES: Final = {
    Unit.SECONDS: "s",
    Unit.BYTES: "B",
    Unit.BYTES_PER_SECOND: "B/s",
    Unit.PER_SECOND: "/s",
}


def shown(value: float, unit: Unit) -> str:
    """A number with its unit, short."""
    if unit is Unit.RATIO:
        return f"{value * 100:.3g} %"
    if unit is Unit.MOMENT:
        value, unit = time.time() - value / 1000, Unit.SECONDS
        return f"{shown(value, unit)} ago" if value >= 0 else f"in {shown(-value, unit)}"
    for size, prefix in _PREFIXES:
        if abs(value) >= size and (size >= 1 or unit is Unit.SECONDS):
            return f"{value / size:.3g} {prefix}{_SUFFIXES.get(unit, '')}".strip()
    return f"{value:.3g} {_SUFFIXES.get(unit, '')}".strip()


def answers(
    prometheus: Prometheus, panel: Panel, seconds: float, end: float
) -> Mapping[str, list[tuple[float, float]]]:
    """The panel's curves by their legends: (seconds before `end`, value)."""
    values = {"$job": JOB, "$cluster": CLUSTER_NAME, "$instance": ".*", "$__rate_interval": "4s"}
    curves = {}
    for query in panel.queries:
        expression = query.expression
        for variable, value in values.items():
            expression = expression.replace(variable, value)
        if panel.is_instant:
            found = [{**each, "values": [each["value"]]} for each in prometheus.query(expression, at=end)]
        else:
            found = prometheus.range(expression, seconds=seconds, step=STEP_SECONDS, end=end)
        for curve in found:
            points = [(moment - end, float(value)) for moment, value in curve["values"]]
            curves[_legend(query.legend, curve["metric"])] = list(_with_gaps(points))
    return curves


def _with_gaps(points: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """A line does not go on over what nobody answered."""
    for (moment, value), (following, _) in pairwise([*points, points[-1]]):
        yield moment, value
        if following - moment > 1.5 * STEP_SECONDS:
            yield moment + STEP_SECONDS, math.nan


def _legend(pattern: str, labels: Mapping[str, Any]) -> str:
    for name, value in labels.items():
        pattern = pattern.replace("{{" + name + "}}", str(value))
    return pattern


def draw_panel(axes: Axes, panel: Panel, curves: Mapping[str, list[tuple[float, float]]]) -> None:
    """Draw one panel in its own shape."""
    axes.set_title(panel.title, fontsize=9, loc="left")
    axes.tick_params(labelsize=6)
    texts = {value: text for value, text, _ in panel.mappings}
    if panel.shape in {Shape.NUMBER, Shape.TABLE}:
        axes.axis("off")
        lines = []
        for legend, points in curves.items():
            last = next(value for _, value in reversed(points) if not math.isnan(value))
            lines.append(f"{legend}: {texts.get(int(last)) or shown(last, panel.unit)}")
        axes.text(0.02, 0.95, "\n".join(lines[:8] or [panel.no_value]), fontsize=8, va="top", transform=axes.transAxes)
        return
    if panel.shape is Shape.STATES:
        colours = {value: colour for value, _, colour in panel.mappings}
        for height, (legend, points) in enumerate(curves.items()):
            for moment, value in (point for point in points if not math.isnan(point[1])):
                axes.barh(height, STEP_SECONDS, left=moment, color=colours.get(int(value), "grey"), height=0.8)
            axes.text(
                0.01, height, legend, fontsize=6, color="white", va="center", transform=axes.get_yaxis_transform()
            )
        axes.set_yticks([])
        return
    for legend, points in curves.items():
        axes.plot([moment for moment, _ in points], [value for _, value in points], linewidth=0.9, label=legend)
    for threshold in panel.thresholds:
        if threshold.value <= axes.get_ylim()[1]:
            axes.axhline(threshold.value, color=threshold.colour, linewidth=0.7, linestyle="dashed")
    axes.yaxis.set_major_formatter(lambda value, _: shown(value, panel.unit))
    if curves:
        handles, labels = axes.get_legend_handles_labels()
        if len(labels) > _LEGENDS_MAX:
            labels = [*labels[: _LEGENDS_MAX - 1], f"and {len(labels) - _LEGENDS_MAX + 1} more"]
        axes.legend(handles[: len(labels)], labels, fontsize=5, loc="upper left", framealpha=0.5)
    axes.grid(linewidth=0.3)


def draw(dashboard: Dashboard, prometheus: Prometheus, seconds: float, end: float) -> Path:
    """Draw a dashboard of the `seconds` before `end` on its own grid, and return the picture's path."""
    places = {place["title"]: place["gridPos"] for place in dashboard.json()["panels"]}
    height = max(place["y"] + place["h"] for place in places.values())
    figure = plt.figure(figsize=(COLUMNS * INCHES_PER_COLUMN, (height + 2) * INCHES_PER_ROW))
    figure.suptitle(f"{dashboard.title}   ({NOTE})", fontsize=10, y=1 - 0.5 / (height + 2))
    for row in dashboard.rows:
        for panel in row.panels:
            place = places[panel.title]
            left, width = place["x"] / COLUMNS + 0.042, place["w"] / COLUMNS - 0.052
            tall = place["h"] / (height + 2)
            bottom = 1 - (place["y"] + 2) / (height + 2) - tall
            axes = figure.add_axes((left, bottom + 0.18 * tall, width, 0.68 * tall))
            draw_panel(axes, panel, answers(prometheus, panel, seconds, end))
    path = PICTURES / f"{dashboard.uid}.png"
    figure.savefig(path, dpi=100)
    plt.close(figure)
    shrink(path)
    return path


def with_snapshots(_: int, document: Document) -> Document:
    """Settings by which a minute's work makes some."""
    return dataclasses.replace(document, limits=dataclasses.replace(document.limits, snapshot_log_bytes=256 << 10))


async def play(cluster: Cluster, prometheus: Prometheus) -> tuple[list[Path], float]:
    """Work, lose the leader under it, and get it back; returns pictures of what is there then, and when that was."""
    await cluster.start()
    prometheus.scrape(nodes_of(cluster))
    prometheus.start()
    await until(prometheus.is_ready, "Prometheus answers")
    async with cluster.client() as client, writing(cluster, 6), client.watch(prefix="own/"):
        await client.put("leased", "x", lease=(await client.grant_lease(600.0)).id)
        await asyncio.sleep(QUIET_SECONDS)
        leader = await cluster.leader()
        leader.kill()
        await asyncio.sleep(QUIET_SECONDS)
        await cluster.start(leader.id)
        await asyncio.sleep(QUIET_SECONDS)
        end = time.time()
        return await take_pages(cluster, PICTURES), end


def main() -> None:
    """Draw the dashboards, the status page and `raftctl top` into docs/img."""
    mpl.use("agg")
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="raftd-screenshots-") as name:
        directory = Path(name)
        create_authorities(directory / "pki", CLUSTER_NAME)
        for node_id in range(1, SIZE + 1):
            issue_node(directory / "pki", node_id, [own_address()])
        issue_user(directory / "pki", USER)
        cluster = Cluster(directory, directory / "pki", SIZE, changes=with_snapshots)
        prometheus = Prometheus(directory)
        try:
            pictures, end = asyncio.run(play(cluster, prometheus))
            pictures += [draw(dashboard, prometheus, 3 * QUIET_SECONDS, end) for dashboard in DASHBOARDS]
            sys.stdout.writelines(f"{path}\n" for path in pictures)
        finally:
            prometheus.stop()
            cluster.close()


if __name__ == "__main__":
    main()
