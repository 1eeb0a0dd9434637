"""Playbooks for the worst days."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from raftd.cli.dump import Entry, Header, Writer
from tests.hosts.controller import CLUSTER_NAME
from tests.hosts.fleet import Fleet
from tests.hosts.lab import Lab

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(900, func_only=True)]


KEYS: Final = 500
"""With values of every byte there is."""


@pytest.fixture
def doomed(image: Path, deb: Path, tmp_path: Path) -> Iterator[Fleet]:
    """A cluster of three of its own, which does not outlive the test."""
    with Lab(image, ("d1", "d2", "d3")) as lab:
        fleet = Fleet(lab, tmp_path / "controller", deb)
        fleet.play("site.yml")
        yield fleet


def test_a_lost_quorum_is_recovered_with_what_is_left(doomed: Fleet) -> None:
    """Two of three hosts are lost: confirmed, and broken off in the middle, every key is back, and it grows."""
    doomed.raftctl("d1", "set", "kept", "value")
    for name in ("d1", "d2"):
        doomed.lab[name].cut_power()
    last = doomed.nodes["d3"]
    shown = doomed.play("playbooks/recover-quorum.yml", check=False, raftd_answer_seconds=2)
    assert shown.returncode != 0
    assert f"as -e raftd_confirm={CLUSTER_NAME}. Nothing was changed" in shown.text
    assert doomed.lab["d3"].shell(f"systemctl is-active raftd@{last}") == "active"
    confirmed: dict[str, Any] = {"raftd_answer_seconds": 2, "raftd_confirm": CLUSTER_NAME}
    # The data is the new cluster's by then, and raftd.yaml cannot be written.
    broken = doomed.play(
        "playbooks/recover-quorum.yml", check=False, raftd_settings={"no_such_setting": 1}, **confirmed
    )
    assert broken.returncode != 0
    assert "Write raftctl.yaml" not in broken.text
    old_data = f"ls -d /var/lib/raftd/{last}.before-recovery-*"
    kept = doomed.lab["d3"].shell(old_data)
    done = doomed.play("playbooks/recover-quorum.yml", **confirmed)
    assert doomed.raftctl("d3", "get", "kept") == "value\n"
    assert doomed.lab["d3"].shell(old_data) == kept

    told = re.search(r"`raftd_cluster_id: ([0-9a-f-]{36})`", done.text)
    assert told is not None
    doomed.variables["raftd_cluster_id"] = told[1]
    doomed.nodes = {"d3": last}
    host = doomed.lab["d1"]
    host.power_on()
    host.until_up()
    doomed.nodes["d1"] = doomed.new_id()
    refused = doomed.play("playbooks/add-node.yml", check=False, raftd_node="d1")
    assert "d1 belongs to the cluster lab" in refused.text
    doomed.play("playbooks/destroy.yml", raftd_hosts="d1", raftd_confirm=CLUSTER_NAME)
    doomed.play("playbooks/add-node.yml", raftd_node="d1")
    assert doomed.raftctl("d1", "get", "kept") == "value\n"
    assert {tuple(status["membership"]["voters"]) for status in doomed.status("d1")} == {(3, 4)}

    refused = doomed.play("playbooks/destroy.yml", check=False)
    assert refused.returncode != 0
    assert sum(refused.changed.values()) == 0


def exported(fleet: Fleet) -> list[str]:
    """All keys and values, a line each."""
    return fleet.raftctl(fleet.any_host.name, "export").splitlines()[1:-1]


def test_a_backup_comes_back_in_new_hosts(fleet: Fleet, tmp_path: Path) -> None:
    """Backed up, destroyed, founded anew on machines that never had a node, restored: all keys are back, and no other.

    A backup that was cut in the middle is refused, and changes nothing.
    """
    name = fleet.any_host.name
    writer = Writer()
    entries = [
        Entry(f"kept/{number}".encode(), bytes(range(256)) * 4 + bytes([number % 256])) for number in range(KEYS)
    ]
    dump = writer.header(Header(0, b"", KEYS)) + b"".join(map(writer.entry, entries)) + writer.end()
    fleet.any_host.put("/srv/keys.jsonl", dump)
    fleet.raftctl(name, "import", "/srv/keys.jsonl")
    before = exported(fleet)
    assert len(before) >= KEYS

    backups = tmp_path / "backups"
    fleet.play("playbooks/backup.yml", raftd_backup_directory=str(backups))
    (backup,) = backups.iterdir()
    fleet.play("playbooks/destroy.yml", raftd_confirm=CLUSTER_NAME)
    for each in fleet.nodes:
        fleet.lab.renew(each)
    for each in fleet.nodes:
        fleet.lab[each].until_up()
    fleet.play("site.yml")
    fleet.raftctl(name, "set", "late", "value")

    cut = tmp_path / "cut.snapshot"
    content = backup.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    restore = "playbooks/restore.yml"
    refused = fleet.play(restore, check=False, raftd_backup=str(cut), raftd_confirm=CLUSTER_NAME)
    assert refused.returncode != 0
    assert sum(refused.changed.values()) == 0
    assert str(cut) in refused.text
    assert len(exported(fleet)) == 1

    fleet.play(restore, raftd_backup=str(backup), raftd_confirm=CLUSTER_NAME)
    assert exported(fleet) == before
