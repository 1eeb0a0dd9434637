"""testinfra's way into a host: no SSH, so it also works while the host's cable is pulled."""

import subprocess
from typing import Any

from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host as InfraHost

from tests.hosts.host import COMMAND_SECONDS_MAX, Host


class LabBackend(BaseBackend):  # type: ignore[misc]  # testinfra tells no types
    """Runs testinfra's commands in a lab's host."""

    NAME = "raftd-lab"

    def __init__(self, host: Host, *args: Any, **options: Any) -> None:
        super().__init__(host.name, *args, **options)
        self._lab_host = host

    def run(self, command: str, *args: str, **_options: Any) -> CommandResult:
        """Run a shell's command line, into which `args` are put in quotes."""
        line = self.get_command(command, *args)
        ended = subprocess.run(
            self._lab_host.command("/bin/sh", "-c", line),
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=COMMAND_SECONDS_MAX,
        )
        return self.result(ended.returncode, self.encode(line), ended.stdout, ended.stderr)


def inspect(host: Host) -> InfraHost:
    """`host`, as testinfra's modules see it."""
    return InfraHost(LabBackend(host))
