"""`deploy/site.yml`: from empty hosts to a cluster, and from a cluster to itself."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import requirements
from tests.hosts.backend import inspect
from tests.hosts.cluster import CLIENT_PORT, HTTP_PORT, PEER_PORT, unit_property
from tests.hosts.conftest import RUNBOOK
from tests.hosts.controller import DEPLOY, OPERATOR, Controller
from tests.hosts.fleet import Fleet
from tests.hosts.host import Host
from tests.packaging.conftest import NEWER_VERSION, build, build_newer

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(400, func_only=True)]


def fingerprint(host: Host) -> str:
    """Everything on a host that a playbook could have changed, but for what passes by itself."""
    directories = "/etc /lib/systemd /opt /usr/bin /usr/local /var/cache /var/lib"
    return host.shell(
        rf"find {directories} -xdev \( -path '/var/lib/raftd/*' -o -path /var/lib/systemd \) -prune "
        r"-o -type d -printf '%p %u:%g %m\n' -o -printf '%p %u:%g %m %s %T@ %l\n' | sort; "
        "systemctl list-unit-files --no-legend 'raftd*' || true; systemctl list-units --no-legend 'raftd@*' || true"
    )


@pytest.fixture
def alone(fleet: Fleet, tmp_path: Path) -> Iterator[Controller]:
    """A cluster of one, still to be made, on a host that has nothing."""
    name = fleet.spare
    made = Controller(
        fleet.lab, tmp_path / "alone", {name: 1}, raftd_deb=fleet.variables["raftd_deb"], raftd_cluster_name="alone"
    )
    yield made
    made.play("playbooks/destroy.yml", raftd_confirm="alone")


def test_a_second_run_changes_nothing(fleet: Fleet) -> None:
    """Run again, it changes no host and not the controller, and restarts no node.

    Nothing needs the lab's own ways either: this is Ansible as it is, over SSH and by sudo.
    """
    hosts = {name: fleet.lab[name] for name in fleet.nodes}
    before = {name: (fingerprint(host), main_process(host, fleet.nodes[name])) for name, host in hosts.items()}
    ours = fleet.variables
    fleet.variables = {
        **ours,
        "ansible_connection": "ssh",
        "ansible_become": True,
        "ansible_ssh_common_args": f"-F {fleet.lab.directory}/ssh_config -o ControlPath=/run/raftd-%C",
    }
    try:
        run = fleet.play("site.yml", on_network=True, plain=True)
    finally:
        fleet.variables = ours
    assert run.changed == dict.fromkeys(fleet.nodes, 0)
    after = {name: (fingerprint(host), main_process(host, fleet.nodes[name])) for name, host in hosts.items()}
    assert after == before


def main_process(host: Host, node: int) -> str:
    return unit_property(host, f"raftd@{node}", "MainPID")


def test_a_dry_run_on_empty_hosts_changes_nothing(alone: Controller) -> None:
    """With --check on an empty host, it tells of changes and makes none; then the real run does them."""
    (name,) = alone.nodes
    host = alone.lab[name]
    before = fingerprint(host)
    dry = alone.play("site.yml", "--check")
    assert dry.changed[name] > 0
    assert "raftd@1 be enabled and started" in dry.text
    assert fingerprint(host) == before
    assert not alone.pki.exists()
    alone.play("site.yml")
    assert json.loads(host.run("raftctl", "status", "--output", "json").stdout)[0]["status"]["role"] == "leader"


def test_a_wheelhouse_is_installed_upgraded_and_set_back(alone: Controller, tmp_path: Path) -> None:
    """Releases lie side by side, a link says which one counts, and a second run changes nothing."""
    (name,) = alone.nodes
    host = alone.lab[name]
    if host.shell("python3 -c 'import sys; print(sys.version_info[:2])'") != str(sys.version_info[:2]):
        give_up = pytest.fail if requirements.are_required() else pytest.skip
        give_up("wheels made here are for another Python than the hosts have")
    alone.variables |= {"raftd_deb": "", "raftd_wheelhouse": str(build("wheelhouse", tmp_path))}
    alone.play("site.yml")
    assert alone.play("site.yml").changed == {name: 0}
    before = host.shell("readlink /opt/raftd/current")
    alone.variables["raftd_wheelhouse"] = str(build_newer(tmp_path / "newer", "wheelhouse"))
    refused = alone.play("playbooks/upgrade.yml", check=False, raftd_stop_gate_seconds=2)
    assert "the quorum would be lost" in refused.text
    # As another version might have had it: what is put right is what the node is started by.
    host.shell("echo '# other' >>/etc/systemd/system/raftd@.service; systemctl daemon-reload")
    for playbook, release in (("upgrade", f"releases/{NEWER_VERSION}"), ("rollback", before)):
        alone.play(f"playbooks/{playbook}.yml", raftd_allow_outage=True)
        assert host.shell("readlink /opt/raftd/current") == release
        assert unit_property(host, "raftd@1", "NeedDaemonReload") == "no"
        (status,) = alone.status(name)
        assert status["version"].split("+")[0] == release.removeprefix("releases/")


def test_a_dry_run_tells_what_a_run_would_do(fleet: Fleet) -> None:
    """Where one file was changed by hand, --check names that host and changes nothing; a run puts it right."""
    name = fleet.followers()[0]
    host = fleet.lab[name]
    settings = host.root / "etc/raftd/raftctl.yaml"
    good = settings.read_text()
    settings.write_text(good + "# by hand\n")
    others = {other: 0 for other in fleet.nodes if other != name}
    assert fleet.play("site.yml", "--check").changed == {name: 1} | others
    assert settings.read_text() != good
    assert fleet.play("site.yml").changed == {name: 1} | others
    assert settings.read_text() == good


def test_settings_are_reloaded_and_not_restarted_for(fleet: Fleet) -> None:
    """Settings that raftd refuses reach no host; good ones count without a restart, or it is said that they wait.

    Those that a run has written and not reloaded, since a later task failed, are found by the next one, and then are,
    also where access by which the nodes let no operator in has been reloaded meanwhile.
    """
    files = {name: fleet.lab[name].root / "etc/raftd/raftd.yaml" for name in fleet.nodes}
    texts = {name: path.read_text() for name, path in files.items()}
    running = {name: main_process(fleet.lab[name], node) for name, node in fleet.nodes.items()}

    def hashes() -> set[str]:
        return {status["configuration"]["settings_hash"] for status in fleet.statuses().values()}

    before = hashes()
    try:
        fleet.variables["raftd_settings"] = {"timing": {"tick": "5 parsecs"}}
        refused = fleet.play("site.yml", check=False)
        assert refused.returncode != 0
        assert "parsecs" in refused.text
        assert {name: path.read_text() for name, path in files.items()} == texts

        fleet.variables["raftd_settings"] = {"log": {"level": "warning"}, "limits": {"segment_size": "32MiB"}}
        broken = fleet.play("site.yml", check=False, raftd_monitoring_targets_file="/dev/null/targets.json")
        assert broken.returncode != 0
        assert all(broken.changed[name] >= 1 for name in fleet.nodes)
        assert hashes() == before
        unwell = fleet.play("playbooks/verify.yml", check=False)
        assert unwell.returncode != 0
        assert "changed since it read them last: raftd.yaml" in unwell.text
        for name, node in fleet.nodes.items():
            files[name].write_text(files[name].read_text().replace(f'"user": "{OPERATOR}"', '"user": "nobody"'))
            fleet.lab[name].shell(f"systemctl reload raftd@{node}")
        assert "grant this user no such right" in fleet.raftctl(fleet.any_host.name, "status", check=False)
        run = fleet.play("site.yml")
        assert "counting only after a restart (playbooks/restart.yml): limits.segment_size" in run.text
        assert hashes().isdisjoint(before)
    finally:
        del fleet.variables["raftd_settings"]
    fleet.play_under_load("site.yml")
    assert hashes() == before
    assert {name: path.read_text() for name, path in files.items()} == texts
    assert {name: main_process(fleet.lab[name], node) for name, node in fleet.nodes.items()} == running


def test_a_package_that_was_removed_is_put_back(fleet: Fleet) -> None:
    """Settings, certificates and data are there still, and a version that dpkg knows of; the programs are not."""
    name = fleet.followers()[0]
    host, node = fleet.lab[name], fleet.nodes[name]
    # site.yml last: it also starts the timers again, which a removal has stopped.
    for playbook in ("playbooks/upgrade", "site"):
        host.shell("DEBIAN_FRONTEND=noninteractive apt-get remove --yes raftd")
        assert host.run("systemctl", "is-active", f"raftd@{node}", check=False).stdout.strip() != "active"
        fleet.play(f"{playbook}.yml")
        assert host.shell(f"systemctl is-active raftd@{node}") == "active"
        fleet.until_well()


def test_users_files_and_ports(fleet: Fleet) -> None:
    """Settings and keys are root's to write and the node's to read; no authority's key is on any host."""
    for name, node in fleet.nodes.items():
        host = fleet.lab[name]
        seen = inspect(host)
        user = seen.user("raftd")
        assert (user.shell, user.home, user.group) == ("/usr/sbin/nologin", "/", "raftd")
        assert user.uid < 1000
        for path, owner, group, mode in (
            ("/etc/raftd", "root", "raftd", 0o750),
            ("/etc/raftd/pki", "root", "raftd", 0o750),
            ("/etc/raftd/raftd.yaml", "root", "raftd", 0o640),
            ("/etc/raftd/raftctl.yaml", "root", "raftd", 0o640),
            (f"/var/lib/raftd/{node}", "raftd", "raftd", 0o700),
        ):
            file = seen.file(path)
            assert (file.user, file.group, file.mode) == (owner, group, mode), path
        keys = host.shell("find / -xdev -name '*.key' -path '*raftd*' -printf '%f %u:%g %m\\n' | sort")
        own = [f"node-{node}.client.key", f"node-{node}.peer.key", f"user-{OPERATOR}.key"]
        assert keys.splitlines() == [f"{key} root:raftd 640" for key in own]
        for port in (CLIENT_PORT, PEER_PORT, HTTP_PORT):
            assert seen.socket(f"tcp://{host.address}:{port}").is_listening
    authorities = {path.name for path in fleet.pki.glob("*-ca.key")}
    assert authorities == {"peer-ca.key", "client-ca.key"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in fleet.pki.glob("*.key"))


