"""How `raftctl set --explain` shows where a write's time went."""

from dataclasses import asdict
from typing import Final

from raftd.cli.output import table
from raftd.client import Explanation

UNKNOWN: Final = "nobody knows where the time went: the leader has changed, or remembers no such write\n"
_BAR_WIDTH: Final = 40


def explanation_record(explanation: Explanation | None) -> dict[str, object] | None:
    """For JSON and YAML: all there is, in seconds."""
    return None if explanation is None else {**asdict(explanation), "way_seconds": explanation.way_seconds}


def explanation_text(explanation: Explanation | None, bars: str) -> str:
    """For people: the parts of the total as bars, and what each node had to do with it.

    Args:
        explanation: None: there is none.
        bars: Of which the last is the fullest.
    """
    if explanation is None:
        return f"\n{UNKNOWN}"
    total = explanation.total_seconds
    parts = (
        ("network, TLS, this client", explanation.way_seconds),
        ("queued at the leader", explanation.queue_seconds),
        ("replicated and committed", explanation.commit_seconds),
        ("applied", explanation.apply_seconds),
        ("answered", explanation.answer_seconds),
    )
    phases = [
        {"part": name, "took": milliseconds(seconds), "": bars[-1] * round(seconds / total * _BAR_WIDTH)}
        for name, seconds in (*parts, ("together", total))
    ]
    nodes = [
        {
            "node": node.node_id,
            "stored_after": milliseconds(node.stored_seconds),
            "write": milliseconds(node.write_seconds),
            "fdatasync": milliseconds(node.sync_seconds),
        }
        for node in explanation.nodes
    ]
    by_part = table(phases, ("part", "took", ""))
    by_node = table(nodes, ("node", "stored_after", "write", "fdatasync"))
    return f"\nentry {explanation.index} of the log\n\n{by_part}\n{by_node}"


def milliseconds(seconds: float | None) -> str | None:
    """As `0.034 ms`, `12.1 ms`: one unit, so that columns can be compared."""
    if seconds is None:
        return None
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds * 1000:.0f} ms"
