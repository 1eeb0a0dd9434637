import json
from collections.abc import Callable
from typing import Any

from raftd.cli.explain import explanation_record, explanation_text, milliseconds
from raftd.cli.sparkline import ASCII_BARS
from raftd.client import Explanation, StoredBy

Raftctl = Callable[..., bytes]
EXPLANATION = Explanation(
    0.010, 9, 0.001, 0.005, 0.0001, 0.0, (StoredBy(1, 0.004, 0.0001, 0.003), StoredBy(2, None, None, None))
)


def test_the_parts_are_bars_of_the_total() -> None:
    """In the order in which they follow one another; below, each node's share."""
    text = explanation_text(EXPLANATION, ASCII_BARS)
    _, heading, _, header, *parts = text.splitlines()
    assert heading == "entry 9 of the log"
    assert header.split() == ["PART", "TOOK"]
    assert [line.split("  ")[0] for line in parts[:6]] == [
        "network, TLS, this client", "queued at the leader", "replicated and committed", "applied", "answered",
        "together",
    ]  # fmt: skip
    assert [line.count("#") for line in parts[:6]] == [16, 4, 20, 0, 0, 40]
    assert [line.split() for line in parts[7:]] == [
        ["NODE", "STORED", "AFTER", "WRITE", "FDATASYNC"],
        ["1", "4", "ms", "0.1", "ms", "3", "ms"],
        ["2", "-", "-", "-"],
    ]


def test_what_is_not_known_is_said() -> None:
    """As a line, and as null."""
    assert explanation_text(None, ASCII_BARS) == (
        "\nnobody knows where the time went: the leader has changed, or remembers no such write\n"
    )
    assert explanation_record(None) is None


def test_programs_get_seconds() -> None:
    """All of them, the rest too."""
    record = explanation_record(EXPLANATION)
    assert record is not None
    assert record["queue_seconds"] == 0.001
    assert json.loads(json.dumps(record))["nodes"][0]["sync_seconds"] == 0.003
    assert record["way_seconds"] == EXPLANATION.way_seconds


def test_milliseconds() -> None:
    """Always these, so that columns can be compared."""
    assert [milliseconds(each) for each in (None, 0.0000123, 0.0121, 1.5)] == [None, "0.0123 ms", "12.1 ms", "1500 ms"]


def test_a_real_write_is_explained(raftctl: Raftctl, raftctl_json: Callable[..., Any]) -> None:
    """By the node that did it, its own fdatasync included; the parts do not exceed the total."""
    explanation = raftctl_json("set", "explained", "1", "--explain")["explanation"]
    (node,) = explanation["nodes"]
    assert node["node_id"] == 1
    assert 0 < node["sync_seconds"] <= node["stored_seconds"] <= explanation["commit_seconds"] + 0.001
    parts = [explanation[f"{name}_seconds"] for name in ("way", "queue", "commit", "apply", "answer")]
    assert sum(parts) <= explanation["total_seconds"] + 1e-6
    assert "FDATASYNC" in raftctl("set", "explained", "2", "--explain").decode()