def test_units_and_their_sandbox(fleet: Fleet) -> None:
    """Nodes and timers start at boot; the unit is the hardened one, and nothing runs as root."""
    for name, node in fleet.nodes.items():
        host = fleet.lab[name]
        seen = inspect(host)
        assert seen.service(f"raftd@{node}").is_enabled
        assert seen.service(f"raftd@{node}").is_running
        assert seen.service(f"raftd-certs@{node}.timer").is_enabled
        assert {process.user for process in seen.process.filter(comm="raftd")} == {"raftd"}
        said = host.shell(f"systemd-analyze security --no-pager raftd@{node} | tail -1")
        exposure = re.search(r"(\d+\.\d+)", said)
        assert exposure is not None, said
        assert float(exposure[1]) <= 1.1
        host.shell(f"systemctl start raftd-certs@{node}.service")
        assert host.shell("systemctl list-units --failed --no-legend") == ""


def test_the_journal_tells(fleet: Fleet) -> None:
    """Events are in the journal with their fields, and `journalctl -x` explains them."""
    for name, node in fleet.nodes.items():
        said = fleet.lab[name].shell(f"journalctl -x --no-pager --unit raftd@{node} RAFTD_EVENT=node_ready")
        assert "the ports listen" in said
        assert "The node takes connections and may vote" in said


