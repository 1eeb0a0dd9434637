"""Hosts on one machine, each with a real systemd as its first process, on a network of their own without a way out.

A lab is one process, the keeper (`keeper.sh`), in mount, network, IPC and PID namespaces of its own. All that the lab
has lives in these: the bridge that stands for the switch, the memory file system that the hosts' disks lie on, and
every process of every host. The keeper ends with its standard input. So there is nothing that a test run could leave
behind, however it ends, but empty control groups and a small directory, which the next lab removes; and that the kernel
allows root more inotify instances until it boots again.

What it cannot show: a power cut that loses what the kernel has not written yet (the page cache is this machine's), and
clocks that differ.
"""

import contextlib
import ctypes
import fcntl
import ipaddress
import os
import secrets
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from tests.hosts.host import Host
from tests.hosts.waiting import until_found

NETWORK: Final = ipaddress.IPv4Network("10.77.0.0/24")
DIRECTORY: Final = Path(tempfile.gettempdir()) / "raftd-hosts"
"""Where labs have their directories."""
_KEEPER: Final = Path(__file__).with_name("keeper.sh")
_ENTER: Final = Path(__file__).with_name("enter.sh")
_NAMESPACES: Final = ("--mount", "--net", "--ipc", "--pid")
_FIRST_HOST: Final = 11
_NAME_LENGTH_MAX: Final = 12  # an interface's name has 15 characters at most, three of which the lab needs
_HOME: Final = "/root"
_END_SECONDS_MAX: Final = 30
_INOTIFY_INSTANCES: Final = Path("/proc/sys/fs/inotify/max_user_instances")
_INOTIFY_INSTANCES_MIN: Final = 1024
"""A host's processes need seven. Debian allows all of root's 128, and there may be several labs at a time."""
_CLONE_NEWNET: Final = 0x40000000
_SSH: Final = """\
Host *
  User root
  IdentityFile {directory}/id
  IdentitiesOnly yes
  UserKnownHostsFile {directory}/known_hosts
  StrictHostKeyChecking yes
  BatchMode yes
  ConnectTimeout 5
"""


