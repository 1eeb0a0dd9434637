"""Ansible's way into the hosts of a lab, without SSH (ansible.builtin.ssh works too, and takes three times as long)."""

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

import io
import os
import socket
import subprocess
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ansible import __version__ as ansible_version
from ansible import module_utils
from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.plugins.connection import ConnectionBase

from tests.hosts import module_server

_NOT_UP = 125
_KILLED = 137
_PYTHON = "/usr/bin/python3"
_MODULE = f"/bin/sh -c '{_PYTHON} && sleep 0'"
"""How Ansible starts a module, which is the standard input."""


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
        if cmd == _MODULE and in_data:
            done = self._run_module(in_data)
            if done is not None:
                return done
        ended = self._run("/bin/sh", "-c", cmd, input=in_data or b"")
        return ended.returncode, ended.stdout, ended.stderr

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file of this machine into the host."""
        super().put_file(in_path, out_path)
        source = Path(in_path)
        if not source.exists():
            raise AnsibleFileNotFound(f"there is no {in_path}")
        init = self._init()
        if init is None:
            raise AnsibleConnectionFailure("it is not up")
        try:
            # Where Ansible puts files, in directories of its own, no link leads elsewhere.
            Path(f"/proc/{init}/root{out_path}").write_bytes(source.read_bytes())
        except OSError as error:
            raise AnsibleError(f"{out_path} could not be written: {error}") from error

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

    def _run_module(self, program: bytes) -> tuple[int, bytes, bytes] | None:
        """Have the host's module server run a module; None if there is no such server, and none can be started."""
        with ExitStack() as stack:
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            if not self._reach_server(connection):
                return None
            files = [os.memfd_create(name) for name in ("program", "stdout", "stderr")]
            for file in files:
                stack.callback(os.close, file)
            os.write(files[0], program)
            os.lseek(files[0], 0, os.SEEK_SET)
            socket.send_fds(connection, [b" "], files)
            try:
                answer = connection.recv(module_server.EXIT_CODE.size)
            except ConnectionError:
                answer = b""
            stdout, stderr = (os.pread(file, os.fstat(file).st_size, 0) for file in files[1:])
        # The host has died, and the module with it.
        return module_server.EXIT_CODE.unpack(answer)[0] if answer else _KILLED, stdout, stderr

    def _reach_server(self, connection: socket.socket) -> bool:
        for _ in range(2):
            init = self._init()
            if init is None:
                return False
            if not connection.connect_ex(f"/proc/{init}/root{module_server.ADDRESS}"):
                return True
            self._run(_PYTHON, "-c", Path(module_server.__file__).read_text(), input=_archive())
        return False

    def _init(self) -> str | None:
        """The id of the host's first process, if it is up."""
        lab, host = Path(self.get_option("directory")), str(self.get_option("host"))
        keeper = Path("/proc", (lab / "keeper.pid").read_text().strip(), "root")
        group = keeper / "sys/fs/cgroup" / lab.name / host / "payload/init.scope"
        try:
            for process in (group / "cgroup.procs").read_text().split():
                status = Path("/proc", process, "status").read_text()
                if any(line.startswith("NSpid:") and line.endswith("\t1") for line in status.splitlines()):
                    return process
        except OSError:
            pass  # it is not up, or ends just now
        return None

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


def _archive() -> bytes:
    """What modules share, as Ansible itself packs it for each of them."""
    directory = Path(module_utils.__file__).parent
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("ansible/__init__.py", f"__version__ = {ansible_version!r}\n__author__ = ''\n")
        for path in sorted(directory.rglob("*.py")):
            archive.write(path, Path("ansible/module_utils") / path.relative_to(directory))
    return packed.getvalue()
