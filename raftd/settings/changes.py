"""What is different in a `raftd.yaml` that is read anew, and which of it can count without a restart."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, assert_never

from raftd.settings import schema
from raftd.settings.schema import Change, Document, Node

_OWN_WAITS: Final = ("client_address", "peer_address", "http_address", "no_lead")
"""What a node has of its own line of `nodes` only at its start."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The paths of what is different, in the schema's order; of the lines of a table only the table's."""

    reloaded: tuple[str, ...]
    """What counts at once."""
    waiting: tuple[str, ...]
    """What counts after a restart only."""
    forbidden: tuple[str, ...]
    """What makes it another cluster's file."""


def compare(old: Document, new: Document, node_id: int) -> Changes:
    """Compare two files as node `node_id` sees them.

    Args:
        old: what the node has started with, so that what waits for a restart goes on waiting.
        new: what the file says now.
        node_id: which node this is; both files name it.
    """
    found = list(_differences(old, new, ""))
    if _own(old, node_id) != _own(new, node_id):
        found.append((f"nodes[id={node_id}]", Change.RESTART))
    return Changes(*(tuple(path for path, change in found if change is wanted) for wanted in Change))


def _differences(old: Any, new: Any, prefix: str) -> Iterator[tuple[str, Change]]:
    for field_name, specification in schema.specifications(type(old)).items():
        before, after = getattr(old, field_name), getattr(new, field_name)
        path = f"{prefix}{specification.name}"
        match specification:
            case schema.Section():
                yield from _differences(before, after, f"{path}.")
            case schema.Key() | schema.Words() | schema.Table():
                if before != after:
                    yield path, specification.change
            case _:
                assert_never(specification)


def _own(document: Document, node_id: int) -> tuple[object, ...]:
    node: Node = next(node for node in document.nodes if node.id == node_id)
    return tuple(getattr(node, name) for name in _OWN_WAITS)
