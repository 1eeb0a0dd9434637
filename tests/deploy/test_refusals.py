"""What playbooks refuse, where that can be seen without a cluster: played on this machine."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.deploy.playing import DEPLOY, HERE, ansible, play_tasks, pretend, tasks_of_raftd

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(
    ("playbook", "variables", "message"),
    [
        ("remove-node", {"raftd_node": "n1"}, "n1 is taken out by another host of the cluster, and there is none"),
        (
            "replace-node",
            {"raftd_old": "n1", "raftd_new": "n2"},
            "n1 is taken out by another host of the cluster, and there is none",
        ),
        (
            "rotate-ca",
            {"raftd_phase": "trust_both"},
            "There is no step trust_both. Take one of: -e raftd_phase=trust-both",
        ),
    ],
)
def test_refused_before_anything_is_looked_at(
    tmp_path: Path, playbook: str, variables: dict[str, str], message: str
) -> None:
    """Members that nobody is left to take out, and a step that there is not."""
    names = sorted(value for name, value in variables.items() if name != "raftd_phase") or ["n1"]
    hosts = {name: {"raftd_node_id": number, **HERE} for number, name in enumerate(names, 1)}
    code, said = ansible(tmp_path, DEPLOY / "playbooks" / f"{playbook}.yml", hosts, **variables)
    assert code != 0
    assert message in said
    assert "Nothing was changed" in said
    assert "Look at the package" not in said


def test_all_steps_of_a_rotation_need_not_be_named(tmp_path: Path) -> None:
    """Without a step it goes on to the inventory, which has mistakes here."""
    code, said = ansible(tmp_path, DEPLOY / "playbooks" / "rotate-ca.yml", {"n1": {"raftd_node_id": 1, **HERE}})
    assert code != 0
    assert "raftd_cluster_name is missing" in said


CLUSTER: Final = {
    "raftd_cluster_name": "prod",
    "raftd_cluster_id": "00000000-0000-4000-8000-000000000001",
    "raftd_deb": "raftd.deb",
}


@pytest.mark.parametrize(
    ("playbook", "variables"),
    [
        ("site", {}),
        ("playbooks/recover-quorum", {}),
        ("playbooks/destroy", {}),
        ("playbooks/destroy", {"raftd_hosts": "n2"}),
    ],
)
def test_no_host_is_left_out(tmp_path: Path, playbook: str, variables: dict[str, str]) -> None:
    """Those that --limit leaves out may know of a founded cluster, and of its leader."""
    hosts = {f"n{number}": {"raftd_node_id": number, **HERE} for number in (1, 2, 3)}
    path = DEPLOY / f"{playbook}.yml"
    code, said = ansible(tmp_path, path, hosts, options=("--limit", "n2,n3"), **CLUSTER, **variables)
    assert code != 0
    assert "--limit leaves n1 out" in said
    assert "Nothing was changed" in said
    assert "Look at each host" not in said


def test_the_example_s_cluster_id_is_refused(tmp_path: Path) -> None:
    """Whoever copies the inventory makes an id: two clusters of one id would take each other's nodes for their own."""
    example = yaml.safe_load((DEPLOY / "inventories/example/group_vars/raftd.yml").read_text())
    given = {**CLUSTER, "raftd_cluster_id": example["raftd_cluster_id"]}
    code, said = ansible(tmp_path, DEPLOY / "site.yml", {"n1": {"raftd_node_id": 1, **HERE}}, **given)
    assert code != 0
    assert "is the example's, and so that of others too. Make one with `uuidgen`" in said
    assert "nothing was changed" in said


@pytest.mark.parametrize("has_authorities", [False, True])
@pytest.mark.parametrize(("script", "reason"), [(None, ""), ("echo broken >&2; exit 1", "broken")])
def test_a_controller_without_raftctl(tmp_path: Path, script: str | None, reason: str, has_authorities: bool) -> None:
    """It says which variable names one, whether certificates are there already or still to be made."""
    raftctl = tmp_path / "bin" / "raftctl"
    if script is not None:
        pretend(tmp_path, raftctl.name, script)
    if has_authorities:
        (tmp_path / "peer-ca.crt").touch()
    given = {**CLUSTER, "raftd_pki_raftctl": str(raftctl), "raftd_pki_directory": str(tmp_path)}
    hosts = {"n1": {"raftd_node_id": 1, **HERE}}
    code, said = play_tasks(tmp_path, [tasks_of_raftd("preflight_controller")], hosts, **given)
    assert code != 0
    assert "does not do its work; nothing was changed" in said
    assert f"{raftctl}: {reason}" in said
    assert "Mend in the inventory: `raftd_pki_raftctl: …`" in said
    assert "Look at the package" not in said


