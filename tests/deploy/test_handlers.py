"""How nodes are had to read changed files, played on this machine with a pretended raftctl and systemctl."""

from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from raftd.node import gateway
from tests.deploy.playing import DEPLOY, HERE, play_tasks, pretend

pytestmark = pytest.mark.timeout(300)

ROLE: Final = DEPLOY / "roles" / "raftd"
RAFTCTL: Final = """test -e {told} && {{ echo '[{{"waiting": ["limits.segment_size"]}}]'; exit 0; }}
echo "n1:7400: {reason}" >&2; exit {code}"""


def reloading() -> list[dict[str, Any]]:
    """The handlers of a reload, as tasks one after the other."""
    handlers: list[dict[str, Any]] = yaml.safe_load((ROLE / "handlers/main.yml").read_text())
    return [
        {key: value for key, value in each.items() if key != "notify"} for each in handlers if "reload" in str(each)
    ]


@pytest.mark.parametrize(
    ("code", "reason", "is_told"),
    [
        (7, "certificate expired", True),
        (1, gateway._DENIED.message, True),
        (1, "raftd.yaml: no such setting", False),
    ],
)
def test_a_node_that_does_not_let_the_operator_in_is_told_by_its_host(
    tmp_path: Path, code: int, reason: str, is_told: bool
) -> None:
    """Then raftctl is asked how it went, and what waits for a restart is told; settings that are refused fail."""
    told = tmp_path / "told"
    programs = pretend(tmp_path, "raftctl", RAFTCTL.format(told=told, reason=reason, code=code))
    pretend(tmp_path, "systemctl", f"test $1.$2 = reload.raftd@1.service && touch {told}")
    given = yaml.safe_load((ROLE / "vars/main.yml").read_text()) | {"raftd_bin": str(programs)}
    hosts = {"n1": {"raftd_node_id": 1, "raftd_host": {"is_active": True}, **HERE}}
    ended, said = play_tasks(tmp_path, reloading(), hosts, **given)
    assert (ended == 0) == is_told, said
    assert told.exists() == is_told
    assert ("(playbooks/restart.yml): limits.segment_size" in said) == is_told