def test_prometheus_is_told_of_the_nodes(fleet: Fleet) -> None:
    """The file for Prometheus has each node's HTTP port, with the labels that rules and dashboards go by."""
    groups = json.loads((fleet.directory / "generated/raftd-targets.json").read_text())
    found = {group["labels"]["node"]: (group["targets"], group["labels"]["cluster"]) for group in groups}
    assert found == {str(node): ([f"{name}:{HTTP_PORT}"], "lab") for name, node in fleet.nodes.items()}


def test_rules_and_dashboards_point_to_the_runbook(fleet: Fleet) -> None:
    """Written beside the targets, they are those of deploy/monitoring with one address in the place of another."""
    sources = [*(DEPLOY / "monitoring/rules").glob("*.yml"), *(DEPLOY / "monitoring/dashboards").glob("*.json")]
    assert sources
    for source in sources:
        expected = source.read_text().replace("https://raftd.example.org/runbook.html", RUNBOOK)
        assert (fleet.directory / "generated" / source.relative_to(DEPLOY / "monitoring")).read_text() == expected


def test_verify_finds_all_well_and_what_is_not(fleet: Fleet) -> None:
    """verify.yml changes nothing and succeeds where all is well; it fails where a node is not enabled."""
    name, node = next(iter(fleet.nodes.items()))
    assert fleet.play("playbooks/verify.yml").changed == dict.fromkeys(fleet.nodes, 0)
    host = fleet.lab[name]
    try:
        host.shell(f"systemctl disable raftd@{node}")
        assert fleet.play("playbooks/verify.yml", check=False).returncode != 0
    finally:
        host.shell(f"systemctl enable raftd@{node}")
