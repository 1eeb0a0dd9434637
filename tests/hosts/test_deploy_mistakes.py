"""What is refused before anything is changed, each with the line that mends it."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raftd.pki import create_authorities
from tests.hosts.controller import CLUSTER_ID, Controller, Run
from tests.hosts.fleet import Fleet
from tests.hosts.test_deploy_site import fingerprint

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(240, func_only=True)]

OTHER_ID = "11111111-2222-4333-8444-555555555555"


@pytest.fixture
def empty(fleet: Fleet, tmp_path: Path) -> Iterator[Controller]:
    """An inventory of the two spare hosts, which are empty, and are so afterwards."""
    names = [name for name in fleet.lab.hosts if name not in fleet.nodes]
    before = {name: fingerprint(fleet.lab[name]) for name in names}
    nodes = {name: node for node, name in enumerate(names, start=1)}
    yield Controller(fleet.lab, tmp_path / "empty", nodes, raftd_deb=fleet.variables["raftd_deb"])
    for name in names:
        assert fingerprint(fleet.lab[name]) == before[name]


def refused(controller: Controller, **variables: Any) -> Run:
    run = controller.play("site.yml", check=False, **variables)
    assert run.returncode != 0, run.output
    assert sum(run.changed.values()) == 0, run.output
    assert "nothing was changed" in run.text.lower()
    return run


def test_all_mistakes_of_the_inventory_are_told_at_once(empty: Controller) -> None:
    """Equal and missing ids, missing and malformed variables, and nothing to install: each with the line to write."""
    one, other = empty.nodes
    empty.nodes[other] = empty.nodes[one]
    for name in ("raftd_cluster_name", "raftd_deb"):
        del empty.variables[name]
    empty.variables["raftd_cluster_id"] = "mine"
    empty.variables["raftd_access"] = [{"user": "web", "prefix": "web/", "allow": ["read", "write"]}]
    empty.host_variables["unnumbered"] = {}
    empty.host_variables["odd"] = {"raftd_node_id": "first"}
    text = refused(empty).text
    assert re.search(r"raftd_cluster_name is missing. Under `vars` of the group raftd: `raftd_cluster_name: …`", text)
    assert "raftd_cluster_id: mine is no UUID. Make one: `uuidgen`" in text
    assert f"{other} and {one} both have the node id 1. Give one of them another" in text
    assert "unnumbered has no node id. In the inventory: `unnumbered: {raftd_node_id: N}`" in text
    assert "odd has the node id first, which is no number above 0" in text
    assert "one of: `raftd_deb: …/raftd_VERSION_all.deb`" in text
    assert 'Put a line back: `- {user: operator, prefix: "", allow: [read, write, admin]}`' in text


def test_an_even_number_of_voters_is_warned_of(empty: Controller) -> None:
    """Two voters are allowed, and it is said what they are worth."""
    run = empty.play("site.yml", "--check")
    assert "WARNING: 2 voters survive the loss of 0, as 1 would" in run.text


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("another", "is the package other, not raftd"),
        ("cut", "is cut off, or no Debian package that can be read here"),
        ("text", "is no Debian package"),
        ("absent", "cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_package(empty: Controller, tmp_path: Path, spoil: str, message: str) -> None:
    """A package that is not raftd, or not whole, or not there."""
    path = tmp_path / "wrong.deb"
    match spoil:
        case "another":
            (tmp_path / "tree/DEBIAN").mkdir(parents=True)
            control = (
                "Package: other\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example.org>\nDescription: x\n"
            )
            (tmp_path / "tree/DEBIAN/control").write_text(control)
            command = ["dpkg-deb", "-Zxz", "--build", str(tmp_path / "tree"), str(path)]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        case "cut":
            path.write_bytes(Path(str(empty.variables["raftd_deb"])).read_bytes()[:1000])
        case "text":
            path.write_text("no package")
        case _:
            pass
    empty.variables["raftd_deb"] = str(path)
    text = refused(empty).text
    assert message in text
    assert "Mend in the inventory: `raftd_deb: …`" in text


def test_certificates_of_another_cluster(empty: Controller) -> None:
    """Authorities of another cluster in the directory that the inventory names."""
    create_authorities(empty.pki, "other")
    text = refused(empty).text
    assert re.search(r"are not of the cluster lab:.? - raftd://other/", text), text
    assert "Mend `raftd_cluster_name`, or name this cluster's own directory: `raftd_pki_directory: …`" in text


def test_a_host_that_is_down(empty: Controller) -> None:
    """A host without power: the others stay as they are too."""
    name = next(iter(empty.nodes))
    host = empty.lab[name]
    host.cut_power()
    try:
        text = refused(empty, raftd_answer_seconds=2).text
    finally:
        host.power_on()
        host.until_up()
    assert re.search(rf"These hosts do not answer; nothing was changed:'? - {name} - ", text), text


def test_hosts_of_another_cluster(fleet: Fleet) -> None:
    """With another cluster's id, the hosts are known to belong to the cluster that they belong to."""
    fleet.variables["raftd_cluster_id"] = OTHER_ID
    try:
        text = refused(fleet).text
    finally:
        fleet.variables["raftd_cluster_id"] = CLUSTER_ID
    for name in fleet.nodes:
        assert f"{name} belongs to the cluster lab ({CLUSTER_ID})" in text
    assert f"or mend: `raftd_cluster_id: {CLUSTER_ID}`" in text


def test_a_member_that_is_not_in_the_inventory(fleet: Fleet) -> None:
    """A line that was taken out without removing the node, and one that was put in without adding it."""
    name, node = next(iter(fleet.nodes.items()))
    new = fleet.spare
    fleet.nodes = {other: number for other, number in fleet.nodes.items() if other != name} | {new: 900}
    try:
        text = refused(fleet).text
    finally:
        del fleet.nodes[new]
        fleet.nodes = {name: node} | fleet.nodes
    assert (
        f"node {node} is a member, and not in the inventory. Put its line back: `HOST: {{raftd_node_id: {node}}}`"
        in text
    )
    assert "to remove it, then `playbooks/remove-node.yml -e raftd_node=HOST`" in text
    assert f"{new} (node 900) is no member, and the cluster is founded. Add it" in text
