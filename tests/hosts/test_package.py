"""The life of the Debian package on a host: installed, upgraded, removed, purged."""

import subprocess
from pathlib import Path

import pytest

from raftd.version import checkout_commit
from tests.hosts.backend import inspect
from tests.hosts.cluster import HostCluster, install, unit_property
from tests.hosts.conftest import SPARE
from tests.hosts.host import Host
from tests.hosts.lab import Lab
from tests.packaging.conftest import ROOT

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(240, func_only=True)]

NODE = "raftd@1"


@pytest.fixture
def bare(lab: Lab) -> Host:
    """A host on which raftd is not."""
    host = lab[SPARE]
    purge(host)
    return host


@pytest.fixture
def alone(bare: Host, lab: Lab, deb: Path, tmp_path: Path) -> HostCluster:
    """A cluster of one node, running, on a host that had nothing."""
    cluster = HostCluster(lab, [bare.name], bare.name, tmp_path / "pki")
    cluster.deploy(deb)
    cluster.raftctl("set", "kept", "value")
    return cluster


def purge(host: Host) -> None:
    host.shell("dpkg --purge raftd </dev/null")


def unit_files(host: Host, *options: str) -> str:
    """What systemd knows of raftd's units; its exit code is 1 where that is nothing."""
    return host.run("systemctl", "list-unit-files", "--no-legend", *options, "raftd*", check=False).stdout


def newer(deb: Path, directory: Path) -> Path:
    """The same package under a higher version, as a later build would have it."""
    tree = directory / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", str(deb), str(tree)], check=True, timeout=60)
    control = tree / "DEBIAN" / "control"
    text = control.read_text()
    (version,) = (line for line in text.splitlines() if line.startswith("Version: "))
    control.write_text(text.replace(version, f"{version}+newer"))
    package = directory / "raftd_newer_all.deb"
    command = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(package)]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    return package


def test_installing_starts_nothing(bare: Host, deb: Path) -> None:
    """Installed, raftd has its user, its directories and its programs, and no unit of it is enabled or runs."""
    said = install(bare, deb)
    assert "rror" not in said, said
    assert bare.shell("dpkg --verify raftd") == ""
    seen = inspect(bare)
    assert seen.package("raftd").is_installed
    user = seen.user("raftd")
    assert (user.uid < 1000, user.group, user.shell) == (True, "raftd", "/usr/sbin/nologin")
    for path, group, mode in (("/etc/raftd", "raftd", 0o750), ("/var/lib/raftd", "root", 0o755)):
        directory = seen.file(path)
        assert (directory.user, directory.group, directory.mode) == ("root", group, mode)
    assert unit_files(bare) != ""
    assert bare.shell("systemctl list-units --all --no-legend 'raftd*'") == ""
    assert unit_files(bare, "--state=enabled") == ""
    assert bare.run("systemctl", "is-system-running").stdout.strip() == "running"


def test_its_programs_are_complete(bare: Host, deb: Path) -> None:
    """The programs say which commit they are of, run without any environment, and complete their commands in bash."""
    install(bare, deb)
    commit = checkout_commit(ROOT)
    for program in ("raftd", "raftctl"):
        said = bare.shell(f"PYTHONPATH=/nonsense {program} --version")
        assert said.startswith(f"{program} ")
        assert commit is None or said.endswith(f"+{commit[:12]}")
    complete = "source /usr/share/bash-completion/completions/raftctl; complete -p raftctl"
    assert "raftctl" in bare.shell(complete)
    words = "COMP_WORDS='raftctl mem' COMP_CWORD=1 _RAFTCTL_COMPLETE=bash_complete raftctl"
    assert bare.shell(words) == "plain,member"
    assert bare.shell("python3 -c 'from raftd.client import Client; print(Client.__name__)'") == "Client"


def test_the_units_are_accepted(bare: Host, deb: Path) -> None:
    """On a real system, with the manual pages and the program there, systemd has nothing to say against any unit."""
    install(bare, deb)
    units = bare.shell("cd /lib/systemd/system && ls raftd* | sed 's/@\\./@1./' | tr '\\n' ' '")
    ended = bare.run("sh", "-c", f"systemd-analyze verify --man=no {units}", check=False)
    assert ended.stdout + ended.stderr == ""


def test_an_upgrade_leaves_a_running_node_alone(alone: HostCluster, deb: Path, tmp_path: Path) -> None:
    """A newer package is installed while a node runs: the process goes on as it is, and is told of by nothing."""
    host = alone.client
    before = unit_property(host, NODE, "MainPID"), unit_property(host, NODE, "ActiveEnterTimestamp")
    install(host, newer(deb, tmp_path))
    assert "+newer" in host.shell("dpkg-query --show --showformat='${Version}' raftd")
    assert (unit_property(host, NODE, "MainPID"), unit_property(host, NODE, "ActiveEnterTimestamp")) == before
    assert unit_property(host, NODE, "NeedDaemonReload") == "no"
    alone.raftctl("set", "written", "during")
    host.shell(f"systemctl restart {NODE}")
    alone.until_well()
    assert alone.raftctl("get", "written") == "during\n"


def test_removal_stops_nodes_and_keeps_what_is_theirs(alone: HostCluster, deb: Path) -> None:
    """Removed, raftd has stopped in order and left settings and data; installed again, it has every key."""
    host = alone.client
    host.shell("DEBIAN_FRONTEND=noninteractive apt-get remove --yes raftd")
    assert host.run("pgrep", "-f", "raftd run", check=False).returncode == 1
    assert host.shell(f"journalctl --unit {NODE} RAFTD_EVENT=node_stopped --output cat --lines 1") == "stopped"
    assert host.run("which", "raftd", check=False).returncode == 1
    assert host.shell("ls /etc/raftd") == "pki\nraftctl.yaml\nraftd.yaml"
    install(host, deb)
    assert unit_property(host, NODE, "ActiveState") == "inactive"
    host.shell(f"systemctl start {NODE}")
    alone.until_well()
    assert alone.raftctl("get", "kept") == "value\n"


def test_a_purge_leaves_nothing(alone: HostCluster) -> None:
    """Purged without a question, raftd has left no file, no link and no unit; only its user's number stays taken.

    What is mounted where data is does not keep it from that, and is empty.
    """
    host = alone.client
    assert host.shell("find /etc /usr /lib /var/lib -xdev -iname '*raftd*' | head -1") != ""
    mounted = "/var/lib/raftd/mounted"
    host.shell(f"mkdir {mounted} && mount -t tmpfs tmpfs {mounted} && mkdir {mounted}/wal && touch {mounted}/wal/log")
    purge(host)
    assert host.shell("find /var/lib/raftd") == f"/var/lib/raftd\n{mounted}"
    host.shell(f"umount {mounted} && rmdir {mounted} /var/lib/raftd")
    elsewhere = r"-path /proc -o -path /sys -o -path /run -o -path /var/log -o -path /var/tmp -o -path /tmp"
    assert host.shell(rf"find / \( {elsewhere} \) -prune -o -iname '*raft[dc]*' -print") == ""
    assert unit_files(host) == ""
    assert host.shell("find /etc/systemd -xtype l -not -path '*/dev/*'") == ""
    assert host.run("dpkg-query", "--show", "raftd", check=False).returncode == 1
    assert inspect(host).user("raftd").exists
