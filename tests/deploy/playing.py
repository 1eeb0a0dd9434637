"""Playing tasks and playbooks of deploy/ on this machine, as far as they do no harm there."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
PLAY_SECONDS_MAX: Final = 280
HERE: Final = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
"""A host that is this machine."""


def ansible(
    directory: Path,
    playbook: Path,
    hosts: Mapping[str, Mapping[str, Any]],
    *,
    options: Sequence[str] = (),
    **variables: Any,
) -> tuple[int, str]:
    """Run a playbook for `hosts` and their variables; its exit code and what it said, in one line.

    Programs in `directory`/bin come before the machine's own.
    """
    inventory = directory / "hosts.yml"
    inventory.write_text(json.dumps({"raftd": {"hosts": hosts}}))
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "ansible", "playbook", "-i", str(inventory), str(playbook)),
            *("--extra-vars", json.dumps(variables), *options),
        ],
        check=False,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=PLAY_SECONDS_MAX,
        env={
            "PATH": f"{directory / 'bin'}:{os.environ['PATH']}",
            "HOME": str(directory),
            "TMPDIR": str(directory),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_ROLES_PATH": str(DEPLOY / "roles"),
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
        },
    )
    return ended.returncode, " ".join((ended.stdout + ended.stderr).split())


def play_tasks(
    directory: Path,
    steps: Sequence[Mapping[str, Any]],
    hosts: Mapping[str, Mapping[str, Any]],
    *,
    on: str = "raftd",
    **variables: Any,
) -> tuple[int, str]:
    """Play tasks `on` some of the hosts, see `ansible`."""
    playbook = directory / "play.yml"
    playbook.write_text(json.dumps([{"hosts": on, "gather_facts": False, "tasks": steps}]))
    return ansible(directory, playbook, hosts, **variables)


def tasks_of_raftd(name: str, **variables: Any) -> dict[str, Any]:
    """The step of a play that takes tasks of the role raftd."""
    return {"ansible.builtin.include_role": {"name": "raftd", "tasks_from": name}, "vars": variables}


def pretend(directory: Path, name: str, script: str) -> Path:
    """Put a shell script in the place of a program, and return where such are."""
    place = directory / "bin"
    place.mkdir(exist_ok=True)
    path = place / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return place
