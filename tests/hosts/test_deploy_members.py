"""Playbooks that change who belongs to the cluster: no write fails meanwhile, and raftd.yaml follows on every host."""

from functools import partial

import pytest

from tests.hosts.controller import interrupt
from tests.hosts.fleet import Fleet
from tests.hosts.waiting import until_found

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(900, func_only=True)]


def voters(fleet: Fleet) -> set[int]:
    """Whom all nodes take for voters."""
    (found,) = {tuple(status["membership"]["voters"]) for status in fleet.statuses().values()}
    return set(found)


def check_settled(fleet: Fleet) -> None:
    """The voters are the inventory's nodes, and the files agree with that."""
    assert voters(fleet) == set(fleet.nodes.values())
    assert {row["settings"] for row in fleet.json(fleet.any_host.name, "member", "list")} == {"ok"}
    for name in fleet.nodes:
        assert '"joins"' not in (fleet.lab[name].root / "etc/raftd/raftd.yaml").read_text()


def test_add_and_remove(fleet: Fleet) -> None:
    """A fourth node comes, and the one that leads goes, with its host made empty again; no write has failed."""
    name = fleet.spare
    fleet.nodes[name] = fleet.new_id()
    fleet.play_under_load("playbooks/add-node.yml", raftd_node=name)
    check_settled(fleet)
    again = fleet.play("playbooks/add-node.yml", raftd_node=name)
    assert again.changed == dict.fromkeys(fleet.nodes, 0)

    leader = fleet.leader()
    refused = fleet.play("playbooks/destroy.yml", raftd_hosts=leader, raftd_confirm="lab", check=False)
    assert "is a member of a running cluster" in refused.text
    fleet.play_under_load("playbooks/remove-node.yml", raftd_node=leader)
    host = fleet.lab[leader]
    assert host.run("systemctl", "is-enabled", f"raftd@{fleet.nodes[leader]}", check=False).stdout == "disabled\n"
    fleet.play("playbooks/remove-node.yml", raftd_node=leader)
    refused = fleet.play("site.yml", check=False)
    assert f"{leader} (node {fleet.nodes[leader]}) is no member any more. Take its line out" in refused.text
    mounted = "/var/lib/raftd/mounted"
    host.shell(f"mkdir {mounted} && mount -t tmpfs tmpfs {mounted} && touch {mounted}/of-a-node")
    fleet.retire(leader)
    assert host.shell("find /var/lib/raftd") == f"/var/lib/raftd\n{mounted}"
    host.shell(f"umount {mounted} && rmdir {mounted} /var/lib/raftd")
    left = "find /etc /opt /usr /var/lib /var/cache -xdev -iname '*raft[dc]*' -not -path '/usr/lib/python3/*'"
    assert host.shell(f"{left} -not -path '/var/cache/man/*'") == ""
    check_settled(fleet)
    assert fleet.play("site.yml").changed == dict.fromkeys(fleet.nodes, 0)


def test_replace(fleet: Fleet) -> None:
    """A new host takes the place of one that runs, in one step; no write has failed."""
    old, new = fleet.followers()[0], fleet.spare
    fleet.nodes[new] = fleet.new_id()
    fleet.play_under_load("playbooks/replace-node.yml", raftd_old=old, raftd_new=new)
    fleet.retire(old)
    check_settled(fleet)


def test_replace_one_that_is_lost_and_be_interrupted(fleet: Fleet) -> None:
    """A new host takes the place of one without power; killed in the middle, the playbook goes on when run again."""
    old, new = fleet.leader(), fleet.spare
    node = fleet.new_id()
    fleet.lab[old].cut_power()
    fleet.nodes = {name: node for name, node in fleet.nodes.items() if name != old} | {old: fleet.nodes[old], new: node}
    process = fleet.start("playbooks/replace-node.yml", raftd_old=old, raftd_new=new, raftd_answer_seconds=2)
    try:
        is_there = ("systemctl", "is-active", "--quiet", f"raftd@{node}")
        found = partial(fleet.lab[new].run, *is_there, check=False)
        until_found(lambda: found().returncode == 0, "it waits", seconds=180, every=0.5)
    finally:
        interrupt(process)
    fleet.play("playbooks/replace-node.yml", raftd_old=old, raftd_new=new, raftd_answer_seconds=2)
    gone = fleet.nodes.pop(old)
    check_settled(fleet)
    host = fleet.lab[old]
    host.power_on()
    host.until_up()
    # Back from the dead it harms nobody; and it is told of, should somebody put it into the inventory again.
    fleet.nodes[old] = gone
    assert f"{old} (node {gone}) is no member any more" in fleet.play("site.yml", check=False).text
    host.shell(f"systemctl disable --now raftd@{gone}")
    fleet.retire(old)
    check_settled(fleet)


def test_a_host_that_lost_its_disk_does_not_begin_anew(fleet: Fleet) -> None:
    """site.yml refuses a member without data, and says that a new node has to take its place; nothing is changed."""
    name = fleet.followers()[0]
    node = fleet.nodes[name]
    host = fleet.lab[name]
    host.shell(f"systemctl stop raftd@{node} && mv /var/lib/raftd/{node} /var/lib/raftd-lost")
    try:
        refused = fleet.play("site.yml", check=False)
        assert f"{name} (node {node}) is a member, and its data is gone" in refused.text
        assert f"replace-node.yml -e raftd_old={name}" in refused.text
        assert sum(refused.changed.values()) == 0
    finally:
        host.shell(f"rm -rf /var/lib/raftd/{node} && mv /var/lib/raftd-lost /var/lib/raftd/{node}")