class Lab:
    """Some hosts. As a context manager, it is there with all of them up, and is gone afterwards.

    Args:
        image: The file system that hosts start with; stays as it is.
        names: The hosts' names, which are also their names on the network.
    """

    def __init__(self, image: Path, names: Sequence[str]) -> None:
        assert all(len(name) <= _NAME_LENGTH_MAX for name in names), names
        self.name = f"raftd-{os.getpid()}-{secrets.token_hex(4)}"
        self.directory = DIRECTORY / self.name
        self.network = NETWORK
        self.controller = NETWORK[1]
        """This machine's address on the lab's network."""
        self.hosts = {name: Host(self, name, NETWORK[_FIRST_HOST + number]) for number, name in enumerate(names)}
        self._image = image
        self._keeper: subprocess.Popen[bytes] | None = None
        self._keeper_pid = 0
        self._lock: IO[str] | None = None

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.callback(self._close)
            self._open()
            for host in self.hosts.values():
                host.power_on()
            for host in self.hosts.values():
                host.until_up()
            undo.pop_all()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._close()

    # Inside of its namespaces.

    def path(self, path: str) -> Path:
        """Where `path` of the lab's mount namespace is for this process."""
        return Path(f"/proc/{self._keeper_pid}/root{path}")

    def inside(self, *command: str) -> list[str]:
        """The command line that runs `command` in the lab's namespaces, outside of every host."""
        return ["nsenter", "--target", str(self._keeper_pid), *_NAMESPACES, "--", *command]

    def on_network(self, *command: str) -> list[str]:
        """The command line that runs `command` on this machine, but on the lab's network."""
        return ["nsenter", "--target", str(self._keeper_pid), "--net", "--", *command]

    def run_inside(self, *command: str, check: bool = True, script: str | None = None) -> None:
        """Run a command in the lab's namespaces, with `script` as its standard input.

        Raises:
            AssertionError: it failed.
        """
        ended = subprocess.run(
            self.inside(*command), check=False, capture_output=True, text=True, timeout=30, input=script or ""
        )
        assert not check or ended.returncode == 0, f"{command} ended with {ended.returncode}: {ended.stderr}"

    @contextlib.contextmanager
    def as_controller(self) -> Iterator[None]:
        """Sockets that this thread opens in the block are on the lab's network."""
        libc = ctypes.CDLL(None, use_errno=True)
        with contextlib.ExitStack() as files:
            before, there = (
                files.enter_context(Path(path).open("rb"))
                for path in ("/proc/thread-self/ns/net", f"/proc/{self._keeper_pid}/ns/net")
            )
            if libc.setns(there.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            try:
                yield
            finally:
                if libc.setns(before.fileno(), _CLONE_NEWNET):
                    os.abort()  # to go on in the wrong network would mislead every later test

    # Failures between two hosts.

    def partition(self, one: str, other: str) -> None:
        """Let nothing through between two hosts; both reach everybody else."""
        first, second = self[one].address, self[other].address
        rules = "\n".join(
            f"add rule bridge faults forward ip saddr {source} ip daddr {destination} drop"
            for source, destination in ((first, second), (second, first))
        )
        chain = "add chain bridge faults forward { type filter hook forward priority 0; }"
        self.run_inside("nft", "-f", "-", script=f"add table bridge faults\n{chain}\n{rules}\n")

    def heal(self) -> None:
        """Undo every `partition`."""
        self.run_inside("nft", "delete", "table", "bridge", "faults", check=False)

    # Control groups, of which each host has one.

    def renew(self, name: str) -> None:
        """Put a new machine in the place of one: it has its name, its address, and nothing else of it."""
        host, place = self.hosts[name], f"/run/hosts/{name}"
        host.cut_power()
        host.machine_id = uuid.uuid5(host.machine_id, "the next one")
        self.run_inside("umount", f"{place}/root")
        self.run_inside("rm", "-rf", f"{place}/own", f"{place}/work")
        self._make_disk(host)
        host.power_on()

    def group(self, host: str, file: str = "") -> Path:
        """A host's control group, or a file in it."""
        return self.path(f"/sys/fs/cgroup/{self.name}/{host}") / file

    def make_group(self, host: str) -> None:
        """Make a host's control group; what the last boot left in it is removed."""
        self.remove_group(host)
        self.group(host).mkdir()

    def remove_group(self, host: str) -> None:
        """Remove a host's control group, as soon as the last process is out of it."""
        _remove_groups(self.group(host))

    # Its beginning and its end.

    def _open(self) -> None:
        if int(_INOTIFY_INSTANCES.read_text()) < _INOTIFY_INSTANCES_MIN:
            _INOTIFY_INSTANCES.write_text(f"{_INOTIFY_INSTANCES_MIN}")
        DIRECTORY.mkdir(exist_ok=True)
        with _one_at_a_time():
            self.directory.mkdir()
            # Held for as long as this process lives: how others know that the lab is in use.
            self._lock = (self.directory / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        _make_key(self.directory / "id", "controller")
        self._start_keeper()
        self._sweep()
        shutil.copy(_ENTER, self.directory / "enter")
        per_host = "".join(f"Host {host.name}\n  HostName {host.address}\n" for host in self.hosts.values())
        (self.directory / "ssh_config").write_text(per_host + _SSH.format(directory=self.directory))
        for host in self.hosts.values():
            self._make_disk(host)

    def _start_keeper(self) -> None:
        with (self.directory / "keeper.log").open("wb") as log:
            self._keeper = subprocess.Popen(
                [
                    *("unshare", *_NAMESPACES, "--fork", "--kill-child", "--mount-proc", "--propagation=private", "--"),
                    *("/bin/sh", str(_KEEPER), self.name, f"{self.controller}/{self.network.prefixlen}"),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.readline() == b"ready\n", (self.directory / "keeper.log").read_text()
        process = self._keeper.pid
        self._keeper_pid = int(Path(f"/proc/{process}/task/{process}/children").read_text())
        (self.directory / "keeper.pid").write_text(f"{self._keeper_pid}\n")

    def _make_disk(self, host: Host) -> None:
        """Lay a host's own layer above the image, and write what makes it this host and no other."""
        place = f"/run/hosts/{host.name}"
        self.run_inside("mkdir", "-p", f"{place}/own", f"{place}/work", f"{place}/root")
        layers = f"lowerdir={self._image},upperdir={place}/own,workdir={place}/work"
        self.run_inside("mount", "-t", "overlay", "-o", layers, "none", f"{place}/root")
        names = "".join(f"{each.address} {each.name}\n" for each in self.hosts.values())
        host.put("/etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n{names}".encode())
        host.put("/etc/hostname", f"{host.name}\n".encode())
        host.put("/etc/machine-id", f"{host.machine_id.hex}\n".encode(), mode=0o444)
        key = host.root / "etc/ssh/ssh_host_ed25519_key"
        _make_key(key, host.name)
        with (self.directory / "known_hosts").open("a") as known:
            known.write(f"{host.address} {key.with_suffix('.pub').read_text()}")
        host.put(f"{_HOME}/.ssh/authorized_keys", (self.directory / "id.pub").read_bytes(), mode=0o600)

    def _close(self) -> None:
        """End everything, and wait until it is gone."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            with contextlib.ExitStack() as groups:
                # The keeper's end takes its view of the control groups away, and empties them: a descriptor stays.
                view = os.open(self.path("/sys/fs/cgroup"), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                groups.callback(os.close, view)
                keeper.communicate(timeout=_END_SECONDS_MAX)
                for host in self.hosts.values():
                    host.forget()
                _remove_groups(Path(f"/proc/self/fd/{view}/{self.name}"))
        shutil.rmtree(self.directory, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def _sweep(self) -> None:
        """Remove what labs have left whose process was killed."""
        with _one_at_a_time():
            for directory in DIRECTORY.iterdir():
                if directory == self.directory:
                    continue
                with contextlib.suppress(OSError), (directory / "lock").open() as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while that lab is in use
                    _remove_groups(self.path(f"/sys/fs/cgroup/{directory.name}"))
                    shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Nobody looks at the labs' directories while one is half made."""
    directory = os.open(DIRECTORY, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _make_key(path: Path, comment: str) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], check=True, timeout=30
    )


def _remove_groups(top: Path) -> None:
    """Remove a control group and all in it, as soon as no process is in any of them."""

    def is_gone() -> bool:
        with contextlib.suppress(OSError):
            for directory, _, _ in os.walk(top, topdown=False):
                Path(directory).rmdir()
        return not top.exists()

    until_found(is_gone, f"control group {top.name} is empty")
