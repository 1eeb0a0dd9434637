"""The dashboards in deploy/monitoring/dashboards: what they are made from, and whether they can be read."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from raftd.http.catalogue import FAMILIES
from raftd.http.family import Kind
from raftd_build.dashboards import DASHBOARDS, write_dashboards
from raftd_build.dashboards.dashboard import Dashboard
from raftd_build.dashboards.panel import COLUMNS, Panel, Query, Shape

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "deploy" / "monitoring" / "dashboards"
RULES = ROOT / "deploy" / "monitoring" / "rules"
RUNBOOK = ROOT / "docs" / "runbook.md"

# Of prometheus-client's own metrics, those that a panel asks for.
OF_THE_PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "up"}
COUNTERS = {family.name for family in FAMILIES if family.kind is Kind.COUNTER}
HISTOGRAMS = {family.name for family in FAMILIES if family.kind is Kind.HISTOGRAM}
EXPORTED = {family.name for family in FAMILIES}

PANELS = [(dashboard, panel) for dashboard in DASHBOARDS for panel in dashboard.panels]
EVERY_PANEL = pytest.mark.parametrize(
    ("dashboard", "panel"), PANELS, ids=[f"{dashboard.uid}: {panel.title}" for dashboard, panel in PANELS]
)


def queries() -> Iterator[tuple[str, Query]]:
    for dashboard, panel in PANELS:
        for query in panel.queries:
            yield f"{dashboard.uid}: {panel.title}", query


def metrics(expression: str) -> set[str]:
    """The metrics that an expression names, histograms by their own name."""
    names = set(re.findall(r"\b(?:raftd_|process_)\w+|\bup\b", re.sub(r'"[^"]*"', "", expression)))
    return {name if name in EXPORTED else re.sub(r"_(bucket|count|sum)$", "", name) for name in names}


def test_dashboards_are_up_to_date(tmp_path: Path) -> None:
    """`make dashboards` would write what is there, to the byte."""
    made = {path.name: path.read_text() for path in write_dashboards(tmp_path)}
    committed = {path.name: path.read_text() for path in COMMITTED.glob("*.json")}
    assert made == committed, "run `make dashboards`, and commit what it writes"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_panels_do_not_overlap(dashboard: Dashboard) -> None:
    """Each panel has a number and a place of its own on the grid."""
    taken: set[tuple[int, int]] = set()
    panels = json.loads(dashboard.text())["panels"]
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= COLUMNS
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


@EVERY_PANEL
def test_a_panel_explains_itself(dashboard: Dashboard, panel: Panel) -> None:
    """A title, a sentence, a legend that tells curves apart, and a section of the runbook that exists."""
    assert panel.title, dashboard.uid
    assert panel.description.endswith("."), "a description is a sentence"
    for query in panel.queries:
        assert "{{" in query.legend or len(panel.queries) > 1, "what is this curve?"
    assert len({query.legend for query in panel.queries}) == len(panel.queries)
    if panel.alert is not None:
        assert f"### {panel.alert}\n" in RUNBOOK.read_text()


@EVERY_PANEL
def test_a_number_is_what_is_so_now(dashboard: Dashboard, panel: Panel) -> None:
    """Not the last value of the time shown: "there" would stand where no node has answered for hours."""
    if panel.shape is not Shape.NUMBER:
        return
    made = panel.json(1, 0, 0)
    assert {(target["instant"], target["range"]) for target in made["targets"]} == {(True, False)}, dashboard.uid
    assert made["fieldConfig"]["defaults"]["noValue"]


@EVERY_PANEL
def test_queries_keep_to_the_chosen_nodes(dashboard: Dashboard, panel: Panel) -> None:
    """Each selector goes by the variables job and cluster, and windows by the dashboard's own interval."""
    for query in panel.queries:
        selectors = re.findall(r"(?:raftd[_:]|process_|\bup\b)[\w:]*(\{[^}]*\})?", query.expression)
        assert selectors, dashboard.uid
        for selector in selectors:
            assert 'job=~"$job"' in selector, query.expression
            assert 'cluster=~"$cluster"' in selector, query.expression
        for window in re.findall(r"\b(?:rate|irate|deriv)\([^\[]*\[([^\]]*)\]", query.expression):
            assert window == "$__rate_interval", query.expression


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_what_is_chosen_above_is_in_all_panels(dashboard: Dashboard) -> None:
    """Choices come from a metric whose labels are the targets' alone: another's own `cluster` no other metric has."""
    labels = {family.name: set(family.labels) for family in FAMILIES}
    variables = {each["name"]: each for each in dashboard.json()["templating"]["list"] if each["type"] == "query"}
    assert variables.keys() == {"job", "cluster", "instance"}
    for name, variable in variables.items():
        asked = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variable["definition"])
        assert asked is not None
        assert asked[2] == name
        assert labels[asked[1]] == set()


def test_counters_are_asked_for_their_growth() -> None:
    """A counter's height means nothing, and a gauge has no rate."""
    for where, query in queries():
        for function, metric in re.findall(r"(\w*)\(?\b((?:raftd_|process_)\w+)\{", query.expression):
            base = re.sub(r"_(bucket|count|sum)$", "", metric)
            is_counter = metric in COUNTERS or base in HISTOGRAMS or metric.endswith("_seconds_total")
            assert is_counter == (function in {"rate", "increase", "changes"}), f"{where}: {query.expression}"


def test_metrics_on_panels_exist() -> None:
    """No panel asks for what nobody exports."""
    for where, query in queries():
        assert metrics(query.expression) <= EXPORTED | OF_THE_PROCESS, where


def test_every_metric_is_looked_at() -> None:
    """What is exported is on a panel or in a rule: otherwise nobody would miss it."""
    seen: set[str] = set()
    for _, query in queries():
        seen |= metrics(query.expression)
    for path in RULES.glob("*.yml"):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                seen |= metrics(rule["expr"])
    assert not EXPORTED - seen


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing; on Debian: apt-get install prometheus"
)
def test_queries_are_valid(tmp_path: Path) -> None:
    """Every query is PromQL, with Grafana's variables put in."""
    rules = [
        {"record": f"query:{number}", "expr": query.expression.replace("$__rate_interval", "1m")}
        for number, (_, query) in enumerate(queries())
    ]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_thresholds_rise() -> None:
    """Grafana wants steps in order; and shapes that show a threshold's colour have one, or a mapping."""
    for _, panel in PANELS:
        values = [threshold.value for threshold in panel.thresholds]
        assert values == sorted(values), panel.title
        if panel.shape is Shape.STATES:
            assert panel.mappings, panel.title
