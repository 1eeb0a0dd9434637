"""Ansible as the tests of playbooks start it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(60)


CONFIGURATION = Path(__file__).with_name("ansible.cfg")


@pytest.mark.parametrize("connection", ["local", "raftd_here"])
def test_what_one_playbook_has_packed_the_next_one_finds(tmp_path: Path, connection: str) -> None:
    """A playbook does what it does anywhere, and leaves the modules that it has packed where it was told to."""
    playbook, done = tmp_path / "play.yml", tmp_path / "done"
    task = {"ansible.builtin.file": {"path": "{{ done | default('', true) }}", "state": "touch", "mode": "0600"}}
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    variables = {"done": str(done), "ansible_python_interpreter": sys.executable}
    command = [sys.executable, "-m", "tests.hosts.ansible_playbook", str(tmp_path), "-i", "here,", "-c", connection]
    command += [str(playbook), "--extra-vars", json.dumps(variables)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    environment["ANSIBLE_CONFIG"] = str(CONFIGURATION)
    written = set()
    for _ in range(2):
        done.unlink(missing_ok=True)
        ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=50, env=environment)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert done.stat().st_mode & 0o777 == 0o600
        (packed,) = (path for path in (tmp_path / "modules").glob("*.file-*") if path.suffix != ".lock")
        written.add(packed.stat().st_mtime_ns)
    assert len(written) == 1


def test_a_module_that_fails_on_the_controller_says_so(tmp_path: Path) -> None:
    """Run by a fork of Ansible, it fails as it does anywhere, and the next one is not concerned."""
    playbook = tmp_path / "play.yml"
    commands = (["sh", "-c", "echo no way >&2; exit 3"], ["echo", "still here"])
    tasks = [{"ansible.builtin.command": {"argv": argv}, "ignore_errors": True} for argv in commands]
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    command = [sys.executable, "-m", "tests.hosts.ansible_playbook", str(tmp_path), "-i", "here,", "-c", "raftd_here"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ANSIBLE_CONFIG": str(CONFIGURATION)}
    ended = subprocess.run(
        [*command, str(playbook), "-v", "--extra-vars", json.dumps({"ansible_python_interpreter": sys.executable})],
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
        env=environment | {"LC_ALL": "C.UTF-8"},
    )
    assert "rc: 3" in ended.stdout, ended.stdout + ended.stderr
    assert "stderr: no way" in ended.stdout
    assert "stdout: still here" in ended.stdout
