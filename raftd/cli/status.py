"""What `raftctl status` shows: every node of the cluster in a line."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from raftd.cli.output import OutputFormat, Style, Styled, show_rows
from raftd.client import Client, ClientError

COLUMNS = (
    "node", "endpoint", "role", "term", "vote", "leader", "commit", "applied", "lag", "timer", "keys", "health",
)  # fmt: skip


def gather(client: Client, endpoints: Sequence[str]) -> list[dict[str, object]]:
    """One row for each endpoint, and for each member that an endpoint tells of, asked side by side."""
    documents: dict[str, dict[str, Any] | ClientError] = {}
    asked: set[str] = set()
    while unasked := [endpoint for endpoint in _known(endpoints, documents) if endpoint not in asked]:
        asked.update(unasked)
        with ThreadPoolExecutor(len(unasked)) as pool:
            documents.update(zip(unasked, pool.map(lambda endpoint: _ask(client, endpoint), unasked), strict=True))
    commit = max((int(each["commit_index"]) for each in documents.values() if isinstance(each, dict)), default=0)
    rows = [_row(endpoint, document, commit) for endpoint, document in documents.items()]
    return sorted(rows, key=lambda row: (row["node"] is None, row["node"], row["endpoint"]))


def show_status(client: Client, endpoints: Sequence[str], output_format: OutputFormat = OutputFormat.TABLE) -> bool:
    """Print the table, and say whether all is well: every node answers, and one leads."""
    rows = gather(client, endpoints)
    show_rows(rows, COLUMNS, output_format)
    return is_healthy(rows)


def is_healthy(rows: Sequence[Mapping[str, object]]) -> bool:
    """Whether every node answers and is well, and all name the same leader."""
    leaders = {row.get("leader") for row in rows}
    return len(leaders) == 1 and None not in leaders and all(row["healthy"] for row in rows)


def _known(endpoints: Sequence[str], documents: Mapping[str, dict[str, Any] | ClientError]) -> list[str]:
    members = [
        str(member["client_address"])
        for document in documents.values()
        if isinstance(document, dict)
        for member in document["members"]
        if member["client_address"]
    ]
    return list(dict.fromkeys([*endpoints, *members]))


def _ask(client: Client, endpoint: str) -> dict[str, Any] | ClientError:
    try:
        return client.status(endpoint)
    except ClientError as error:
        return error


def _row(endpoint: str, document: dict[str, Any] | ClientError, commit: int) -> dict[str, object]:
    if isinstance(document, ClientError):
        return {"node": None, "endpoint": endpoint, "healthy": False, "health": Styled(str(document), Style.BAD)}
    role = document["role"]
    trouble = _trouble(document)
    return {
        "node": document["node_id"],
        "endpoint": endpoint,
        "role": Styled(role, Style.BOLD) if role == "leader" else role,
        "term": document["current_term"],
        "vote": document["voted_for"],
        "leader": document["leader_id"],
        "commit": document["commit_index"],
        "applied": document["last_applied"],
        "lag": max(0, commit - int(document["last_applied"])),
        "timer": None if role == "leader" else f"{float(document['election_timer_seconds']):.2f} s",
        "keys": document["keys"],
        "healthy": trouble is None,
        "health": Styled("ok", Style.GOOD) if trouble is None else Styled(trouble, Style.BAD),
        "status": document,
    }


def _trouble(document: Mapping[str, Any]) -> str | None:
    """What is wrong with a node, in a few words."""
    if document["draining"]:
        return "stopping"
    if document["leader_id"] is None:
        return "no leader"
    if not document["replayed"]:
        return "replaying"
    silent = [str(peer["node_id"]) for peer in document["peers"] if not peer["connected"]]
    return f"cannot reach {', '.join(silent)}" if silent else None
