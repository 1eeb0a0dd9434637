"""Who goes on alone when a majority is lost, from the beginning or where it was broken off: played on this machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.deploy.playing import DEPLOY, HERE, play_tasks, tasks_of_raftd

pytestmark = pytest.mark.timeout(300)

OLD, NEW = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"


def host(recovering: str | None = None, cluster_id: str = OLD) -> dict[str, Any]:
    """What a host with data says of itself."""
    return {
        "recovering": recovering,
        "has_data": True,
        "cluster_id": cluster_id,
        "cluster_name": "prod",
        "package": None,
        "release": None,
        "unasked": None,
    }


Seen = Mapping[str, dict[str, Any]]
ALL: Final = {name: host() for name in ("n1", "n2", "n3")}
RECOVERIES: Final[dict[str, tuple[Seen, int, list[int], str, str]]] = {
    # Who is seen, who leads, who votes; then what recover-quorum.yml says, and what site.yml says.
    "well": (ALL, 2, [1, 2, 3], "Node 2 leads: there is nothing to recover", ""),
    "majority": (ALL, 0, [1, 2, 3], "3 of 3 voters are there (n1, n2, n3), which is a majority", ""),
    "lost": ({"n3": host()}, 0, [1, 2, 3], "goes on with n3", ""),
    "not-asked": (
        {"n3": {**host(), "unasked": {"code": 7, "error": "its certificate has ended", "is_tls": True}}},
        0,
        [1, 2, 3],
        "n3 could not ask whether a node leads (its certificate has ended). If the certificates have run out: rotate-",
        "",
    ),
    "nobody": ({}, 0, [1, 2, 3], "No host that answers has data of this cluster", ""),
    "begun": (
        {"n2": host(), "n3": host(NEW)},
        0,
        [1, 2, 3],
        "goes on with n3",
        f"n3 has begun the new cluster {NEW}, and not come to its end. It goes on where it was: `playbooks/recover",
    ),
    "begun-and-started": (
        {"n2": host(), "n3": host(NEW, NEW)},
        3,
        [3],
        "goes on with n3",
        f"n3 has begun the new cluster {NEW}, and not come to its end",
    ),
    "begun-and-others-back": (
        {**ALL, "n3": host(NEW)},
        0,
        [1, 2, 3],
        "2 of 3 voters are there (n1, n2), which is a majority",
        "n3 has begun the new cluster",
    ),
    "begun-and-others-lead": (
        {**ALL, "n3": host(NEW)},
        1,
        [1, 2, 3],
        "Node 1 leads: there is nothing to recover",
        "the others serve without it. A new node takes its place",
    ),
    "begun-twice": (
        {"n1": host(OLD[:-1] + "3"), "n3": host(NEW)},
        0,
        [1, 2, 3],
        "n1, n3 have each begun a new cluster: leave the line of the one to go on with",
        "n3 has begun the new cluster",
    ),
    "done": (
        {"n3": host(cluster_id=NEW)},
        3,
        [3],
        f"Node 3 leads, and the cluster is another one. Mend `raftd_cluster_id: {NEW}`",
        f"n3 belongs to the cluster prod ({NEW})",
    ),
}


MISTAKES: Final = DEPLOY / "roles" / "raftd" / "templates" / "host_mistakes.j2"
STEPS: Final[list[dict[str, Any]]] = [
    {
        "block": [
            tasks_of_raftd("recover_check"),
            {
                "ansible.builtin.debug": {
                    "msg": "recovery: goes on with {{ (raftd_begun_hosts or raftd_left_hosts) | join }}"
                }
            },
        ],
        "rescue": [{"ansible.builtin.debug": {"msg": "recovery: {{ ansible_failed_result.msg }}"}}],
    },
    {"ansible.builtin.debug": {"msg": f"site: {{{{ lookup('ansible.builtin.template', '{MISTAKES}') }}}}"}},
]


@pytest.mark.parametrize("case", RECOVERIES)
def test_who_goes_on_when_a_quorum_is_lost(tmp_path: Path, case: str) -> None:
    """The one that has begun a new cluster, if there is one; nobody, where another leads or a majority is there."""
    seen, leader, voters, recovery, site = RECOVERIES[case]
    hosts = {
        name: {"raftd_node_id": number, **HERE} | ({"raftd_host": seen[name]} if name in seen else {})
        for number, name in enumerate(ALL, 1)
    }
    given: dict[str, Any] = {
        "raftd_cluster_id": OLD,
        "raftd_cluster_name": "prod",
        "raftd_leader_id": leader,
        "raftd_voter_ids": voters,
        "raftd_member_ids": voters,
        "raftd_is_founded": False,
        "raftd_founders_may_come": True,
        "raftd_unasked": [name for name, about in seen.items() if about["unasked"]],
        "raftd_newcomers": [],
        "raftd_leaving": [],
        "raftd_may_be_gone": [],
        "raftd_may_change_version": True,
        "raftd_uses_wheelhouse": False,
    }
    code, said = play_tasks(tmp_path, STEPS, hosts, on="n1", **given)
    assert code == 0, said
    assert f"recovery: {recovery}" in said
    mistakes = said.partition("site: ")[2]
    assert site in mistakes
    assert (site == "") == ("- n" not in mistakes)


CHOOSING: Final = [
    task
    for task in yaml.safe_load((DEPLOY / "roles" / "raftd" / "tasks" / "recover_choose.yml").read_text())
    if "block" not in task
]
"""What follows once it is known what each host has."""


@pytest.mark.parametrize("kind", [str, int])
@pytest.mark.parametrize(
    ("lasts", "survivor"),
    [
        (((12, 5000), (9, 700), (12, 900)), "n1"),
        (((9, 99999), (9, 700), (10, 1)), "n3"),
        (((0, 0), (0, 0), (0, 1)), "n3"),
    ],
)
def test_who_has_most_is_told_by_numbers(
    tmp_path: Path, kind: type, lasts: tuple[tuple[int, int], ...], survivor: str
) -> None:
    """Ansible before 2.19 hands them on as strings; term 12 is after term 9 all the same, and index 5000 after 900."""
    hosts = {
        name: {**HERE, "raftd_host": host(), "raftd_last": [kind(number) for number in last]}
        for name, last in zip(ALL, lasts, strict=True)
    }
    steps = [*CHOOSING, {"ansible.builtin.debug": {"msg": "goes on with {{ raftd_survivor }}"}}]
    code, said = play_tasks(tmp_path, steps, hosts)
    assert code == 0, said
    assert said.count(f"goes on with {survivor}") == len(hosts)


def test_no_survivor_that_lacks_something(tmp_path: Path) -> None:
    """However it was chosen: another one that has more is told of, and nothing goes on."""
    has = {"n1": ["12", "5000"], "n2": ["9", "700"]}
    hosts = {name: {**HERE, "raftd_host": host(), "raftd_last": last} for name, last in has.items()}
    code, said = play_tasks(tmp_path, CHOOSING[-1:], hosts, raftd_survivor="n2")
    assert code != 0
    assert "n1 has more (last term 12, last index 5000) than n2, which was chosen" in said
