"""The life of the RPM package on a host: its scripts are really run, by rpm itself, though on Debian.

What this cannot show is whether the names of what it depends on are right: no RPM of a distribution is here to ask.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.backend import inspect
from tests.hosts.cluster import HostCluster, unit_property
from tests.hosts.conftest import SPARE
from tests.hosts.host import Host
from tests.hosts.lab import Lab
from tests.packaging.conftest import NEWER_VERSION, build, build_newer

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600, func_only=True)]

NODE = "raftd@1"
PROGRAMS = ("/usr/bin/raftd", "/usr/bin/raftctl", "/usr/lib/raftd")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The RPM package of this tree."""
    return build("rpm", tmp_path_factory.mktemp("rpm"))


@pytest.fixture
def host(lab: Lab) -> Iterator[Host]:
    """A host on which raftd is not, and is not afterwards."""
    host = lab[SPARE]
    host.shell("dpkg --purge raftd </dev/null")
    yield host
    host.shell(
        "! rpm --query --quiet raftd || rpm --force-debian --nodeps --erase raftd; rm -rf /etc/raftd /var/lib/raftd"
    )
    host.shell("rm -f /etc/systemd/system/*.wants/raftd*; systemctl daemon-reload; systemctl reset-failed")


def install(host: Host, package: Path) -> str:
    """Install or upgrade it, and return what rpm and the scripts said."""
    place = f"/var/tmp/{package.name}"  # noqa: S108 - the host's, and nobody else is on it
    host.put(place, package.read_bytes())
    # The packages that it stands on are Debian's here, of which rpm knows nothing.
    return host.shell(f"rpm --force-debian --nodeps --upgrade {place} 2>&1")


def test_installing_starts_nothing(host: Host, package: Path) -> None:
    """Installed, raftd has its user, directories, programs and units, and no unit of it is enabled or runs."""
    said = install(host, package).splitlines()
    assert [line for line in said if not line.startswith("Creating ")] == []  # the user and the group
    assert host.shell("rpm --verify --nodeps raftd") == ""
    seen = inspect(host)
    assert (seen.user("raftd").group, seen.user("raftd").shell) == ("raftd", "/usr/sbin/nologin")
    directory = seen.file("/etc/raftd")
    assert (directory.user, directory.group, directory.mode) == ("root", "raftd", 0o750)
    for program in ("raftd", "raftctl"):
        assert host.shell(f"{program} --version").startswith(f"{program} ")
    assert "raftd: " in host.shell("journalctl --list-catalog")
    units = host.shell("systemctl list-unit-files --no-legend 'raftd*'")
    assert "raftd@.service" in units
    assert "enabled" not in {line.split()[1] for line in units.splitlines()}
    assert host.shell("systemctl list-units --all --no-legend 'raftd*'") == ""
    names = host.shell("cd /usr/lib/systemd/system && ls raftd* | sed 's/@\\./@1./' | tr '\\n' ' '")
    ended = host.run("sh", "-c", f"systemd-analyze verify --man=no {names}", check=False)
    assert ended.stdout + ended.stderr == ""


def test_a_node_lives_through_an_upgrade_and_is_stopped_by_the_removal(
    host: Host, package: Path, lab: Lab, tmp_path: Path
) -> None:
    """A newer package leaves the running node alone; removed, raftd has stopped in order; data and settings stay."""
    cluster = HostCluster(lab, [host.name], host.name, tmp_path / "pki")
    install(host, package)
    cluster.configure(host)
    host.shell(f"systemctl enable --now {NODE}")
    cluster.until_well()
    cluster.raftctl("set", "kept", "value")
    before = unit_property(host, NODE, "MainPID")
    assert install(host, build_newer(tmp_path / "newer", "rpm")) == ""
    assert host.shell("rpm --query --queryformat '%{VERSION}' raftd") == NEWER_VERSION
    assert unit_property(host, NODE, "MainPID") == before
    assert unit_property(host, NODE, "NeedDaemonReload") == "no"
    host.shell(f"systemctl restart {NODE}")
    cluster.until_well()
    assert cluster.raftctl("get", "kept") == "value\n"
    (status,) = cluster.status().values()
    assert status["version"].split("+")[0] == NEWER_VERSION

    assert host.shell("rpm --force-debian --nodeps --erase raftd 2>&1") == ""
    assert unit_property(host, NODE, "ActiveState") == "inactive"
    assert host.shell(f"journalctl --unit {NODE} RAFTD_EVENT=node_stopped --output cat --lines 1") == "stopped"
    assert host.shell(f"ls -d {' '.join(PROGRAMS)} 2>/dev/null || true") == ""
    assert host.shell("ls /etc/raftd") == "pki\nraftctl.yaml\nraftd.yaml"
    assert host.shell("ls /var/lib/raftd/1") != ""
