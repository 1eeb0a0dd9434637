"""What the look at a host has found right is given to no module: to ask one takes longer than all of the look."""

from pathlib import Path
from typing import Any, Final

import pytest

from tests.deploy.playing import HERE, play_tasks, pretend, tasks_of_raftd

pytestmark = pytest.mark.timeout(120)

SYSTEMCTL: Final = """case $1 in
show) printf 'LoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n';;
is-enabled) echo enabled;;
esac
echo "$@" >>{log}"""
RIGHT: Final = {
    "raftd@{}.service": "enabled active",
    "raftd-certs@{}.timer": "enabled active",
    "raftd-backup@{}.timer": "disabled inactive",
}
FOUND: Final[tuple[dict[str, str], ...]] = (
    {},
    {"raftd@{}.service": "enabled inactive"},
    {"raftd-certs@{}.timer": "disabled active"},
    {"raftd-backup@{}.timer": "enabled active"},
)
"""What is not right, on one host after the other."""


def test_units_that_are_right_are_not_asked_for(tmp_path: Path) -> None:
    """One that is down, not started at boot, or not wanted is seen to, and no other."""
    log = tmp_path / "log"
    log.touch()
    pretend(tmp_path, "systemctl", SYSTEMCTL.format(log=log))
    hosts = {
        f"n{node}": {
            "raftd_node_id": node,
            "raftd_host": {"units": {name.format(node): state for name, state in (RIGHT | found).items()}},
            **HERE,
        }
        for node, found in enumerate(FOUND, start=1)
    }
    code, said = play_tasks(tmp_path, [tasks_of_raftd("service")], hosts)
    assert code == 0, said
    units = {name.format(node) for node in range(1, len(FOUND) + 1) for name in RIGHT}
    asked = {name for name in units if name in log.read_text()}
    assert asked == {name.format(node) for node, found in enumerate(FOUND, start=1) for name in found}


def test_a_package_that_is_there_is_not_brought_again(tmp_path: Path) -> None:
    """Neither its directory nor its file is asked for where both are right, and the version is installed."""
    package = {"version": "1.2-1", "file": "raftd_1.2-1_all.deb", "sha256": "0" * 64}
    about: dict[str, Any] = {
        "package": "1.2-1",
        "files": {"/var/cache/raftd/raftd_1.2-1_all.deb": f"root:root 0644 {package['sha256']}"},
        "directories": {"/var/cache/raftd": "root:root 0755"},
    }
    hosts = {"n1": {"raftd_node_id": 1, "raftd_host": about, **HERE}}
    code, said = play_tasks(tmp_path, [tasks_of_raftd("install")], hosts, raftd_package=package)
    assert code == 0, said
    assert "Make the directory for packages" not in said
