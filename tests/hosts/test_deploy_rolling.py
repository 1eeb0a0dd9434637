"""Playbooks that go from node to node while the cluster serves: no write fails meanwhile."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from raftd.errors import ExitCode
from raftd.pki import describe
from tests.hosts.cluster import unit_property
from tests.hosts.controller import OPERATOR, interrupt
from tests.hosts.fleet import Fleet
from tests.hosts.waiting import until_found
from tests.packaging.conftest import NEWER_VERSION

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(900, func_only=True)]

ROOTS_OWN: Final = "~/.config/raftd"
"""Where raftctl looks first for which cluster it is about."""
ENDING_SECONDS: Final = 15
"""How long certificates hold that are to end."""


def processes(fleet: Fleet) -> dict[str, str]:
    return {name: unit_property(fleet.lab[name], f"raftd@{node}", "MainPID") for name, node in fleet.nodes.items()}


def started_in_order(fleet: Fleet) -> list[str]:
    """The hosts, by when their nodes were started."""

    def started(name: str) -> int:
        return int(unit_property(fleet.lab[name], f"raftd@{fleet.nodes[name]}", "ExecMainStartTimestampMonotonic"))

    return sorted(fleet.nodes, key=started)


def test_restart(fleet: Fleet) -> None:
    """Every node has a new process; the leader came last; no write has failed.

    Which cluster it is about is said by the hosts' own file, and by none that root has for another one.
    """
    leader, before = fleet.leader(), processes(fleet)
    for name in fleet.nodes:
        fleet.lab[name].shell(f"mkdir -p {ROOTS_OWN} && echo 'endpoints: [127.0.0.1:1]' >{ROOTS_OWN}/raftctl.yaml")
    try:
        fleet.play_under_load("playbooks/restart.yml")
    finally:
        for name in fleet.nodes:
            fleet.lab[name].shell(f"rm -r {ROOTS_OWN}")
    after = processes(fleet)
    assert all(after[name] != before[name] for name in fleet.nodes)
    assert started_in_order(fleet)[-1] == leader


def test_nothing_is_stopped_that_the_others_cannot_do_without(fleet: Fleet) -> None:
    """With one node down, no other is restarted: it says why, and how to go on."""
    down = fleet.followers()[0]
    fleet.lab[down].shell(f"systemctl stop raftd@{fleet.nodes[down]}")
    up = [name for name in fleet.nodes if name != down]
    before = processes(fleet)
    # The node that is down may be restarted, which mends the cluster: it is the others' turn that is refused.
    fleet.lab[down].shell(f"systemctl mask --runtime raftd@{fleet.nodes[down]}")
    try:
        run = fleet.play("playbooks/restart.yml", check=False, raftd_stop_gate_seconds=2, raftd_ready_seconds=10)
    finally:
        fleet.lab[down].shell(f"systemctl unmask --runtime raftd@{fleet.nodes[down]}")
    assert run.returncode != 0
    assert "and goes no further" in run.text
    assert "run this playbook again" in run.text
    after = processes(fleet)
    assert [name for name in up if after[name] != before[name]] == []


@pytest.fixture
def older(fleet: Fleet, deb: Path) -> Iterator[Fleet]:
    """The cluster, on the version of this tree before the test and after it."""
    yield fleet
    fleet.variables["raftd_deb"] = str(deb)
    if any(NEWER_VERSION in status["version"] for status in fleet.statuses().values()):
        fleet.play("playbooks/rollback.yml")


def versions(fleet: Fleet) -> set[str]:
    """What runs, and what is installed."""
    running = {status["version"].split("+")[0] for status in fleet.statuses().values()}
    return running | {
        fleet.lab[name].shell("dpkg-query -W -f '${Version}' raftd").split("-")[0] for name in fleet.nodes
    }


def test_upgrade_and_rollback(older: Fleet, newer_deb: Path) -> None:
    """To the next version and back without a failed write, each time one by one; a second run does nothing."""
    (before,) = versions(older)
    leader = older.leader()
    older.variables["raftd_deb"] = str(newer_deb)
    older.play_under_load("playbooks/upgrade.yml")
    assert versions(older) == {NEWER_VERSION}
    assert started_in_order(older)[-1] == leader
    running = processes(older)
    assert older.play("playbooks/upgrade.yml").changed == dict.fromkeys(older.nodes, 0)
    assert processes(older) == running

    older.play_under_load("playbooks/rollback.yml")
    assert versions(older) == {before}
    refused = older.play("playbooks/rollback.yml", check=False)
    assert refused.returncode != 0
    assert "was taken back already" in refused.text
    refused = older.play("site.yml", check=False)
    assert f"and the inventory has {NEWER_VERSION}-1. Run `playbooks/upgrade.yml`" in refused.text
    assert sum(refused.changed.values()) == 0


def test_an_upgrade_that_was_interrupted_goes_back(older: Fleet, newer_deb: Path) -> None:
    """Killed with one node upgraded, it goes back from there by rollback.yml."""
    (before,) = versions(older)
    older.variables["raftd_deb"] = str(newer_deb)
    process = older.start("playbooks/upgrade.yml")
    try:
        until_found(lambda: NEWER_VERSION in versions(older), "the first node is upgraded", seconds=120, every=0.5)
    finally:
        interrupt(process)
    assert versions(older) == {before, NEWER_VERSION}
    older.until_well()
    older.play("playbooks/rollback.yml")
    assert versions(older) == {before}


def test_rotate_certs(fleet: Fleet) -> None:
    """Every certificate is a new one, on the controller, on the hosts and on the wire, without a restart.

    Where a node is down it goes no further and says so; run again, it is done.
    """
    down = fleet.followers()[0]
    fleet.lab[down].shell(f"systemctl stop raftd@{fleet.nodes[down]}")
    stopped = fleet.play("playbooks/rotate-certs.yml", check=False)
    assert stopped.returncode != 0
    assert f"It stopped at {down} (node {fleet.nodes[down]}), and goes no further" in stopped.text
    assert "run this playbook again" in stopped.text
    fleet.mend()
    names = [f"node-{node}.{port}.crt" for node in fleet.nodes.values() for port in ("peer", "client")]
    names.append(f"user-{OPERATOR}.crt")
    before, running = {name: describe(fleet.pki / name).fingerprint for name in names}, processes(fleet)
    fleet.play_under_load("playbooks/rotate-certs.yml")
    after = {name: describe(fleet.pki / name).fingerprint for name in names}
    assert all(after[name] != before[name] for name in names)
    check_served(fleet)
    assert processes(fleet) == running


def test_certificates_that_have_ended_are_rotated(fleet: Fleet) -> None:
    """The operator's and every node's: raftctl is let in nowhere, and rotate-certs.yml gets out of it all the same."""
    running = processes(fleet)
    raftctl = str(fleet.variables["raftd_pki_raftctl"])
    soon = ("--renew", "--days", str(ENDING_SECONDS / 86400), "--dir", str(fleet.pki))
    for node in fleet.nodes.values():
        subprocess.run([raftctl, "pki", "issue-node", "--node", str(node), *soon], check=True, timeout=60)
    subprocess.run([raftctl, "pki", "issue-user", OPERATOR, *soon], check=True, timeout=60)
    for name, node in fleet.nodes.items():
        host = fleet.lab[name]
        for file in (*fleet.pki.glob(f"node-{node}.*"), *fleet.pki.glob(f"user-{OPERATOR}.*")):
            (host.root / "etc/raftd/pki" / file.name).write_bytes(file.read_bytes())
        host.shell(f"systemctl reload raftd@{node}")
    until_found(
        lambda: fleet.any_host.run("raftctl", "status", check=False).returncode == ExitCode.TLS,
        "the certificates have ended",
        seconds=ENDING_SECONDS + 60,
        every=1.0,
    )
    refused = fleet.play("playbooks/restart.yml", check=False)
    assert refused.returncode != 0
    assert "Where certificates have run out: playbooks/rotate-certs.yml" in refused.text
    fleet.play("playbooks/rotate-certs.yml")
    check_served(fleet)
    assert processes(fleet) == running
    assert fleet.play("site.yml").changed == dict.fromkeys(fleet.nodes, 0)


def test_rotate_ca(fleet: Fleet) -> None:
    """New authorities have taken over, on the wire too, and of the old ones nothing is left; without a restart."""
    before, running = authorities(fleet), processes(fleet)
    fleet.play_under_load("playbooks/rotate-ca.yml")
    assert not before & authorities(fleet)
    assert len(authorities(fleet)) == 2
    assert {path.name for path in fleet.pki.glob("*-ca*.key")} == {"peer-ca.key", "client-ca.key"}
    check_served(fleet)
    assert processes(fleet) == running


def test_rotate_ca_goes_on_where_it_was(fleet: Fleet) -> None:
    """One step at a time, with the second one interrupted: run again, it takes what is left and nothing else."""
    before = authorities(fleet)
    fleet.play("playbooks/rotate-ca.yml", raftd_phase="trust-both")
    assert len(authorities(fleet)) == 4
    process = fleet.start("playbooks/rotate-ca.yml", raftd_phase="reissue")
    try:
        until_found(lambda: not stale(fleet), "certificates are new on the controller", seconds=120)
    finally:
        interrupt(process)
    fleet.play("playbooks/rotate-ca.yml")
    assert not before & authorities(fleet)
    check_served(fleet)


def authorities(fleet: Fleet) -> set[str]:
    """The fingerprints of those that are trusted, as the nodes have it on the wire."""
    return {each for row in served(fleet) for each in row["trusted_fingerprints"]}


def stale(fleet: Fleet) -> bool:
    """Whether the old authorities issue still."""
    return bool(list(fleet.pki.glob("*-ca.next.key")))


def served(fleet: Fleet) -> list[dict[str, Any]]:
    return fleet.json(fleet.any_host.name, "cert", "status")


def check_served(fleet: Fleet) -> None:
    """Each port serves the certificate that the controller has."""
    for row in served(fleet):
        assert row["fingerprint"] == describe(fleet.pki / f"node-{row['node']}.{row['port']}.crt").fingerprint, row
