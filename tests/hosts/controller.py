"""The machine that Ansible runs on: an inventory of a lab's hosts, and playbooks that are run against them."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.hosts import flights
from tests.hosts.lab import Lab

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
CLUSTER_NAME: Final = "lab"
CLUSTER_ID: Final = "7d1f4a52-9a3e-4a27-8a4c-0c8f6f1b2e11"
OPERATOR: Final = "operator"
PLAYBOOK_SECONDS_MAX: Final = 600
CANARY_RATE: Final = 200
"""Writes a second, which it tries for."""
CANARY_RATE_MIN: Final = CANARY_RATE / 2
"""On average. Two labs and two playbooks at a time leave a machine of two cores little; it catches up where it can."""
_CONFIGURATION: Final = Path(__file__).with_name("ansible.cfg")
_RECAP: Final = re.compile(
    r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)\s+skipped=(\d+)\s+rescued=(\d+)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Run:
    """How a playbook has ended."""

    returncode: int
    output: str

    @property
    def changed(self) -> dict[str, int]:
        """How many tasks have changed something, by host."""
        return {match[1]: int(match[3]) for match in _RECAP.finditer(self.output)}

    @property
    def text(self) -> str:
        """What it said, without the breaks that YAML puts into long lines."""
        return re.sub(r"\s+", " ", self.output)


class Controller:
    """An inventory, and what belongs to it.

    Args:
        lab: Where the hosts are.
        directory: Where inventory and authorities go.
        nodes: By the hosts' names, their node ids.
        variables: Of the group; over what is set here.
    """

    def __init__(self, lab: Lab, directory: Path, nodes: Mapping[str, int], **variables: object) -> None:
        self.lab = lab
        self.directory = directory
        self.nodes = dict(nodes)
        self.flights: list[str] = []
        """What the canaries of `play_under_load` have told, a line each; whoever shows them empties it."""
        self.host_variables: dict[str, dict[str, object]] = {}
        self.pki = directory / "pki"
        self.variables: dict[str, object] = {
            "ansible_connection": "raftd_lab",
            "raftd_lab_directory": str(lab.directory),
            "ansible_become": False,
            "ansible_python_interpreter": "/usr/bin/python3",
            "raftd_cluster_name": CLUSTER_NAME,
            "raftd_cluster_id": CLUSTER_ID,
            "raftd_pki_directory": str(self.pki),
            "raftd_pki_raftctl": str(Path(sys.executable).with_name("raftctl")),
            "raftd_pki_operator": OPERATOR,
            "raftd_common_update_cache": False,
            **variables,
        }
        directory.mkdir(parents=True, exist_ok=True)

    def write_inventory(self, *, plain: bool = False) -> Path:
        """Write what this object says, with a shortcut to the controller itself if not `plain`; JSON is YAML too."""
        hosts: dict[str, dict[str, object]] = {name: {"raftd_node_id": node} for name, node in self.nodes.items()}
        for name, more in self.host_variables.items():
            hosts.setdefault(name, {}).update(more)
        path = self.directory / "hosts.yml"
        inventory: dict[str, object] = {"raftd": {"hosts": hosts, "vars": self.variables}}
        if not plain:
            here = {"ansible_connection": "raftd_here", "ansible_python_interpreter": sys.executable}
            inventory["ungrouped"] = {"hosts": {"localhost": here}}
        path.write_text(json.dumps(inventory, indent=1))
        return path

    def start(
        self, playbook: str, *options: str, on_network: bool = False, plain: bool = False, **variables: object
    ) -> subprocess.Popen[str]:
        """Begin to run a playbook of deploy/, on the hosts' network if told so; what it says is its standard output.

        If it is to be `plain`, by Ansible as it is, and not by what saves a good part of its work.
        """
        ansible = ("ansible", "playbook") if plain else ("tests.hosts.ansible_playbook", str(self.lab.directory))
        command = [
            *(self.lab.on_network() if on_network else ()),
            *(sys.executable, "-m", *ansible, "-i", str(self.write_inventory(plain=plain))),
            *(str(DEPLOY / playbook), "--extra-vars", json.dumps(variables), *options),
        ]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.directory),
                "LC_ALL": "C.UTF-8",
                "ANSIBLE_CONFIG": str(_CONFIGURATION),
            },
        )

    def play(
        self,
        playbook: str,
        *options: str,
        check: bool = True,
        on_network: bool = False,
        plain: bool = False,
        **variables: object,
    ) -> Run:
        """Run a playbook of deploy/ to its end.

        Raises:
            AssertionError: it failed, and `check` was not taken off.
        """
        process = self.start(playbook, *options, on_network=on_network, plain=plain, **variables)
        try:
            output, _ = process.communicate(timeout=PLAYBOOK_SECONDS_MAX)
        finally:
            interrupt(process)
        run = Run(process.returncode, output)
        assert not check or run.returncode == 0, f"{playbook} ended with {run.returncode}:\n{run.output}"
        return run

    def play_under_load(self, playbook: str, *options: str, **variables: object) -> dict[str, Any]:
        """Run a playbook while its own canary writes, and return the canary's report, in which no write has failed.

        Raises:
            AssertionError: it failed, or a write or a read did, or the canary came to less than half of its rate.
        """
        path = self.directory / "canary.json"
        path.unlink(missing_ok=True)
        variables |= {"raftd_canary": True, "raftd_canary_rate": CANARY_RATE, "raftd_canary_report": str(path)}
        self.play(playbook, *options, check=True, on_network=False, plain=False, **variables)
        report: dict[str, Any] = json.loads(path.read_text())
        self.flights.append(flights.line(playbook, report))
        assert report["acknowledged"] == report["tried"] >= CANARY_RATE_MIN * report["seconds"] > 0, report
        assert (report["missing"], report["reads_failed"], report["unverified"]) == (0, 0, 0), report
        return report

    def raftctl(self, host: str, *arguments: str, check: bool = True) -> str:
        """Run raftctl on a host, as its operator."""
        return self.lab[host].run("raftctl", *arguments, check=check).stdout

    def json(self, host: str, *arguments: str) -> list[dict[str, Any]]:
        """What raftctl on a host says as JSON, whether it finds all well or not."""
        rows: list[dict[str, Any]] = json.loads(self.raftctl(host, *arguments, "--output", "json", check=False) or "[]")
        return rows

    def status(self, host: str) -> list[dict[str, Any]]:
        """What the nodes say of themselves, asked from a host."""
        return [row["status"] for row in self.json(host, "status") if "status" in row]


def interrupt(process: subprocess.Popen[str]) -> None:
    """End a playbook that is under way, with all that it has started on this machine."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
