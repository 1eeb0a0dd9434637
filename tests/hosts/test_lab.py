"""The lab itself: what it says it does to a host is what happens to it."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.backend import inspect
from tests.hosts.host import NOT_UP, CommandFailedError, Host
from tests.hosts.lab import Lab
from tests.hosts.waiting import until_found

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(120, func_only=True)]

ROOT = Path(__file__).parents[2]
PLUGINS = Path(__file__).with_name("connection_plugins")


@pytest.fixture
def hosts(lab: Lab) -> Iterator[tuple[Host, Host, Host]]:
    """Three hosts, which are up and whole again afterwards."""
    names = ("raft1", "raft2", "raft3")
    yield lab[names[0]], lab[names[1]], lab[names[2]]
    lab.heal()
    for name in names:
        host = lab[name]
        if host.has_power:
            host.thaw()
            host.plug()
        else:
            host.power_on()
    for name in names:
        lab[name].until_up()


def reaches(host: Host, other: Host) -> bool:
    return host.run("ping", "-c", "1", "-W", "1", other.name, check=False).returncode == 0


def until_reaches(host: Host, other: Host) -> None:
    until_found(lambda: reaches(host, other), f"{host.name} reaches {other.name}")


def test_hosts_are_whole_systems(lab: Lab) -> None:
    """Each has booted without a failed unit, knows its name, and reaches the others but nothing beyond."""
    for host in lab.hosts.values():
        assert host.shell("systemctl is-system-running") == "running"
        assert host.shell("hostname") == host.name
        assert inspect(host).process.get(pid=1).comm == "systemd"
        assert host.shell("ip route show default") == ""
        for other in lab.hosts.values():
            until_reaches(host, other)


def test_a_command_s_failure_is_told(lab: Lab) -> None:
    """A command that fails raises what it said; one that may fail is looked at."""
    with pytest.raises(CommandFailedError, match="no way"):
        lab["spare"].shell("echo no way >&2; exit 3")
    assert lab["spare"].run("sh", "-c", "exit 3", check=False).returncode == 3


def test_a_power_cut_leaves_the_disk(hosts: tuple[Host, Host, Host]) -> None:
    """A host whose power is cut runs nothing; afterwards its files are there and its processes are not."""
    host, other, _ = hosts
    host.shell("echo kept >/var/lib/kept; systemd-run --unit=lost sleep 1000")
    host.cut_power()
    assert host.run("true", check=False).returncode == NOT_UP
    assert not reaches(other, host)
    host.power_on()
    host.until_up()
    until_reaches(other, host)
    assert host.shell("cat /var/lib/kept") == "kept"
    assert host.run("systemctl", "is-active", "lost", check=False).returncode != 0


def test_a_power_cut_is_not_heard_by_the_other_side(hosts: tuple[Host, Host, Host]) -> None:
    """A connection to a host whose power is cut stays open, and silent."""
    host, other, _ = hosts
    script = (
        "import socket,sys; s=socket.create_connection((sys.argv[1],22),5); s.settimeout(3); s.recv(100)\n"
        "print('connected',flush=True); sys.stdin.readline()\n"
        "try: print(repr(s.recv(100)))\n"
        "except TimeoutError: print('silence')"
    )
    command = other.command("python3", "-c", script, str(host.address))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"connected\n"
        host.cut_power()
        assert client.communicate(b"\n", timeout=30)[0] == b"silence\n"


def test_a_host_shuts_down_and_reboots(hosts: tuple[Host, Host, Host]) -> None:
    """Units are stopped in order by a shutdown; a reboot from inside comes back by itself."""
    host, _, _ = hosts
    host.shell("systemd-run --unit=last -p ExecStop='/bin/touch /var/lib/stopped' sleep 1000")
    host.shut_down()
    assert (host.root / "var/lib/stopped").exists()
    host.power_on()
    host.until_up()
    before = host.shell("systemctl show --property=UserspaceTimestampMonotonic --value")
    host.run("systemctl", "--no-block", "reboot")
    until_found(
        lambda: (
            host.run(
                "systemctl", "show", "--property=UserspaceTimestampMonotonic", "--value", check=False
            ).stdout.strip()
            not in {"", before}
        ),
        "it has booted again",
    )


def test_a_pulled_cable(hosts: tuple[Host, Host, Host]) -> None:
    """A host without its cable reaches nobody and is reached by nobody, but can still be looked into."""
    host, other, third = hosts
    host.unplug()
    assert not reaches(other, host)
    assert not reaches(host, third)
    assert reaches(other, third)
    assert inspect(host).file("/etc/hostname").content_string == f"{host.name}\n"
    host.plug()
    until_reaches(other, host)


def test_a_partition(lab: Lab, hosts: tuple[Host, Host, Host]) -> None:
    """Two hosts lose each other, and nobody else loses either."""
    one, other, third = hosts
    lab.partition(one.name, other.name)
    assert not reaches(one, other)
    assert not reaches(other, one)
    assert reaches(one, third)
    assert reaches(third, other)
    lab.heal()
    until_reaches(one, other)


def test_a_frozen_host(hosts: tuple[Host, Host, Host]) -> None:
    """A frozen host's processes do not run; thawed, they go on where they were."""
    host, _, _ = hosts
    counting = "import itertools\nfor n in itertools.count(): open('/run/count','w').write(str(n))"
    host.shell(f'systemd-run --unit=counting --collect python3 -c "{counting}"')
    until_found(lambda: host.run("test", "-s", "/run/count", check=False).returncode == 0, "it counts")
    host.freeze()
    with pytest.raises(subprocess.TimeoutExpired):
        host.run("cat", "/run/count", seconds=1)
    host.thaw()
    first = host.shell("cat /run/count")
    until_found(lambda: host.shell("cat /run/count") not in {"", first}, "it counts on")
    host.shell("systemctl stop counting")


