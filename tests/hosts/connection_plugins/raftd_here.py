"""Ansible's way to the machine that it runs on: `local`, but for modules, which are run by a fork of Ansible's own.

That has loaded already what a Python of the module's own would load and compile, which takes most of what it costs.
"""

DOCUMENTATION = """
name: raftd_here
short_description: Run on the controller of raftd's test lab
description: As ansible.builtin.local, but modules are run by a fork of Ansible.
extends_documentation_fragment:
  - connection_pipelining
options:
  become_success_timeout:
    type: int
    default: 10
    description: See ansible.builtin.local.
  become_strip_preamble:
    type: bool
    default: true
    description: See ansible.builtin.local.
"""

import atexit
import os
import sys

from ansible.plugins.connection import local

from tests.hosts import module_server

_MODULE = f"/bin/sh -c '{sys.executable} && sleep 0'"
"""How Ansible starts a module, which is the standard input."""


class Connection(local.Connection):  # type: ignore[misc]  # Ansible has no types
    """A connection to this machine."""

    transport = "raftd_here"

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a shell's command line, and return its exit code and what it said."""
        if cmd != _MODULE or not in_data:
            ended: tuple[int, bytes, bytes] = super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
            return ended
        files = [os.memfd_create(name) for name in ("program", "stdout", "stderr")]
        try:
            os.write(files[0], in_data)
            os.lseek(files[0], 0, os.SEEK_SET)
            child = os.fork()
            if not child:
                _be_module(files)
            _, status = os.waitpid(child, 0)
            stdout, stderr = (os.pread(file, os.fstat(file).st_size, 0) for file in files[1:])
        finally:
            for file in files:
                os.close(file)
        return os.waitstatus_to_exitcode(status), stdout, stderr


def _be_module(files: list[int]) -> None:
    code = 1
    try:
        atexit._clear()  # what Ansible itself does at its end
        for number, file in enumerate(files):
            os.dup2(file, number)
        for name, mode, number in (("stdin", "r", 0), ("stdout", "w", 1), ("stderr", "w", 2)):
            setattr(sys, name, os.fdopen(number, mode))
        code = module_server.run_program()
    finally:
        os._exit(code)
