"""What an operator's commands say on the hosts: to root, and to somebody who only belongs to raftd's group."""

import base64
import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from raftd.errors import ExitCode
from tests.hosts.fleet import Fleet
from tests.hosts.host import Host

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(240, func_only=True)]

MEMBER: Final = "ops"
STRANGER: Final = "guest"
CANARY: Final = "canary-7f3b1c9e5d"
"""A key and a value that must be found nowhere."""


@pytest.fixture
def host(fleet: Fleet) -> Iterator[Host]:
    """A host of the cluster with two ordinary users: one may read raftctl's certificate and the journal, one not."""
    host = fleet.any_host
    host.shell(
        f"useradd --create-home --groups raftd,systemd-journal {MEMBER}; useradd --create-home {STRANGER}; "
        f"raftctl set {CANARY} {CANARY}"
    )
    yield host
    host.shell(f"raftctl del {CANARY}; userdel --force --remove {MEMBER}; userdel --force --remove {STRANGER}")


def as_user(user: str, command: str) -> list[str]:
    return ["runuser", "--login", user, "--command", command]


def findings(host: Host, *command: str) -> list[dict[str, Any]]:
    """What `raftctl doctor` says, whether it is content or not."""
    ended = host.run(*command, check=False)
    assert ended.returncode in {ExitCode.OK, ExitCode.UNHEALTHY}, ended.stderr
    assert ended.stderr == ""
    rows: list[dict[str, Any]] = json.loads(ended.stdout)
    return rows


def test_doctor_finds_a_deployed_host_well(fleet: Fleet, host: Host) -> None:
    """To root on a node's host nothing is bad and nothing unknown: also disk, modes and certificates of that host."""
    node = fleet.nodes[host.name]
    found = findings(host, "raftctl", "doctor", "--node", str(node), "--output", "json")
    assert [each for each in found if each["result"] in {"bad", "not known"}] == []
    assert any(each["of"] == f"node {node}, measured here" for each in found)
    looked_at = " ".join(each["found"] for each in found)
    for path in (f"/var/lib/raftd/{node} has mode 0700", "/etc/raftd/raftd.yaml has mode 0640"):
        assert path in looked_at
    print(*(each for each in found if each["result"] != "ok"), sep="\n")


def test_doctor_finds_what_is_wrong_with_a_host(fleet: Fleet, host: Host) -> None:
    """A data directory that others may read and a node that is down are bad, and it is said what to do."""
    down = next(name for name in fleet.nodes if name != host.name)
    node, stopped = fleet.nodes[host.name], fleet.nodes[down]
    data = f"/var/lib/raftd/{node}"
    try:
        host.shell(f"chmod 0755 {data}")
        fleet.lab[down].shell(f"systemctl stop raftd@{stopped}")
        found = findings(host, "raftctl", "doctor", "--node", str(node), "--problems", "--output", "json")
    finally:
        host.shell(f"chmod 0700 {data}")
        fleet.lab[down].shell(f"systemctl start raftd@{stopped}")
    advice = {(each["of"], each["advice"]) for each in found if each["result"] == "bad"}
    assert any(of.startswith(f"node {node}") and f"chmod 0700 {data}" in told for of, told in advice), found
    assert any(of.startswith(f"node {stopped}") for of, _ in advice), found


def test_doctor_says_what_it_may_not_see(fleet: Fleet, host: Host) -> None:
    """Without root's rights the node's disk is not known, with what to do; without the group's, one line says why."""
    node = fleet.nodes[host.name]
    found = findings(host, *as_user(MEMBER, f"raftctl doctor --node {node} --output json"))
    unknown = [each for each in found if each["result"] == "not known"]
    assert [(each["check"], "as root" in each["advice"]) for each in unknown] == [("disk", True)]
    refused = host.run(*as_user(STRANGER, "raftctl doctor"), check=False)
    assert refused.returncode != 0
    assert len(refused.stderr.splitlines()) == 1, refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("user", ["root", MEMBER])
def test_debug_gathers_everything_but_secrets(fleet: Fleet, host: Host, user: str) -> None:
    """One archive, its user's alone, with all nodes and the journal; no key, no value, no line of any private key."""
    said = host.shell(f"runuser --login {user} --command 'umask 022; raftctl debug'")
    (name,) = said.splitlines()
    home = "/root" if user == "root" else f"/home/{user}"
    assert host.shell(f"stat -c '%U %a' {home}/{name}") == f"{user} 600"
    packed = base64.b64decode(host.shell(f"base64 {home}/{name}"))
    host.shell(f"rm {home}/{name}")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
        files = {member.name.split("/", 1)[1]: reading(archive, member) for member in members}
    expected = {"README.txt", "status.json", "doctor.json", "machine.json", "journal.txt"}
    expected |= {
        f"node-{node}/{file}"
        for node in fleet.nodes.values()
        for file in ("settings.json", "events.json", "metrics.txt", "log.json")
    }
    assert files.keys() == expected
    assert "the ports listen" in files["journal.txt"]
    hidden = [CANARY, CANARY.encode().hex(), base64.b64encode(CANARY.encode()).decode(), "PRIVATE KEY"]
    hidden += [line for path in fleet.pki.glob("*.key") for line in key_lines(path)]
    assert len(hidden) > len(fleet.nodes)
    assert [(file, text) for file, content in files.items() for text in hidden if text in content] == []


def reading(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = archive.extractfile(member)
    assert file is not None
    return file.read().decode()


def key_lines(path: Path) -> list[str]:
    """The lines of a private key that no other PEM file has."""
    return re.findall(r"^[\w+/=]{20,}$", path.read_text(), re.MULTILINE)
