"""The game days: the service holds while they harm it, and an alert tells of it until it is mended."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from raftd.settings import Address
from tests.hosts.cluster import unit_property
from tests.hosts.controller import Run
from tests.hosts.fleet import Fleet
from tests.hosts.waiting import until_found
from tests.monitoring.prometheus import Prometheus, Target, needs_prometheus

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(900, func_only=True)]

CANARY_RATE: Final = 100
ALERT_SECONDS_MAX: Final = 60
PORT: Final = 9090
_WITH_NAMES: Final = 'mount --bind "$0" /etc/hosts && exec "$@"'


@pytest.fixture
def prometheus(fleet: Fleet, tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus on the hosts' network, with the targets that site.yml has written, and raftd's rules, quickened."""
    lab = fleet.lab
    names = tmp_path / "hosts"
    names.write_text((fleet.any_host.root / "etc/hosts").read_text())
    within = lab.on_network("unshare", "--mount", "/bin/sh", "-c", _WITH_NAMES, str(names))
    process = Prometheus(tmp_path, Address(str(lab.controller), PORT), within)
    process.scrape(targets(fleet))
    process.start()
    try:
        with lab.as_controller():
            until_found(process.is_ready, "Prometheus answers", details=lambda: process.log)
            until_found(lambda: len(process.query("up == 1")) == len(fleet.nodes), "all nodes are scraped")
        yield process
    finally:
        process.stop()


def targets(fleet: Fleet) -> list[Target]:
    """What `site.yml` tells Prometheus."""
    groups = json.loads((fleet.directory / "generated/raftd-targets.json").read_text())
    return [Target(address, group["labels"]) for group in groups for address in group["targets"]]


def play(fleet: Fleet, day: str, prometheus: Prometheus | None = None, *, check: bool = True, **variables: Any) -> Run:
    """Play a game day, with a Prometheus to ask or without."""
    if prometheus is not None:
        variables = {
            "raftd_gameday_prometheus": prometheus.url,
            "raftd_gameday_alert_seconds": ALERT_SECONDS_MAX,
            **variables,
        }
    playbook = f"playbooks/gameday/{day}.yml"
    run = fleet.play(playbook, check=check, on_network=True, raftd_canary_rate=CANARY_RATE, **variables)
    print(day, *re.findall(r"canary: .*? stall was [\d.]+ s|\w+ fired .*? within \d+ s", run.text), sep="; ")
    return run


def left_behind(fleet: Fleet) -> str:
    """What game days have made on the hosts and not taken away again."""
    look = (
        "nft list tables | grep gameday || true; systemctl list-units --no-legend 'raftd-gameday*'; "
        "find /etc/systemd /var/lib/raftd -name '*gameday*' -o -name 'raftd@*.wants'"
    )
    return "".join(fleet.lab[name].shell(look) for name in fleet.nodes)


def test_kill_host(fleet: Fleet) -> None:
    """The leader's host reboots without a goodbye: the service holds, and the host is back without hands.

    Without a Prometheus to ask, it says that nobody has looked at alerts.
    """
    name = fleet.leader()
    run = play(fleet, "kill-host")
    assert fleet.leader() != name
    assert "RaftdNodeDown was not looked at: raftd_gameday_prometheus names no Prometheus to ask" in run.text


@needs_prometheus
def test_kill_host_tells_somebody(fleet: Fleet, prometheus: Prometheus) -> None:
    """Down for long enough, the leader's node is told of; back, no more; and its next start is as any other."""
    name = fleet.leader()
    run = play(fleet, "kill-host", prometheus)
    assert "RaftdNodeDown fired" in run.text
    assert fleet.leader() != name
    assert left_behind(fleet) == ""
    unit = f"raftd@{fleet.nodes[name]}"
    assert "gameday" not in unit_property(fleet.lab[name], unit, "Wants")


@needs_prometheus
def test_cut_link(fleet: Fleet, prometheus: Prometheus) -> None:
    """The leader's link to a follower is cut and mended: the service holds, and no rule is left behind."""
    run = play(fleet, "cut-link", prometheus, raftd_gameday_seconds=3)
    assert "RaftdPeerUnreachable fired" in run.text
    assert left_behind(fleet) == ""


@needs_prometheus
def test_expire_certificate(fleet: Fleet, prometheus: Prometheus) -> None:
    """A follower's certificates run out and are renewed: the service holds, and somebody is warned."""
    run = play(fleet, "expire-certificate", prometheus, raftd_gameday_seconds=40)
    assert "RaftdCertificateExpiresNow fired" in run.text
    assert {row["ok"] for row in fleet.json(fleet.any_host.name, "cert", "status")} == {True}


@needs_prometheus
def test_fill_disk(fleet: Fleet, prometheus: Prometheus) -> None:
    """A follower's disk, a small one, is full for a while: the service holds, somebody is told, no ballast is left."""
    name = fleet.followers()[0]
    node, host = fleet.nodes[name], fleet.lab[name]
    place = f"/var/lib/raftd/{node}"
    try:
        host.shell(
            f"systemctl stop raftd@{node}; mv {place} {place}.kept; mkdir {place}; "
            f"mount -t tmpfs -o size=400m,mode=0700,uid=raftd,gid=raftd tmpfs {place}; cp -a {place}.kept/. {place}/; "
            f"systemctl start raftd@{node}"
        )
        fleet.until_well()
        run = play(fleet, "fill-disk", prometheus, raftd_victim=name, raftd_gameday_seconds=5)
        assert "RaftdDiskSpaceLow fired" in run.text
        assert left_behind(fleet) == ""
    finally:
        host.shell(
            f"systemctl stop raftd@{node}; cp -a {place}/. {place}.kept/; umount {place}; rmdir {place}; "
            f"mv {place}.kept {place}; systemctl start raftd@{node}"
        )


def test_a_large_disk_is_not_filled(fleet: Fleet) -> None:
    """Where there is more space than may be filled, it refuses and says so."""
    refused = play(fleet, "fill-disk", check=False, raftd_gameday_ballast_bytes_max=1)
    assert "Nothing was harmed" in refused.text
    assert left_behind(fleet) == ""
