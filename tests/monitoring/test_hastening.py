"""The rules of the live tests are raftd's own."""

from pathlib import Path

import yaml

from tests.monitoring.hastening import FOR, hastened

RULES = """\
groups:
  - name: one
    rules:
      - {record: "a:b:rate5m", expr: "rate(b_total[5m])"}
      - {alert: A, expr: "increase(b_total[15m]) > 4", for: 30m}
      - {alert: B, expr: "c > 10000"}
"""


def test_windows_and_waiting_are_shortened(tmp_path: Path) -> None:
    """Nothing but time is changed, and the number of entries behind."""
    path = tmp_path / "rules.yml"
    path.write_text(RULES)
    (group,) = hastened([path])["groups"]
    assert group["rules"] == [
        {"record": "a:b:rate5m", "expr": "rate(b_total[4s])"},
        {"alert": "A", "expr": "increase(b_total[30s]) > 4", "for": FOR},
        {"alert": "B", "expr": "c > 300"},
    ]
    assert yaml.safe_load(RULES)["groups"][0]["name"] == group["name"]
