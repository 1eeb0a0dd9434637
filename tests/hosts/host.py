"""One host of a lab: it boots and shuts down, loses its power or its network, stands still, and runs commands."""

import contextlib
import ipaddress
import shlex
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.hosts.waiting import until_found

if TYPE_CHECKING:
    from tests.hosts.lab import Lab

ANSWER_SECONDS_MAX: Final = 5.0
COMMAND_SECONDS_MAX: Final = 120
NOT_UP: Final = 125
"""What `enter.sh` ends with where the host is not up."""
_NAMESPACE: Final = uuid.UUID("5b0a4f1e-3c3c-4a53-8a3f-2f0f4c6f6b52")
_BOOT: Final = Path(__file__).with_name("boot.sh")
_SHOWN_CONSOLE: Final = 4000
_UP: Final = {"running", "degraded"}


class CommandFailedError(Exception):
    """A command inside a host did not end with 0; the message has what it said."""


class Host:
    """A host, and where its parts are as this process sees them. Made by `Lab`."""

    def __init__(self, lab: "Lab", name: str, address: ipaddress.IPv4Address) -> None:
        self.name = name
        self.address = address
        self.machine_id = uuid.uuid5(_NAMESPACE, f"{lab.name}/{name}")
        self.console = lab.directory / f"{name}.console"
        """What the host has said on its console."""
        self._lab = lab
        self._supervisor: subprocess.Popen[bytes] | None = None

    @property
    def root(self) -> Path:
        """Its file system, whether it is up or not."""
        return self._lab.path(f"/run/hosts/{self.name}/root")

    @property
    def has_power(self) -> bool:
        """Whether any of its processes may be there."""
        return self._supervisor is not None and self._supervisor.poll() is None

    # Commands.

    def command(self, *command: str) -> list[str]:
        """The command line that runs `command` inside, from this machine."""
        return [str(self._lab.directory / "enter"), str(self._lab.directory), self.name, *command]

    def run(
        self, *command: str, check: bool = True, seconds: float = COMMAND_SECONDS_MAX, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root, and return how it ended.

        Raises:
            CommandFailedError: it did not end with 0, and `check` was not taken off.
            subprocess.TimeoutExpired: it took longer than `seconds`.
        """
        if "input" not in options:
            options["stdin"] = subprocess.DEVNULL
        ended = subprocess.run(
            self.command(*command), check=False, capture_output=True, text=True, timeout=seconds, **options
        )
        if check and ended.returncode:
            said = f"{ended.stdout}\n{ended.stderr}".strip()
            raise CommandFailedError(f"{self.name}: {shlex.join(command)} ended with {ended.returncode}:\n{said}")
        return ended

    def answers(self) -> bool:
        """Whether it runs commands at this moment, be it on its way down."""
        try:
            return self.run("true", check=False, seconds=ANSWER_SECONDS_MAX).returncode == 0
        except subprocess.TimeoutExpired:
            # A host that goes down first stops all that runs in it (kill(2), SIGSTOP), and lets it go on after a signal
            # to end. nsenter(1) stops itself with its child, and is out of reach of the second.
            return False

    def shell(self, script: str, **options: Any) -> str:
        """Run a script that stops at its first failure, and return what it wrote to standard output."""
        return self.run("/bin/bash", "-euo", "pipefail", "-c", script, **options).stdout.strip()

    def put(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """Write a file inside, owned by root."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(mode)

    # Power.

    def power_on(self) -> None:
        """Let it boot; it is not up yet."""
        assert not self.has_power, f"{self.name} has power already"
        self._lab.make_group(self.name)
        self._attach()
        group = f"/sys/fs/cgroup/{self._lab.name}/{self.name}"
        with self.console.open("ab") as console:
            self._supervisor = subprocess.Popen(
                self._lab.inside("/bin/sh", str(_BOOT), group, *self._container()),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def until_up(self) -> None:
        """Wait until it has booted, all of its units started or failed."""

        def is_up() -> bool:
            assert self.has_power, f"{self.name} did not boot:\n{self._last_words()}"
            with contextlib.suppress(subprocess.TimeoutExpired):
                state = self.run("systemctl", "is-system-running", "--wait", check=False, seconds=10)
                return state.stdout.strip() in _UP
            return False

        until_found(is_up, f"{self.name} is up", details=self._last_words)

    def shut_down(self) -> None:
        """Shut down as `poweroff` does."""
        self.run("systemctl", "--no-block", "poweroff")
        self._until_off()

    def cut_power(self) -> None:
        """End every process at once. Peers hear nothing of it; the disk keeps what was written."""
        self.unplug()
        self._lab.group(self.name, "cgroup.kill").write_text("1")
        self._until_off()

    def forget(self) -> None:
        """Take notice of an end that came with the whole lab's."""
        if self._supervisor is not None:
            self._supervisor.wait(COMMAND_SECONDS_MAX)
            self._supervisor = None

    def freeze(self) -> None:
        """Let every process stand still, as a hypervisor may; connections stay open."""
        self._lab.group(self.name, "payload/cgroup.freeze").write_text("1")

    def thaw(self) -> None:
        """Let it go on."""
        self._lab.group(self.name, "payload/cgroup.freeze").write_text("0")

    # Network.

    def unplug(self) -> None:
        """Pull the network cable."""
        self._lab.run_inside("ip", "link", "set", self._port, "down")

    def plug(self) -> None:
        """Plug the network cable in."""
        self._lab.run_inside("ip", "link", "set", self._port, "up")

    @property
    def _port(self) -> str:
        """The bridge's end of the cable."""
        return f"p-{self.name}"

    def _attach(self) -> None:
        """Give it a network namespace of its own for this boot, so that no connection of the last one lives on.

        The hardware address stays, so that what its peers remember of it is right.
        """
        hardware = "02:00:" + ":".join(f"{byte:02x}" for byte in self.address.packed)
        for command in (
            f"ip netns add {self.name}",
            f"ip link add {self._port} type veth peer name eth0 address {hardware} netns {self.name}",
            f"ip link set {self._port} master lan up",
            f"ip -n {self.name} link set lo up",
            f"ip -n {self.name} address add {self.address}/{self._lab.network.prefixlen} dev eth0",
            f"ip -n {self.name} link set eth0 up",
        ):
            self._lab.run_inside(*command.split())

    def _container(self) -> list[str]:
        return [
            *("systemd-nspawn", "--quiet", "--boot", "--console=pipe"),
            # No systemd of this machine has to know of it: it stays in the control group that it is started in.
            *("--register=no", "--keep-unit"),
            f"--directory=/run/hosts/{self.name}/root",
            f"--machine={self.name}",
            f"--uuid={self.machine_id}",
            f"--network-namespace-path=/run/netns/{self.name}",
            # What units need whose addresses, memory or files are limited.
            *(
                "--capability=CAP_NET_ADMIN,CAP_SYS_RESOURCE,CAP_IPC_LOCK,CAP_BPF,CAP_PERFMON",
                "--system-call-filter=bpf",
            ),
            *("--rlimit=RLIMIT_NOFILE=1024:524288", "--rlimit=RLIMIT_MEMLOCK=8388608:infinity"),
            *("--resolv-conf=off", "--timezone=off", "--link-journal=no"),
        ]

    def _until_off(self) -> None:
        supervisor = self._supervisor
        if supervisor is not None:
            until_found(lambda: supervisor.poll() is not None, f"{self.name} is off", details=self._last_words)
        self._supervisor = None
        self._lab.run_inside("ip", "netns", "delete", self.name)
        # The kernel takes the cable away with the namespace, but in its own time.
        self._lab.run_inside("ip", "link", "delete", self._port, check=False)
        self._lab.remove_group(self.name)

    def _last_words(self) -> str:
        return self.console.read_text(errors="replace")[-_SHOWN_CONSOLE:] if self.console.exists() else ""