def test_the_controller_is_on_the_network(lab: Lab) -> None:
    """Inside `as_controller` this thread's sockets reach hosts, and it comes back from there; SSH gets in too."""
    before = Path("/proc/thread-self/ns/net").readlink()
    with lab.as_controller(), socket.create_connection((str(lab["spare"].address), 22), 10) as connection:
        assert connection.recv(4) == b"SSH-"
    assert Path("/proc/thread-self/ns/net").readlink() == before
    ssh = lab.on_network("ssh", "-F", str(lab.directory / "ssh_config"), "spare", "hostname")
    assert subprocess.run(ssh, check=True, capture_output=True, text=True, timeout=60).stdout == "spare\n"


def ansible(lab: Lab, directory: Path, *arguments: str, seconds: int = 0) -> subprocess.Popen[str]:
    """Begin to do one thing on hosts, by the connection plugin, for so long at most; 0: as long as it takes."""
    inventory = directory / "hosts"
    names = "\n".join(f"{name} raftd_lab_directory={lab.directory}" for name in lab.hosts)
    inventory.write_text(f"{names}\n[all:vars]\nansible_python_interpreter=/usr/bin/python3\n")
    return subprocess.Popen(
        [sys.executable, "-m", "ansible", "adhoc", "-c", "raftd_lab", "-i", str(inventory), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(directory),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_CONNECTION_PLUGINS": str(PLUGINS),
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_TASK_TIMEOUT": str(seconds),
        },
    )


def done(lab: Lab, directory: Path, *arguments: str, code: int = 0) -> str:
    """Do one thing on hosts, and return what Ansible says."""
    with ansible(lab, directory, *arguments) as process:
        said, _ = process.communicate(timeout=90)
    assert process.returncode == code, said
    return said


def test_ansible_gets_in(lab: Lab, tmp_path: Path) -> None:
    """The connection plugin runs modules, and copies files to a host and back."""
    (tmp_path / "there.txt").write_text("there\n")
    assert done(lab, tmp_path, "-m", "ansible.builtin.ping", "all").count("SUCCESS") == len(lab.hosts)
    done(lab, tmp_path, "-m", "ansible.builtin.copy", "-a", f"src={tmp_path}/there.txt dest=/run/there.txt", "spare")
    done(
        lab,
        tmp_path,
        "-m",
        "ansible.builtin.fetch",
        "-a",
        f"src=/run/there.txt dest={tmp_path}/back flat=true",
        "spare",
    )
    assert (tmp_path / "back").read_text() == "there\n"


def test_modules_are_programs_of_their_own(lab: Lab, tmp_path: Path) -> None:
    """Each begins with the environment of a login, whatever the one before has done, and its failure is its own."""
    for module in ("ansible.builtin.command", "ansible.builtin.shell"):
        for _ in range(2):
            assert "rc=3" in done(lab, tmp_path, "-m", module, "-a", "sh -c 'echo no way >&2; exit 3'", "spare", code=2)
        said = done(lab, tmp_path, "-m", module, "-a", "env", "spare")
        assert {"HOME=/root", "LANG=C.UTF-8"} <= set(said.splitlines())
    server = lab["spare"].run("pgrep", "--full", "raftd-lab-modules").stdout.split()
    assert len(server) == 1, "all of these came from one process"


def test_a_module_ends_with_who_asked_for_it(lab: Lab, tmp_path: Path) -> None:
    """Ansible gives a task up that takes too long, and what it had begun on the host is not there any more."""
    sleep = ("pgrep", "--exact", "--full", "sleep 1234")
    with ansible(lab, tmp_path, "-m", "ansible.builtin.command", "-a", "sleep 1234", "spare", seconds=5) as process:
        until_found(lambda: not lab["spare"].run(*sleep, check=False).returncode, "the module runs")
        said, _ = process.communicate(timeout=90)
    assert "Timed out" in said or "timed out" in said, said
    until_found(lambda: lab["spare"].run(*sleep, check=False).returncode, "the module has ended")


def test_nothing_is_left_behind(image: Path) -> None:
    """A lab that is closed leaves nothing; one whose process is killed leaves what the next one removes."""
    with Lab(image, ["one"]) as first:
        first.path("/run").stat()
    assert not first.directory.exists()
    script = (
        "import sys\nfrom pathlib import Path\nfrom tests.hosts.lab import Lab\n"
        "with Lab(Path(sys.argv[1]), ['one']) as lab: print(lab.directory, lab.path('/'), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(image)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        directory, view = (Path(word) for word in killed.stdout.readline().split())
        keeper = view.parent
        killed.kill()
    until_found(lambda: not keeper.exists(), "its processes are gone")
    with Lab(image, ["one"]) as next_lab:
        assert not directory.exists()
        groups = {path.name for path in next_lab.path("/sys/fs/cgroup").iterdir()}
        assert not {first.name, directory.name} & groups