@pytest.mark.parametrize(("installed", "may", "seconds"), [(None, True, 86400), (None, False, 0), ("1.2-1", True, 0)])
def test_lists_of_packages_are_fetched_before_the_first_installation(
    tmp_path: Path, installed: str | None, may: bool, seconds: int
) -> None:
    """A host that has none, as images do, cannot satisfy what the package depends on; afterwards nothing is asked."""
    tasks = yaml.safe_load((DEPLOY / "roles/raftd/tasks/install_deb.yml").read_text())
    (task,) = (each for each in tasks if "ansible.builtin.apt" in each)
    apt = task["ansible.builtin.apt"]
    show = {"ansible.builtin.debug": {"msg": f"fetch {apt['update_cache']} {apt['cache_valid_time']}."}}
    hosts = {"n1": {"raftd_host": {"package": installed}, "raftd_common_update_cache": may, **HERE}}
    code, said = play_tasks(tmp_path, [{**show, "vars": task["vars"]}], hosts)
    assert code == 0, said
    assert f"fetch {seconds > 0} {seconds}." in said


@pytest.mark.parametrize(
    ("known", "asks_apt"),
    [
        ("printf 'installed '", False),
        ("printf 'installed config-files '", True),
        ("printf 'installed '; echo no packages found >&2; exit 1", True),
    ],
)
def test_apt_is_not_asked_for_what_is_there(tmp_path: Path, known: str, asks_apt: bool) -> None:
    """A host without a way out has what it needs from its image, and no lists can be fetched on it."""
    pretend(tmp_path, "dpkg-query", known)
    tasks = yaml.safe_load((DEPLOY / "roles/raftd_common/tasks/main.yml").read_text())
    place = next(number for number, each in enumerate(tasks) if "ansible.builtin.apt" in each)
    show = {"ansible.builtin.debug": {"msg": "apt is asked."}, "when": tasks[place]["when"]}
    hosts = {"n1": {"raftd_common_packages": ["python3-venv"], **HERE}}
    code, said = play_tasks(tmp_path, [tasks[place - 1], show], hosts)
    assert code == 0, said
    assert ("apt is asked." in said) == asks_apt


REFUSED: Final = {"code": 7, "error": "its certificate expired", "is_tls": True, "is_denied": False}
BROKEN: Final = {"code": 78, "error": "endpoints are missing", "is_tls": False, "is_denied": False}
DENIED: Final = {"code": 1, "error": "no such right", "is_tls": False, "is_denied": True}
RUNNING: Final[dict[str, tuple[int, dict[str, Any] | None, bool, bool, str]]] = {
    # Who leads, why it could not be asked, whether all nodes run, whether certificates are renewed; then what is said.
    "led": (2, None, True, False, ""),
    "not led": (0, None, True, True, "No node leads. Start the nodes that are down"),
    "refused": (
        0,
        REFUSED,
        True,
        False,
        "could not be asked (its certificate expired). Where certificates have run out: pl",
    ),
    "renewed": (0, REFUSED, True, True, ""),
    "renewed and down": (0, REFUSED, False, True, "expired). Start the nodes that are down, on n1, n2"),
    "broken": (0, BROKEN, True, True, "could not be asked (endpoints are missing). Mend that first"),
    "denied": (0, DENIED, True, False, "(no such right). Let operator in by raftd_access, and run site.yml. Nothing"),
}


@pytest.mark.parametrize("case", RUNNING)
def test_certificates_are_renewed_also_after_their_end(tmp_path: Path, case: str) -> None:
    """Nobody says who leads then, so it takes that all nodes run; everything else still takes a leader."""
    leader, unasked, is_active, renews, message = RUNNING[case]
    about = {"unasked": unasked, "is_active": is_active, "has_data": True}
    hosts = {f"n{number}": {"raftd_node_id": number, "raftd_host": about, **HERE} for number in (1, 2)}
    given = {
        "raftd_is_founded": True,
        "raftd_leader_id": leader,
        "raftd_unasked": ["n1", "n2"] if unasked else [],
        "raftd_may_be_refused": renews,
        "raftd_member_ids": [1, 2],
        "raftd_leaving": [],
        "raftd_founders_may_come": False,
    }
    code, said = play_tasks(tmp_path, [tasks_of_raftd("running")], hosts, on="n1", **given)
    assert (code == 0) == (message == ""), said
    assert message in said


