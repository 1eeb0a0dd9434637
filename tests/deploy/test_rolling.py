"""One node's turn in a rolling playbook: what is asked before it, and waited for after. raftctl is a pretended one."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.deploy.playing import DEPLOY, HERE, play_tasks, pretend, tasks_of_raftd

pytestmark = pytest.mark.timeout(300)

RAFTCTL: Final = """echo "raftctl $@" >>{log}
shift 2
case $1 in
can-stop) echo '{verdict}'; exit {may_stop};;
wait-ready) exit {is_ready};;
esac"""
SYSTEMCTL: Final = """case $1 in
show) printf 'LoadState=loaded\\nActiveState=active\\n';;
*) echo "systemctl $@" >>{log};;
esac"""
ASKED: Final = "raftctl --config /etc/raftd/raftctl.yaml can-stop 2 --output json"
RESTARTED: Final = "systemctl restart raftd@2.service"
WAITED: Final = "raftctl --config /etc/raftd/raftctl.yaml wait-ready 2 --timeout 120s --commit-index 4711 --voters 3"


def turn(directory: Path, *, may_stop: int = 0, is_ready: int = 0) -> tuple[int, str, list[str]]:
    """Restart node 2 where raftctl answers so: the exit code, what was said, and what was called, each call once."""
    log = directory / "log"
    verdict = json.dumps({"reasons": ["the quorum would be lost"], "voters": [1, 2, 3], "commit_index": 4711})
    script = RAFTCTL.format(log=log, verdict=verdict, may_stop=may_stop, is_ready=is_ready)
    programs = pretend(directory, "raftctl", script)
    pretend(directory, "systemctl", SYSTEMCTL.format(log=log))
    given: dict[str, Any] = {"raftd_bin": str(programs), "raftd_turn": "restart", "raftd_stop_gate_seconds": 2}
    code, said = play_tasks(directory, [tasks_of_raftd("roll")], {"n2": {"raftd_node_id": 2, **HERE}}, **given)
    return code, said, list(dict.fromkeys(log.read_text().splitlines()))


def test_a_node_is_asked_for_stopped_and_waited_for(tmp_path: Path) -> None:
    """It has to come back to what was committed before its stop, and to as many voters as there were."""
    code, said, called = turn(tmp_path)
    assert code == 0, said
    assert called == [ASKED, RESTARTED, WAITED]


def test_a_node_that_is_needed_is_left_alone(tmp_path: Path) -> None:
    """The cluster's reasons are told, and nothing is done."""
    code, said, called = turn(tmp_path, may_stop=8)
    assert code != 0
    assert "Node 2 must not be stopped now" in said
    assert "the quorum would be lost" in said
    assert called == [ASKED]


def test_a_node_that_does_not_come_back_ends_the_playbook(tmp_path: Path) -> None:
    """It goes no further, and says where it stopped."""
    code, said, called = turn(tmp_path, is_ready=5)
    assert code != 0
    assert "It stopped at n2 (node 2), and goes no further" in said
    assert called == [ASKED, RESTARTED, WAITED]


def test_whoever_goes_from_node_to_node_goes_through_these_gates() -> None:
    """Each playbook with a node at a time takes its turns by `roll`, which the two gates enclose."""
    plays = {path.stem: yaml.safe_load(path.read_text()) for path in DEPLOY.glob("playbooks/**/*.yml")}
    turns = {
        name: [task["ansible.builtin.import_role"]["tasks_from"] for task in play["tasks"]]
        for name, each in plays.items()
        for play in each
        if "serial" in play
    }
    # What upgrade.yml installs before stops nothing: it is a package of which there are no programs.
    assert turns == {"restart": ["roll"], "rollback": ["roll"], "upgrade": ["install", "roll"]}
    (task,) = yaml.safe_load((DEPLOY / "roles/raftd/tasks/roll.yml").read_text())
    first, *_, last = task["block"]
    assert (first["ansible.builtin.import_tasks"], last["ansible.builtin.import_tasks"]) == (
        "stop_gate.yml",
        "ready_gate.yml",
    )
