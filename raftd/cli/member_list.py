"""What `raftctl member list` shows: the members by the leader's word, and whose raftd.yaml says otherwise."""

from collections.abc import Mapping
from typing import Any, Final

from raftd.cli.output import Style, Styled
from raftd.cli.status import Answer, Row
from raftd.client import ClientError, Members, Unavailable
from raftd.wire.address import AddressError
from raftd.wire.members import parse_member_addresses

COLUMNS: Final = ("node", "role", "replaces", "lag", "client", "peer", "http", "settings")


def rows_of(answers: Mapping[str, Answer]) -> list[Row]:
    """One row for each member, and for each node that some raftd.yaml has and that is none.

    Raises:
        ClientError: nobody answers.
    """
    documents = [answer for answer in answers.values() if isinstance(answer, dict)]
    if not documents:
        raise next((answer for answer in answers.values() if isinstance(answer, ClientError)), Unavailable("no nodes"))
    members = max(map(Members.of_status, documents), key=lambda each: (each.node_id == each.leader_id, each.index))
    differences = _differences(documents)
    return [
        _row(node_id, members, differences.get(node_id, {})) for node_id in sorted(members.all | differences.keys())
    ]


def role_of(node_id: int, members: Members) -> str:
    """What a node is in the cluster, in a word or two."""
    if node_id in members.voters:
        return "voter" if node_id in members.outgoing or not members.outgoing else "voter, entering"
    if node_id in members.outgoing:
        return "voter, leaving"
    if node_id in members.joining:
        return "learner, joining"
    return "learner" if node_id in members.learners else "no member"


def _row(node_id: int, members: Members, differences: Mapping[str, list[int]]) -> Row:
    role = role_of(node_id, members)
    told = "; ".join(f"{text} (on node {', '.join(map(str, nodes))})" for text, nodes in differences.items())
    is_leader = node_id == members.leader_id
    return {
        "node": node_id,
        "role": Styled(f"{role}, leader", Style.BOLD) if is_leader else role,
        "replaces": members.joining.get(node_id),
        "lag": members.lag_entries.get(node_id) if members.node_id == members.leader_id else None,
        **_places(members.addresses.get(node_id, "")),
        "settings": Styled(told, Style.WARNING) if told else Styled("ok", Style.GOOD),
    }


def _places(text: str) -> dict[str, str | None]:
    try:
        addresses = parse_member_addresses(text)
    except AddressError:
        return {"client": None, "peer": None, "http": None}
    return {"client": str(addresses.client), "peer": str(addresses.peer), "http": str(addresses.http)}


def _differences(documents: list[dict[str, Any]]) -> dict[int, dict[str, list[int]]]:
    """By whom it is about: what differs, and on which nodes."""
    found: dict[int, dict[str, list[int]]] = {}
    for document in sorted(documents, key=lambda each: int(each["node_id"])):
        for each in document["settings_differ"]:
            nodes = found.setdefault(each["node_id"], {}).setdefault(each["difference"], [])
            if document["node_id"] not in nodes:
                nodes.append(document["node_id"])
    return found