@pytest.mark.parametrize(("leaving", "message"), [([], "There is no node yet on n2: run site.yml."), (["n2"], "")])
def test_a_founder_that_has_not_begun_is_not_passed_over(tmp_path: Path, leaving: list[str], message: str) -> None:
    """The others lead already, and it would be written off as one that lost its data; unless it is to go."""
    hosts = {
        f"n{number}": {
            "raftd_node_id": number,
            "raftd_host": {"unasked": None, "is_active": True, "has_data": number != 2},
            **HERE,
        }
        for number in (1, 2, 3)
    }
    given = {
        "raftd_is_founded": True,
        "raftd_leader_id": 1,
        "raftd_unasked": [],
        "raftd_may_be_refused": False,
        "raftd_member_ids": [1, 2],
        "raftd_leaving": leaving,
        "raftd_founders_may_come": True,
    }
    code, said = play_tasks(tmp_path, [tasks_of_raftd("running")], hosts, on="n1", **given)
    assert (code == 0) == (message == ""), said
    assert message in said


DESTROY: Final[dict[str, tuple[int, list[str], list[str], dict[str, Any], str]]] = {
    # By whom it is led, who could not ask, who does not answer, what is known besides; then what is said.
    "running": (2, [], [], {}, "n1 is a member of a running cluster. First: playbooks/remove-node.yml -e raftd_node=n"),
    "not asked": (0, ["n1"], [], {}, "whether that runs could not be asked on n1. If you know that no node leads"),
    "not heard of": (0, [], ["n2", "n3"], {}, "whether that runs could not be asked on n2, n3"),
    "known": (0, ["n1"], ["n2"], {"raftd_nobody_leads": True}, ""),
    "stopped": (0, [], [], {}, ""),
    "all of it": (2, [], [], {"raftd_hosts": None}, ""),
    "no member": (2, [], ["n2"], {"raftd_member_ids": [2, 3]}, ""),
}


@pytest.mark.parametrize("case", DESTROY)
def test_a_member_is_not_destroyed(tmp_path: Path, case: str) -> None:
    """Unless the whole cluster is, or no node leads, which has to be known and not only not be heard of."""
    leader, unasked, silent, more, message = DESTROY[case]
    given: dict[str, Any] = {"raftd_leader_id": leader, "raftd_unasked": unasked, "raftd_member_ids": [1, 2, 3]}
    given |= {"raftd_hosts": "n1", **more}
    if given["raftd_hosts"] is None:
        del given["raftd_hosts"]
    hosts = {
        f"n{number}": {"raftd_node_id": number, "raftd_answers": f"n{number}" not in silent, **HERE}
        for number in (1, 2, 3)
    }
    code, said = play_tasks(tmp_path, [tasks_of_raftd("destroy_check")], hosts, on="n1", **given)
    assert (code == 0) == (message == ""), said
    assert message in said


SYSTEMCTL: Final = """case $1 in
show) printf 'LoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n';;
is-enabled) echo enabled;;
*) echo "$@" >>{log};;
esac"""


def test_a_member_is_not_retired(tmp_path: Path) -> None:
    """Its node is stopped for good only once the cluster says, to another host too, that it is no member."""
    log = tmp_path / "log"
    pretend(tmp_path, "systemctl", SYSTEMCTL.format(log=log))
    steps: list[dict[str, Any]] = []
    for name, role in (("before", "voter"), ("after", "no member")):
        rows = [{"node": 1, "role": role}, {"node": 2, "role": "voter, leader"}]
        (tmp_path / name).mkdir()
        programs = pretend(tmp_path / name, "raftctl", f"test $3.$4 = member.list && echo '{json.dumps(rows)}'")
        steps.append(
            {
                "block": [tasks_of_raftd("retire", raftd_bin=str(programs))],
                "rescue": [{"ansible.builtin.debug": {"msg": "{{ ansible_failed_result.msg }}"}}],
            }
        )
        steps.append({"ansible.builtin.command": {"argv": ["touch", str(log)]}})
        steps.append({"ansible.builtin.command": {"argv": ["cp", str(log), str(tmp_path / f"log-{name}")]}})
    hosts = {f"n{number}": {"raftd_node_id": number, "raftd_answers": True, **HERE} for number in (1, 2)}
    code, said = play_tasks(tmp_path, steps, hosts, on="n1")
    assert code == 0, said
    assert "Node 1 is a member of the cluster (1, 2), and was not taken out of it: n1 was not stopped" in said
    assert (tmp_path / "log-before").read_text() == ""
    done = (tmp_path / "log-after").read_text()
    assert "stop raftd@1.service" in done
    assert "disable raftd@1.service" in done


