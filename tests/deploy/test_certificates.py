"""Certificates that playbooks make on the controller, by the raftctl of this tree."""

import sys
from pathlib import Path
from typing import Any, Final

import pytest

from raftd.pki import create_authorities, describe, issue_node, issue_user
from tests.deploy.playing import HERE, play_tasks

RAFTCTL: Final = Path(sys.executable).with_name("raftctl")
HOSTS: Final = {"n1": {"raftd_node_id": 1, **HERE}}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    """What site.yml has made for a node, the operator and one user."""
    directory = tmp_path / "pki"
    create_authorities(directory, "prod")
    issue_node(directory, 1, ["n1"])
    for name in ("operator", "web"):
        issue_user(directory, name)
    return directory


def play(directory: Path, pki: Path, users: list[str], *tasks: str) -> str:
    """What tasks of the role raftd_pki say, which have to succeed."""
    steps: list[dict[str, Any]] = [
        {"ansible.builtin.include_role": {"name": "raftd_pki", "tasks_from": name}} for name in tasks
    ]
    given: dict[str, Any] = {
        "raftd_pki_directory": str(pki),
        "raftd_pki_raftctl": str(RAFTCTL),
        "raftd_pki_users": users,
    }
    code, said = play_tasks(directory, steps, HOSTS, **given)
    assert code == 0, said
    return said


def test_users_certificates_are_renewed_too(tmp_path: Path, pki: Path) -> None:
    """Not the nodes' and the operator's alone; whose files are to be brought is said, and nobody new gets any."""
    before = {path: describe(path).fingerprint for path in pki.glob("[nu]*.crt")}
    assert len(before) == 4
    said = play(tmp_path, pki, ["web", "to-come"], "renew", "hand_over")
    assert {path for path in pki.glob("[nu]*.crt") if describe(path).fingerprint != before.get(path)} == before.keys()
    assert "Bring user-web.* to where they are used" in said


def test_without_users_nobody_is_sent_anywhere(tmp_path: Path, pki: Path) -> None:
    """The operator's files are on the hosts already."""
    assert "to where they are used" not in play(tmp_path, pki, [], "hand_over")
