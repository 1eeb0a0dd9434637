"""What `raftctl status` shows: every node of the cluster in a line."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from raftd.cli.output import Style, Styled
from raftd.client import Client, ClientConfig, ClientError, Unavailable
from raftd.errors import ExitCode

COLUMNS: Final = (
    "node", "endpoint", "role", "term", "vote", "leader", "commit", "applied", "lag", "timer", "keys", "health",
)  # fmt: skip

ASKED_AT_ONCE_MAX: Final = 16
PATIENCE_SECONDS: Final = 2.0
"""How long a node may take to say how it is; it needs neither disk nor quorum for that."""
STORING_SECONDS_MAX: Final = 1.0
"""A log write that takes longer is shown as the node's trouble."""

Row: TypeAlias = dict[str, object]
Answer: TypeAlias = dict[str, Any] | ClientError
"""A node's STATUS document, or why there is none."""


@dataclass(frozen=True, slots=True)
class Overview:
    """What the nodes of a cluster answered at one moment, by endpoint."""

    answers: Mapping[str, Answer]

    @property
    def rows(self) -> list[Row]:
        """One row for each node, sorted; its `node` is None when nobody knows which node should be at its endpoint."""
        documents = self._documents
        members = members_of(self.answers)
        rows = [self._row(endpoint, document) for endpoint, document in documents.items()]
        answering = {document["node_id"] for document in documents.values()}
        for endpoint, answer in self.answers.items():
            if isinstance(answer, ClientError) and (node := members.get(endpoint)) not in answering:
                reason = str(answer).removeprefix(f"{endpoint}: ")
                rows.append({"node": node, "endpoint": endpoint, "healthy": False, "health": Styled(reason, Style.BAD)})
        return sorted(rows, key=lambda row: (row["node"] is None, row["node"] or 0, row["endpoint"]))

    @property
    def exit_code(self) -> ExitCode:
        """OK when every node answers and is well and all follow one leader; UNHEALTHY, or why nobody answers."""
        errors = [answer for answer in self.answers.values() if isinstance(answer, ClientError)]
        if len(errors) == len(self.answers):
            codes = {error.exit_code for error in errors}
            return codes.pop() if len(codes) == 1 else ExitCode.UNAVAILABLE
        rows = self.rows
        leaders = {row.get("leader") for row in rows}
        is_healthy = len(leaders) == 1 and None not in leaders and all(row["healthy"] for row in rows)
        return ExitCode.OK if is_healthy else ExitCode.UNHEALTHY

    def endpoint_of(self, node: int | None) -> str:
        """Where `node`, or the leader, answers.

        Raises:
            ClientError: it does not, for the reason that all gave, or there is no such node.
        """
        for endpoint, document in self._documents.items():
            if document["node_id"] == (document["leader_id"] if node is None else node):
                return endpoint
        errors = [answer for answer in self.answers.values() if isinstance(answer, ClientError)]
        for error in errors:
            if not isinstance(error, Unavailable):
                raise error
        if len(errors) == len(self.answers):
            raise Unavailable(f"no node answers: {'; '.join(map(str, errors))}")
        sought = "no node leads; name one with --node" if node is None else f"no node {node} answers"
        raise Unavailable(f"{sought}; asked were {', '.join(self.answers)}")

    @property
    def _documents(self) -> dict[str, Mapping[str, Any]]:
        """The answers, each node's once: it may be reached at two addresses."""
        found: dict[int, tuple[str, Mapping[str, Any]]] = {}
        for endpoint, answer in self.answers.items():
            if isinstance(answer, dict):
                found.setdefault(answer["node_id"], (endpoint, answer))
        return dict(found.values())

    def _row(self, endpoint: str, document: Mapping[str, Any]) -> Row:
        role = document["role"]
        commit = max(int(each["commit_index"]) for each in self._documents.values())
        trouble = self._trouble(document)
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

    def _trouble(self, document: Mapping[str, Any]) -> str | None:
        """What is wrong with a node, in a few words; the worst of it."""
        differing = [f"node {other}'s" for other in self._differing(document)]
        silent = [str(peer["node_id"]) for peer in document["peers"] if not peer["connected"]]
        verdicts = (
            (differing, f"state differs from {', '.join(differing)}"),
            (document["draining"], "stopping"),
            (document["storing_seconds"] > STORING_SECONDS_MAX, f"disk busy for {document['storing_seconds']:.0f} s"),
            (document["disk_low"], "disk full: deletes only"),
            (document["leader_id"] is None, "no leader"),
            (not document["replayed"], "replaying"),
            (silent, f"cannot reach {', '.join(silent)}"),
        )
        return next((words for is_so, words in verdicts if is_so), None)

    def _differing(self, document: Mapping[str, Any]) -> list[int]:
        """The nodes whose state is not this one's: as is seen here, or as it found out itself (`comparison`)."""
        seen = {
            int(other["node_id"])
            for other in self._documents.values()
            if other["last_applied"] == document["last_applied"] and other["state_hash"] != document["state_hash"]
        }
        return sorted(seen | {int(peer["node_id"]) for peer in document["peers"] if peer.get("diverged")})


def with_patience(config: ClientConfig) -> ClientConfig:
    """For asking nodes how they are: none is waited for longer than `PATIENCE_SECONDS`."""
    return replace(config, timeout=min(config.timeout, PATIENCE_SECONDS))


def look(client: Client, endpoints: Sequence[str]) -> Overview:
    """Ask the nodes at the endpoints, and those that these tell of, side by side."""
    answers: dict[str, Answer] = {}
    while unasked := [endpoint for endpoint in (*endpoints, *members_of(answers)) if endpoint not in answers]:
        with ThreadPoolExecutor(min(len(unasked), ASKED_AT_ONCE_MAX)) as pool:
            answers.update(zip(unasked, pool.map(lambda endpoint: _ask(client, endpoint), unasked), strict=True))
    return Overview(answers)


def leader_of(answers: Mapping[str, Answer]) -> Mapping[str, Any] | None:
    """What the leader says; of two, one of which has not heard of the other yet, that of the newer term."""
    leaders = [answer for answer in answers.values() if isinstance(answer, dict) and answer["role"] == "leader"]
    return max(leaders, key=lambda answer: int(answer["current_term"]), default=None)


def members_of(answers: Mapping[str, Answer]) -> dict[str, int]:
    """Which node is to be found where, as the nodes that answered have it."""
    return {
        str(member["client_address"]): int(member["node_id"])
        for answer in answers.values()
        if isinstance(answer, dict)
        for member in answer["members"]
        if member["client_address"]
    }


def _ask(client: Client, endpoint: str) -> Answer:
    try:
        return client.status(endpoint)
    except ClientError as error:
        return error
