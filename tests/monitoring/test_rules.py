"""The alerts and recording rules in deploy/monitoring/rules, as Prometheus' own promtool sees them."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from raftd.cli import raftctl, raftd
from raftd.http.catalogue import FAMILIES
from tests.monitoring.alert_cases import CASES, DAY_SECONDS, OF_NODE_1, Case, node

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "deploy" / "monitoring" / "rules").glob("*.yml"))
RUNBOOK = ROOT / "docs" / "runbook.md"
SEVERITIES = {"critical", "warning", "info"}
OF_PROMETHEUS_AND_PYTHON = {"up", "process_start_time_seconds"}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing; on Debian: apt-get install prometheus"
)


def rules() -> Iterator[dict[str, Any]]:
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDED = {rule["record"] for rule in rules() if "record" in rule}


def promtool(*arguments: str | Path) -> None:
    """Run promtool, and show what it says when it is not content."""
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_rules_are_valid() -> None:
    """Every file of rules can be read."""
    promtool("check", "rules", *RULES)


def firing(case: Case) -> dict[str, Any]:
    severity = ALERTS[case.alert]["labels"]["severity"]
    labels = {"alertname": case.alert, "alertstate": "firing", "severity": severity} | dict(case.labels)
    return {"labels": "ALERTS{" + ", ".join(f'{k}="{v}"' for k, v in labels.items()) + "}", "value": 1}


def promtool_file(case: Case) -> dict[str, Any]:
    expression = f'ALERTS{{alertname="{case.alert}", alertstate="firing"}}'
    moments: tuple[tuple[str, list[dict[str, Any]]], ...] = (
        (case.quiet_at, []),
        (case.fires_at, [firing(case)]),
        (case.clears_at, []),
    )
    return {
        "rule_files": [str(path) for path in RULES],
        "evaluation_interval": case.interval,
        "tests": [
            {
                "interval": case.interval,
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "promql_expr_test": [
                    {"expr": expression, "eval_time": moment, "exp_samples": samples} for moment, samples in moments
                ],
            }
        ],
    }


@needs_promtool
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_fires_and_clears(case: Case, tmp_path: Path) -> None:
    """Each alert is quiet, fires once for what it is about, and is quiet again."""
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump(promtool_file(case)))
    promtool("test", "rules", path)


@needs_promtool
@pytest.mark.parametrize(("days", "words"), [(5, "ends in 5d 0h 0m 0s"), (-1, "has ended")])
def test_an_ended_certificate_is_said_to_have_ended(days: int, words: str, tmp_path: Path) -> None:
    """And not to end in less than no time."""
    alert = "RaftdCertificateExpiresNow"
    labels = OF_NODE_1 | {"port": "peer", "kind": "certificate"}
    annotations = ALERTS[alert]["annotations"] | {"summary": f"the peer certificate of n1:7402 {words}"}
    expected = {
        "exp_labels": labels | {"severity": ALERTS[alert]["labels"]["severity"]},
        "exp_annotations": annotations,
    }
    not_after = node("raftd_certificate_not_after_seconds", port="peer", kind="certificate")
    test = {
        "interval": "1h",
        "input_series": [{"series": not_after, "values": f"{(2 + days) * DAY_SECONDS}x48"}],
        "alert_rule_test": [{"eval_time": "2d", "alertname": alert, "exp_alerts": [expected]}],
    }
    path = tmp_path / "test.yml"
    rule_files = [str(path) for path in RULES]
    path.write_text(yaml.safe_dump({"rule_files": rule_files, "evaluation_interval": "1h", "tests": [test]}))
    promtool("test", "rules", path)


def test_each_alert_has_a_case() -> None:
    """No alert is without a test, and no test without its alert."""
    assert {case.alert for case in CASES} == set(ALERTS)


def test_each_alert_is_tried_live() -> None:
    """tests/e2e/test_alerts.py names every alert as one that fires."""
    text = (ROOT / "tests" / "e2e" / "test_alerts.py").read_text()
    assert {name for name in ALERTS if f'"{name}"' not in text} == set()


def test_alerts_say_what_an_operator_needs() -> None:
    """Each has a severity that means something, a summary that fits a message, and a description."""
    for name, alert in ALERTS.items():
        assert alert["labels"]["severity"] in SEVERITIES, name
        assert re.search(r"\$labels\.(cluster|instance)\b", alert["annotations"]["summary"]), f"{name}: where?"
        assert len(re.sub(r"\{\{ (if|else|end)\b.*?\}\}", "", alert["annotations"]["summary"])) < 120, name
        assert alert["annotations"]["description"].endswith("."), name
        if "increase(" in alert["expr"]:  # which extrapolates: 4.29 changes of the leader are nothing that was
            assert "$value | humanize }}" not in alert["annotations"]["summary"], name


def test_each_alert_has_its_section_in_the_runbook() -> None:
    """runbook_url leads to a section which says what it means, where to look and what to do."""
    text = RUNBOOK.read_text()
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    assert set(sections) == set(ALERTS)
    for name, alert in ALERTS.items():
        assert alert["annotations"]["runbook_url"].endswith(f"/runbook.html#{name.lower()}")
        for word in ("**Means**", "**Look**", "**Do**"):
            assert word in sections[name], f"{name} lacks {word}"


def test_metrics_in_rules_exist() -> None:
    """A rule that asks for a metric which nobody exports would never fire."""
    exported = {family.name for family in FAMILIES}
    for rule in rules():
        for metric in re.findall(r"\b(raftd_\w+|up|process_\w+)\b(?=[{\[) ]|$)", rule["expr"]):
            base = re.sub(r"_(bucket|count|sum)$", "", metric)
            assert {metric, base} & (exported | OF_PROMETHEUS_AND_PYTHON), f"{metric} of {rule}"
        for recorded in re.findall(r"\braftd:[\w:]+", rule["expr"]):
            assert recorded in RECORDED


def commands(text: str) -> Iterator[str]:
    """What is to be typed in `text`: code whose first word is a program that takes more words, or a playbook."""
    programs = "raftctl|raftd|systemctl|journalctl|df|du|iostat|vmstat|ss|ls|timedatectl"
    for code in re.findall(r"`([^`]+)`", text):
        typed = " ".join(code.split())
        if re.match(rf"(sudo )?({programs}) |timedatectl$|deploy/playbooks/", typed):
            yield typed


def test_each_section_of_the_runbook_has_a_command() -> None:
    """Whoever is woken is told what to type, to look or to mend it, not only what to think of."""
    for section in re.split(r"^### ", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]:
        look_and_do = section[section.index("**Look**") :]
        assert any(commands(look_and_do)), section.partition("\n")[0]


def test_commands_of_the_runbook_exist() -> None:
    """Each `raftctl` and `raftd` in it is a command that there is, with options that it has."""
    checked = 0
    for typed in commands(RUNBOOK.read_text()):
        program, *words = shlex.split(typed.partition(" | ")[0])
        if program not in {"raftctl", "raftd"}:
            continue
        found: click.Command = {"raftctl": raftctl.group, "raftd": raftd.group}[program]
        context = click.Context(found, info_name=program)
        while isinstance(found, click.Group) and words:
            name = words.pop(0)
            command = found.get_command(context, name)
            assert command is not None, f"no {name!r}: {typed}"
            found = command
        options = {name for each in found.params for name in (*each.opts, *each.secondary_opts)} | {"--help"}
        assert {word for word in words if word.startswith("-")} <= options, typed
        checked += 1
    assert checked > 40
    for playbook in re.findall(r"`(deploy/[\w/-]+\.yml)", RUNBOOK.read_text()):
        assert (ROOT / playbook).is_file(), playbook
