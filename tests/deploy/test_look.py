"""What the cluster is, by all that its hosts have and say: the facts that playbooks go by, from pretended hosts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.deploy.playing import DEPLOY, HERE, play_tasks

pytestmark = pytest.mark.timeout(120)

TASKS: Final = yaml.safe_load((DEPLOY / "roles/raftd/tasks/look.yml").read_text())
(NOTING,) = (task for task in TASKS if task["name"] == "Note what the cluster is")


def host(*statuses: dict[str, Any], founded: str | None = "id") -> dict[str, Any]:
    """What a host of three that was looked at has, and what the nodes said that it asked."""
    return {"founded": founded, "nodes": [{"id": 1}, {"id": 2}, {"id": 3}], "status": statuses, "unasked": None}


def status(node: int, role: str, term: int, index: int, *voters: int) -> dict[str, Any]:
    membership = {"index": index, "voters": voters, "outgoing": [], "learners": []}
    return {"node_id": node, "role": role, "current_term": term, "membership": membership}


Seen = Mapping[str, dict[str, Any]]
BEFORE: Final = status(1, "leader", 7, 10, 1, 2, 3)
CLUSTERS: Final[dict[str, tuple[Seen, dict[str, Any]]]] = {
    # What is seen, by host; then some of what is noted.
    "the last one has left": (
        {
            "n1": host(status(1, "leader", 7, 20, 1, 2)),
            "n2": host(status(1, "leader", 7, 20, 1, 2)),
            "n3": host(BEFORE),
        },
        {"raftd_leader_id": 1, "raftd_member_ids": [1, 2], "raftd_voter_ids": [1, 2]},
    ),
    "a newer leader": (
        {"n1": host(BEFORE), "n2": host(status(2, "leader", 8, 5, 1, 2)), "n3": host(BEFORE)},
        {"raftd_leader_id": 2, "raftd_member_ids": [1, 2]},
    ),
    "no leader": (
        {"n1": host(status(1, "follower", 7, 20, 1, 2)), "n2": host(status(2, "follower", 9, 10, 1, 2, 3))},
        {"raftd_leader_id": 0, "raftd_member_ids": [1, 2]},
    ),
    "led before all were ready": (
        {"n1": host(BEFORE, founded=None), "n2": host(BEFORE, founded=None)},
        {"raftd_is_founded": True, "raftd_founders_may_come": True},
    ),
    "not founded": ({"n1": host(founded=None)}, {"raftd_is_founded": False, "raftd_founders_may_come": True}),
    "founded": ({"n1": host(), "n2": host(founded=None)}, {"raftd_is_founded": True, "raftd_founders_may_come": False}),
    "nobody answers": ({"n1": host(), "n2": host()}, {"raftd_leader_id": 0, "raftd_member_ids": [1, 2, 3]}),
}


@pytest.mark.parametrize("case", CLUSTERS)
def test_what_the_cluster_is(tmp_path: Path, case: str) -> None:
    """The newest leader's newest word counts, then the newest membership, and then what raftd.yaml began with."""
    seen, expected = CLUSTERS[case]
    hosts = {name: {"raftd_host": about, **HERE} for name, about in seen.items()}
    show = " ".join(f"{name}={{{{ {name} }}}};" for name in expected)
    code, said = play_tasks(tmp_path, [NOTING, {"ansible.builtin.debug": {"msg": show}}], hosts)
    assert code == 0, said
    for name, value in expected.items():
        assert f"{name}={value};" in said


MISTAKES: Final = DEPLOY / "roles/raftd/templates/host_mistakes.j2"


@pytest.mark.parametrize("founders_may_come", [True, False])
def test_a_founder_without_data_is_let_begin_until_all_have(tmp_path: Path, founders_may_come: bool) -> None:
    """While it is not noted that all were ready, it may be one that has not started yet, also where the others lead."""
    about = {"recovering": None, "cluster_id": None, "has_data": False, "package": None, "release": None}
    hosts = {"n1": {"raftd_node_id": 1, "raftd_host": about, **HERE}}
    given: dict[str, Any] = {
        "raftd_cluster_id": "id",
        "raftd_leader_id": 2,
        "raftd_member_ids": [1],
        "raftd_is_founded": True,
        "raftd_founders_may_come": founders_may_come,
        "raftd_newcomers": [],
        "raftd_leaving": [],
        "raftd_may_be_gone": [],
        "raftd_may_change_version": True,
        "raftd_uses_wheelhouse": False,
    }
    show = {"ansible.builtin.debug": {"msg": f"{{{{ lookup('ansible.builtin.template', '{MISTAKES}') }}}}"}}
    code, said = play_tasks(tmp_path, [show], hosts, **given)
    assert code == 0, said
    assert ("n1 (node 1) is a member, and its data is gone" in said) == (not founders_may_come)
