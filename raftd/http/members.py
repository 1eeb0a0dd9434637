"""The members as one node knows them, as a table of its status page."""

from collections.abc import Sequence
from typing import Final

from raftd.consensus.types import Role
from raftd.http.health import Check
from raftd.http.markup import Markup, element
from raftd.http.quantities import NOTHING, duration
from raftd.http.view import NodeStatus, PeerStatus, ReplicationState

BEHIND_ENTRIES: Final = 1000
"""A peer that lacks more is called behind; what is under way to a busy peer is less."""

SILENT_SECONDS: Final = 1.0
"""A peer that has not answered a leader for longer is called silent; several heartbeats fit into it."""

_COLUMNS: Final = ("node", "role", "term", "stored up to", "lag", "link", "round trip", "clock", "health")
_NUMBERS: Final = frozenset({"term", "stored up to", "round trip", "clock"})
_WIDE: Final = frozenset({"lag", "health"})
_BAR_WIDTH: Final = 100


def members_section(status: NodeStatus, checks: Sequence[Check]) -> Markup:
    """The table of all members, this node among them, and what it cannot tell of the others.

    Args:
        status: What the node is now.
        checks: Whether it is ready.
    """
    rows = [(status.node_id, _own_row(status, checks))]
    rows += [(peer.node_id, _peer_row(status, peer)) for peer in status.peers]
    heads = (element("th", name, scope="col", class_="number" if name in _NUMBERS else None) for name in _COLUMNS)
    table = element(
        "table",
        element("thead", element("tr", *heads)),
        element("tbody", *(row for _, row in sorted(rows))),
        class_="members",
    )
    return element("section", element("h2", "Members"), table, _limits(status))


def peer_health(status: NodeStatus, peer: PeerStatus) -> tuple[str, str]:
    """How a peer is as far as this node can tell, and how that is to look: (words, class)."""
    silent = peer.contact_seconds or 0.0
    verdicts = (
        (not peer.connected, "no link from here", "pill bad"),
        (peer.diverged, "state differs from this node's", "pill bad"),
        (status.role is not Role.LEADER, "link stands", "none"),
        (silent > SILENT_SECONDS, f"silent for {duration(silent)}", "pill warn"),
        (peer.state is ReplicationState.SNAPSHOT, "is sent a snapshot", "pill warn"),
        (peer.state is not ReplicationState.REPLICATE, "has not answered yet", "pill warn"),
        (peer.lag_entries > BEHIND_ENTRIES, "behind", "pill warn"),
    )
    return next(((words, look) for is_so, words, look in verdicts if is_so), ("ok", "pill good"))


def role_of(status: NodeStatus) -> str:
    """What this node is, in a word."""
    return _role(status.role, is_learner=status.is_learner)


def _own_row(status: NodeStatus, checks: Sequence[Check]) -> Markup:
    ready = all(check.failure is None for check in checks)
    return _row(
        element("th", status.node_id, scope="row"),
        {
            "role": role_of(status),
            "term": status.current_term,
            "stored up to": f"{status.stored_index:,}",
            "lag": _bar(status.last_log_index - status.stored_index, status.last_log_index),
            "health": element("span", "ready" if ready else "not ready", class_=f"pill {'good' if ready else 'bad'}"),
        },
        is_own=True,
    )


def _peer_row(status: NodeStatus, peer: PeerStatus) -> Markup:
    leads_here = status.role is Role.LEADER
    # A peer that takes this leader's entries is a follower of its term; nobody else's role and term are known.
    follows = leads_here and peer.connected and peer.state is not ReplicationState.UNKNOWN
    words, look = peer_health(status, peer)
    cells: dict[str, Markup | str | int | None] = {
        "role": _role(Role.LEADER if peer.node_id == status.leader_id else Role.FOLLOWER, is_learner=peer.is_learner)
        if follows or peer.is_learner or peer.node_id == status.leader_id
        else None,
        "term": status.current_term if follows or peer.node_id == status.leader_id else None,
        "stored up to": f"{peer.match_index:,}" if leads_here else None,
        "lag": _bar(peer.lag_entries, status.last_log_index) if leads_here else None,
        "link": "stands" if peer.connected else "down",
        "round trip": None if peer.round_trip_seconds is None else duration(peer.round_trip_seconds),
        "clock": None if peer.clock_difference_seconds is None else _clock(peer.clock_difference_seconds),
        "health": element("span", words, class_=look),
    }
    name = element("a", peer.node_id, href=f"http://{peer.http_address}/") if peer.http_address else peer.node_id
    return _row(element("th", name, scope="row"), cells)


def _row(head: Markup, cells: dict[str, Markup | str | int | None], *, is_own: bool = False) -> Markup:
    shown = [
        element(
            "td",
            NOTHING if cells.get(name) is None else cells[name],
            class_=" ".join(kind for kind, names in (("number", _NUMBERS), ("wide", _WIDE)) if name in names) or None,
            data_label=name,
        )
        for name in _COLUMNS[1:]
    ]
    return element("tr", head, *shown, class_="self" if is_own else None)


def _role(role: Role, *, is_learner: bool) -> str:
    return "learner" if is_learner and role is not Role.LEADER else role.value


def _clock(seconds: float) -> str:
    """Where the peer's clock is; a message's way is in it, so that less than a millisecond says nothing."""
    if abs(seconds) < 0.001:
        return "as here"
    return f"{duration(abs(seconds))} {'behind' if seconds > 0 else 'ahead'}"


def _bar(lag: int, last_index: int) -> Markup:
    """How much a node lacks, as a bar: full is all that there is, and ten times what is called behind at most."""
    share = 0.0 if last_index <= 0 else min(1.0, lag / min(last_index, 10 * BEHIND_ENTRIES))
    width = max(share * _BAR_WIDTH, 2.0 if lag > 0 else 0.0)
    return element(
        "span",
        element(
            "svg",
            element("rect", class_="track", width=_BAR_WIDTH, height=8, rx=4),
            element(
                "rect", class_="fill high" if lag > BEHIND_ENTRIES else "fill", width=f"{width:.1f}", height=8, rx=4
            ),
            class_="bar",
            viewBox=f"0 0 {_BAR_WIDTH} 8",
            preserveAspectRatio="none",
            aria_hidden="true",
        ),
        f" {lag:,}",
    )


def _limits(status: NodeStatus) -> Markup:
    """What this node cannot know of the others, in a sentence, and who does."""
    if status.role is Role.LEADER:
        text = (
            "Of the others this is what the leader knows by their answers; of themselves they tell on their own pages."
        )
        return element("p", text, class_="note")
    if status.leader_id is None:
        text = "While no leader is known, a node knows of the others only whether its own link to them stands."
        return element("p", text, class_="note")
    address = next((peer.http_address for peer in status.peers if peer.node_id == status.leader_id), "")
    leader = f"node {status.leader_id}"
    return element(
        "p",
        "A follower knows of the others only whether its own link to them stands. How far they are, the leader knows: ",
        element("a", leader, href=f"http://{address}/") if address else leader,
        ".",
        class_="note",
    )
