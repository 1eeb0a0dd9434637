"""Ansible's way into the hosts of a lab, without SSH (ansible.builtin.ssh works too, and takes twice as long)."""

DOCUMENTATION = """
name: raftd_lab
short_description: Run on a host of raftd's test lab
description: Commands run as root in the host's own namespaces; files go through standard input and output.
options:
  host:
    description: The host's name in the lab.
    default: inventory_hostname
    vars:
      - name: inventory_hostname
      - name: ansible_host
      - name: raftd_lab_host
  directory:
    description: The lab's directory.
    required: true
    vars:
      - name: raftd_lab_directory
    env:
      - name: RAFTD_LAB_DIRECTORY
"""

import shlex
import subprocess
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.plugins.connection import ConnectionBase

_NOT_UP = 125


class Connection(ConnectionBase):  # type: ignore[misc]  # Ansible has no types
    """A connection to one host."""

    transport = "raftd_lab"
    has_pipelining = True

    def _connect(self) -> "Connection":
        self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a shell's command line, and return its exit code and what it said."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        ended = self._run("/bin/sh", "-c", cmd, input=in_data or b"")
        return ended.returncode, ended.stdout, ended.stderr

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file of this machine into the host."""
        super().put_file(in_path, out_path)
        source = Path(in_path)
        if not source.exists():
            raise AnsibleFileNotFound(f"there is no {in_path}")
        ended = self._run("/bin/sh", "-c", f"cat >{shlex.quote(out_path)}", input=source.read_bytes())
        if ended.returncode:
            raise AnsibleError(f"{out_path} could not be written: {ended.stderr!r}")

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file of the host to this machine."""
        super().fetch_file(in_path, out_path)
        ended = self._run("/bin/cat", in_path)
        if ended.returncode:
            raise AnsibleError(f"{in_path} could not be read: {ended.stderr!r}")
        Path(out_path).write_bytes(ended.stdout)

    def reset(self) -> None:
        """Begin anew, of which there is nothing to do either."""
        self.close()

    def close(self) -> None:
        """There is nothing to close: each command is a process of its own."""
        self._connected = False

    def _run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        lab = Path(self.get_option("directory"))
        ended = subprocess.run(
            [str(lab / "enter"), str(lab), self.get_option("host"), *command],
            check=False,
            capture_output=True,
            **{"input": b"", **options},
        )
        if ended.returncode == _NOT_UP:
            raise AnsibleConnectionFailure(ended.stderr.decode(errors="replace"))
        return ended
