"""The playbooks of `deploy/`: each is described where one looks, and is safe to come back to."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PLAYBOOKS = [
    DEPLOY / "site.yml",
    *sorted(DEPLOY.glob("playbooks/*.yml")),
    *sorted(DEPLOY.glob("playbooks/gameday/*.yml")),
]
GOING_ON = ("Tell how it went", "Let nothing start on")
"""Plays at an end, which do for each host what they can."""


def name(path: Path) -> str:
    return str(path.relative_to(DEPLOY))


@pytest.mark.parametrize("path", PLAYBOOKS, ids=name)
def test_a_playbook_says_how_it_is_called(path: Path) -> None:
    """Its first comment has the command line, and docs/deploy.md has its name."""
    head = path.read_text().partition("\n- name:")[0]
    assert re.search(rf"#   ansible-playbook -i \S+ {re.escape(name(path))}", head)
    assert re.search(rf"`{re.escape(path.stem)}`|{re.escape(name(path))}", (ROOT / "docs/deploy.md").read_text())


@pytest.mark.parametrize("path", PLAYBOOKS, ids=name)
def test_one_host_s_failure_stops_all(path: Path) -> None:
    """No play that leads to a further step goes on with the other hosts when one has failed."""
    plays: list[dict[str, Any]] = yaml.safe_load(path.read_text())
    careless = [play["name"] for play in plays if not play.get("any_errors_fatal")]
    assert [each for each in careless if not each.startswith(GOING_ON)] == []


def test_each_raftctl_is_told_which_cluster() -> None:
    """Not the one that a file in root's own home names, which raftctl would take before the host's."""
    variables = DEPLOY / "roles/raftd/vars/main.yml"
    assert yaml.safe_load(variables.read_text())["raftd_raftctl"][1:] == ["--config", "/etc/raftd/raftctl.yaml"]
    # What `raftd_pki_raftctl` does it does on the controller, without a cluster.
    by_itself = re.compile(r"raftd_bin\b.*/raftctl|\[[\"']?raftctl\b|^\s*- [\"']?raftctl\b", re.MULTILINE)
    found = {name(path): by_itself.findall(path.read_text()) for path in DEPLOY.rglob("*.yml") if path != variables}
    assert {file: each for file, each in found.items() if each} == {}


def test_a_full_disk_is_full_for_the_node_alone() -> None:
    """What a file system keeps for root is left to the rest of the host: the node's user fills it."""
    text = (DEPLOY / "roles/raftd/tasks/gameday_fill_disk.yml").read_text()
    (writing,) = (line.strip() for line in text.splitlines() if re.search(r"\bdd\b", line))
    assert writing.startswith("argv: [runuser, -u, raftd, --, dd, if=/dev/zero,")


def test_only_what_asks_each_host_by_itself_takes_a_limit() -> None:
    """Whoever writes settings, or decides about the whole cluster, has to have looked at all of its hosts."""
    limited = {path.stem for path in PLAYBOOKS if "raftd_may_be_limited: true" in path.read_text()}
    assert limited == {"restart", "upgrade", "verify"}
    looking = {path for path in PLAYBOOKS if "tasks_from: look" in path.read_text()}
    careful = {path for path in PLAYBOOKS if "tasks_from: everybody" in path.read_text()}
    assert looking == careful
    assert all("tasks_from: preflight" in path.read_text() for path in PLAYBOOKS if path not in careful)