INVENTORY_MISTAKES: Final = DEPLOY / "roles/raftd/templates/inventory_mistakes.j2"
ACCESS: Final[tuple[tuple[list[dict[str, Any]] | None, bool], ...]] = (
    ([{"user": "operator", "prefix": "", "allow": ["read", "write", "admin"]}], True),
    ([{"user": "web", "allow": ["read"]}, {"user": "oper*", "allow": ["admin"]}], True),
    ([{"user": "operator", "allow": ["read", "write"]}, {"user": "web", "allow": ["admin"]}], False),
    ([{"user": "operators", "allow": ["admin"]}, {"user": "op", "allow": ["admin"]}, {"user": "operator"}], False),
    ([], False),
    (None, False),
)


def test_nobody_locks_the_playbooks_out(tmp_path: Path) -> None:
    """Access by which the operator administers nothing is a mistake, with the line to write."""
    hosts = {f"n{number}": {"raftd_access": access, **HERE} for number, (access, _) in enumerate(ACCESS, 1)}
    mistake = "raftd_access lets nobody in whom these playbooks act as. Put a line back: `- {user: operator, prefix:"
    told = f"'{mistake}' in lookup('ansible.builtin.template', '{INVENTORY_MISTAKES}')"
    show = f"{{{{ inventory_hostname }}}} {{{{ 'is refused' if {told} else 'is taken' }}}}"
    given = {"raftd_operator": "operator", "raftd_deb": "raftd.deb", "raftd_wheelhouse": ""}
    code, said = play_tasks(tmp_path, [{"ansible.builtin.debug": {"msg": show}}], hosts, **given)
    assert code == 0, said
    for number, (_, lets_in) in enumerate(ACCESS, 1):
        assert f"n{number} is {'taken' if lets_in else 'refused'}" in said


BACKUP_ID, OTHER_ID = (f"00000000-0000-4000-8000-00000000000{number}" for number in (2, 3))
RESTORES: Final[dict[str, tuple[str, str | None, str]]] = {
    # The inventory's id, what -e raftd_from_cluster says; then what is said.
    "own": (BACKUP_ID, None, ""),
    "another's": (OTHER_ID, None, f"prod ({BACKUP_ID}), and the inventory names prod ({OTHER_ID}). If that is meant"),
    "meant": (OTHER_ID, BACKUP_ID, ""),
    "mistaken": (OTHER_ID, OTHER_ID, f"prod ({BACKUP_ID}), and not of {OTHER_ID}. If that is meant"),
}


@pytest.mark.parametrize("case", RESTORES)
def test_another_cluster_s_backup_is_not_restored(tmp_path: Path, case: str) -> None:
    """Unless its id is given, and only then raftctl is told that it may be another's."""
    cluster_id, from_cluster, message = RESTORES[case]
    log, backup = tmp_path / "log", tmp_path / "backup"
    backup.touch()
    about = json.dumps({"cluster": "prod", "cluster_id": BACKUP_ID})
    programs = pretend(tmp_path, "raftctl", f"echo \"$@\" >>{log}; echo '{about}'")
    given = {
        "raftd_bin": str(programs),
        "raftd_pki_raftctl": str(programs / "raftctl"),
        "raftd_backup": str(backup),
        "raftd_cluster_name": "prod",
        "raftd_cluster_id": cluster_id,
    } | ({"raftd_from_cluster": from_cluster} if from_cluster else {})
    steps = [tasks_of_raftd("restore_check"), tasks_of_raftd("restore")]
    code, said = play_tasks(tmp_path, steps, {"n1": {"raftd_node_id": 1, **HERE}}, **given)
    assert (code == 0) == (message == ""), said
    assert message in said
    called = log.read_text()
    assert ("--yes prod" in called) == (message == "")
    assert (f"--from-cluster {BACKUP_ID}" in called) == (case == "meant")
