"""Ansible as the tests of playbooks start it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(60)


def test_what_one_playbook_has_packed_the_next_one_finds(tmp_path: Path) -> None:
    """A playbook does what it does anywhere, and leaves the modules that it has packed where it was told to."""
    playbook, done = tmp_path / "play.yml", tmp_path / "done"
    task = {"ansible.builtin.file": {"path": "{{ done | default('', true) }}", "state": "touch", "mode": "0600"}}
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    variables = {"done": str(done), "ansible_python_interpreter": sys.executable}
    command = [sys.executable, "-m", "tests.hosts.ansible_playbook", str(tmp_path), "-i", "here,", "-c", "local"]
    command += [str(playbook), "--extra-vars", json.dumps(variables)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    written = set()
    for _ in range(2):
        done.unlink(missing_ok=True)
        ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=50, env=environment)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert done.stat().st_mode & 0o777 == 0o600
        (packed,) = (path for path in (tmp_path / "modules").glob("*.file-*") if path.suffix != ".lock")
        written.add(packed.stat().st_mtime_ns)
    assert len(written) == 1
