"""A node as systemd runs it: what is seen of it, what it may do, and how it ends."""

import re

import pytest

from raftd import events
from raftd.errors import ExitCode
from tests.hosts.backend import inspect
from tests.hosts.cluster import CLIENT_PORT, HTTP_PORT, PEER_PORT, USER, HostCluster, unit_property
from tests.hosts.host import Host
from tests.hosts.load import writing
from tests.hosts.waiting import until_found

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(240, func_only=True)]


def until_status_says(host: Host, number: int, pattern: str) -> None:
    """Wait until what `systemctl status` prints has something that fits."""
    until_found(
        lambda: re.search(pattern, host.shell(f"systemctl status raftd@{number}")), f"node {number} says {pattern!r}"
    )


def main_process(host: Host, number: int) -> dict[str, str]:
    """What the kernel says of a node's process (proc(5), status)."""
    text = host.shell(f"cat /proc/{unit_property(host, f'raftd@{number}', 'MainPID')}/status")
    return dict(re.findall(r"^(\w+):\s+(.*)$", text, re.MULTILINE))


def test_a_cluster_works(cluster: HostCluster) -> None:
    """Three hosts serve as one: what is put through one client is got from every node."""
    cluster.raftctl("set", "greeting", "hello")
    assert cluster.raftctl("get", "greeting") == "hello\n"
    for number, host in cluster.nodes.items():
        endpoint = f"{host.name}:{CLIENT_PORT}"
        assert cluster.raftctl("--endpoints", endpoint, "get", "greeting") == "hello\n", number
    assert "0.1" in cluster.raftctl("--version")


def test_status_says_what_the_node_is(cluster: HostCluster) -> None:
    """`systemctl status` has the line that the node keeps true: role, term, leader, how far it is."""
    leader = cluster.leader()
    for number, host in cluster.nodes.items():
        role = "leader" if number == leader else "follower"
        expected = rf'Status: "{role} in term \d+, leader {leader}, commit \d+, applied \d+, \d+ keys"'
        until_status_says(host, number, expected)


def test_files_and_ports(cluster: HostCluster) -> None:
    """Settings and keys are root's to write and the node's to read; data is the node's alone; its ports are open."""
    for number, host in cluster.nodes.items():
        seen = inspect(host)
        for path, owner, group, mode in (
            ("/etc/raftd", "root", "raftd", 0o750),
            ("/etc/raftd/raftd.yaml", "root", "raftd", 0o640),
            (f"/etc/raftd/pki/node-{number}.peer.key", "root", "raftd", 0o640),
            (f"/var/lib/raftd/{number}", "raftd", "raftd", 0o700),
        ):
            file = seen.file(path)
            assert (file.user, file.group, file.mode) == (owner, group, mode), path
        for port in (CLIENT_PORT, PEER_PORT, HTTP_PORT):
            assert seen.socket(f"tcp://{host.address}:{port}").is_listening
        assert seen.service(f"raftd@{number}").is_enabled
        user = seen.user("raftd")
        assert (user.shell, user.home) == ("/usr/sbin/nologin", "/")
        assert host.shell("find /etc/raftd /var/lib/raftd -perm /o+rwx -not -path /var/lib/raftd") == ""


def test_the_sandbox_is_real(cluster: HostCluster) -> None:
    """The running process has no privilege, no way to one, a filter on its system calls, and sees nothing of others."""
    for number, host in cluster.nodes.items():
        process = main_process(host, number)
        uid = inspect(host).user("raftd").uid
        assert set(process["Uid"].split()) == {str(uid)}
        assert {process[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
        assert (process["NoNewPrivs"], process["Seccomp"]) == ("1", "2")
        limits = host.shell(f"cat /proc/{process['Pid']}/limits")
        assert re.search(r"Max core file size\s+0\s+0\s", limits)
        inside = f"nsenter --target {process['Pid']} --mount --"
        assert host.shell(f"{inside} ls -A /home /root /run/user 2>/dev/null | grep -v : || true") == ""
        assert host.run("sh", "-c", f"{inside} touch /etc/raftd/x", check=False).returncode != 0
        judged = host.shell(f"systemd-analyze security --no-pager raftd@{number}")
        found = re.search(r"Overall exposure level for \S+: ([\d.]+)", judged)
        assert found is not None
        assert float(found[1]) <= 1.1, judged


def test_metrics_of_the_process_are_seen(cluster: HostCluster) -> None:
    """The sandbox does not hide what a process may know of itself."""
    for host in cluster.nodes.values():
        metrics = host.shell(f"curl --silent --fail http://{host.name}:{HTTP_PORT}/metrics")
        assert "process_resident_memory_bytes" in metrics
        assert "process_open_fds" in metrics


def test_the_journal_explains(cluster: HostCluster) -> None:
    """Events are found by name; `journalctl -x` says what each means and what to do, with the record's own fields."""
    number = cluster.leader()
    host = cluster.nodes[number]
    plain = host.shell(f"journalctl --unit raftd@{number} RAFTD_EVENT=node_ready --output cat")
    assert "the ports listen" in plain
    explained = host.shell(f"journalctl -x --unit raftd@{number} RAFTD_EVENT=leader_elected --output short")
    assert re.search(r"Subject: node \d leads term \d+", explained)
    assert "Defined-By: raftd" in explained
    advice = " ".join(events.LEADER_ELECTED.advice.split())
    assert advice in " ".join(explained.replace("░░", "").split())
    known = host.shell("journalctl --list-catalog")
    assert all(event.message_id in known for event in events.CATALOGUE)


def test_a_graceful_stop_hands_leadership_over(cluster: HostCluster) -> None:
    """The leader is told to stop under load: another leads before it has ended, and no write fails."""
    number = cluster.leader()
    host = cluster.nodes[number]
    with writing(cluster.client) as writer:
        host.shell(f"systemctl stop raftd@{number}")
        writer.more(50)
    assert writer.count("failed") == 0
    assert unit_property(host, f"raftd@{number}", "Result") == "success"
    ended = _time_of(host, number, "node_stopped")
    draining = _time_of(host, number, "node_draining")
    successor = cluster.leader()
    elected = _time_of(cluster.nodes[successor], successor, "leader_elected")
    assert successor != number
    assert draining < elected < ended
    status = host.run("systemctl", "status", f"raftd@{number}", check=False).stdout
    assert "stopping: handing over what is under way" in status


def _time_of(host: Host, number: int, event: str) -> int:
    """When the newest of these events was logged, in microseconds."""
    line = host.shell(f"journalctl --unit raftd@{number} RAFTD_EVENT={event} --lines 1 --output json")
    found = re.search(r'"__REALTIME_TIMESTAMP"\s*:\s*"(\d+)"', line)
    assert found is not None, f"{host.name} has logged no {event}"
    return int(found[1])


def test_the_watchdog_ends_a_node_that_stands_still(cluster: HostCluster) -> None:
    """A node that is stopped by SIGSTOP is ended by the watchdog and started again, and catches up; no write fails."""
    number = cluster.leader()
    host = cluster.nodes[number]
    unit = f"raftd@{number}"
    before = unit_property(host, unit, "MainPID")
    restarts = int(unit_property(host, unit, "NRestarts"))
    with writing(cluster.client) as writer:
        host.shell(f"systemctl kill --kill-whom=main --signal=SIGSTOP {unit}")
        until_found(lambda: int(unit_property(host, unit, "NRestarts")) > restarts, "the watchdog acts", seconds=90)
        cluster.until_well()
        writer.more(50)
    assert writer.count("failed") == 0
    assert unit_property(host, unit, "MainPID") != before
    assert "Watchdog timeout" in host.shell(f"journalctl --unit {unit} --lines 200 --output cat")


def test_wrong_settings_are_not_tried_again_and_again(cluster: HostCluster) -> None:
    """A node whose settings cannot be used ends with 78, stays down, and its journal says what is wrong and where."""
    number = cluster.followers()[0]
    host = cluster.nodes[number]
    unit = f"raftd@{number}"
    settings = host.root / "etc/raftd/raftd.yaml"
    good = settings.read_text()
    try:
        settings.write_text(good + "\nsurprise: 1\n")
        assert host.run("systemctl", "restart", unit, check=False).returncode != 0
        assert unit_property(host, unit, "ExecMainStatus") == str(int(ExitCode.CONFIGURATION))
        assert unit_property(host, unit, "ActiveState") == "failed"
        assert "surprise" in host.shell(f"journalctl --unit {unit} --lines 30 --output cat")
    finally:
        settings.write_text(good)
    cluster.mend()


def test_a_node_starts_with_its_host(cluster: HostCluster) -> None:
    """After a reboot, asked for from inside, the node is there again without anybody's doing."""
    number = cluster.leader()
    host = cluster.nodes[number]
    host.run("systemctl", "--no-block", "reboot")
    until_found(lambda: not host.answers(), "the host goes down", every=0.01)
    host.until_up()
    cluster.until_well()
    assert unit_property(host, f"raftd@{number}", "ActiveState") == "active"


def test_all_nodes_of_a_host_stop_with_the_target(cluster: HostCluster) -> None:
    """Stopping raftd.target stops the nodes of this host, in order."""
    number = cluster.followers()[0]
    host = cluster.nodes[number]
    host.shell("systemctl start raftd.target && systemctl stop raftd.target")
    assert unit_property(host, f"raftd@{number}", "ActiveState") == "inactive"
    assert unit_property(host, f"raftd@{number}", "Result") == "success"


def test_timers_are_planned(cluster: HostCluster) -> None:
    """The timers for backups and for certificates can be enabled, and have a next time."""
    number, host = next(iter(cluster.nodes.items()))
    timers = f"raftd-backup@{number}.timer raftd-certs@{number}.timer"
    try:
        host.shell(f"systemctl enable --now {timers}")
        planned = host.shell("systemctl list-timers --no-pager 'raftd*'")
        assert f"raftd-backup@{number}.service" in planned
        assert f"raftd-certs@{number}.service" in planned
    finally:
        host.shell(f"systemctl disable --now {timers}")


def test_the_daily_look_at_certificates(cluster: HostCluster) -> None:
    """What the timer starts is content as long as a node's files can be used, and else fails, naming the file."""
    number, host = next(iter(cluster.nodes.items()))
    unit, key = f"raftd-certs@{number}", f"/etc/raftd/pki/node-{number}.client.key"
    host.shell(f"systemctl start {unit}")
    mode = host.shell(f"stat -c %a {key}")
    try:
        host.shell(f"chmod 0644 {key}")
        host.shell(f"! systemctl start {unit}")
        assert unit_property(host, unit, "ExecMainStatus") == str(int(ExitCode.UNHEALTHY))
        assert unit in host.shell("systemctl --failed --no-legend --plain")
        assert key in host.shell(f"journalctl --no-pager --output cat --unit {unit}")
    finally:
        host.shell(f"chmod {mode} {key} && systemctl reset-failed {unit}")


def test_a_reload_is_refused_with_a_line_and_harms_nothing(cluster: HostCluster) -> None:
    """`systemctl reload` with a bad file leaves the node as it was; with a good one it is done."""
    number, host = next(iter(cluster.nodes.items()))
    unit, path = f"raftd@{number}", "/etc/raftd/raftd.yaml"
    process = unit_property(host, unit, "MainPID")
    good = host.shell(f"cat {path}")

    def says(text: str) -> bool:
        return text in host.shell(f"journalctl --no-pager --output cat --unit {unit} --since '{begin}'")

    begin = host.shell("date '+%F %T'")
    try:
        host.shell(f"echo 'colour: blue' >> {path} && systemctl reload {unit}")
        until_found(lambda: says("the reload was refused"), "the bad file is refused")
    finally:
        host.shell(f"sed -i '/^colour: blue$/d' {path} && systemctl reload {unit}")
    until_found(lambda: says("reloaded: "), "the good file counts")
    assert host.shell(f"cat {path}") == good
    assert unit_property(host, unit, "MainPID") == process
    assert unit_property(host, unit, "ActiveState") == "active"


def test_a_timed_backup_is_made_and_counted(cluster: HostCluster) -> None:
    """The node's user has a file that loads, and the node knows of it; without the node, the service has failed."""
    number = cluster.followers()[0]
    host = cluster.nodes[number]
    names = ("raftctl.yaml", f"pki/user-{USER}.crt", f"pki/user-{USER}.key")
    place = f"/var/lib/raftd/backup/{number}"
    try:
        for name in names:
            host.put(f"/etc/raftd/{name}", (cluster.client.root / "etc/raftd" / name).read_bytes(), mode=0o640)
            host.shell(f"chown root:raftd /etc/raftd/{name}")
        host.shell(f"systemctl start raftd-backup@{number}")
        (file,) = host.shell(f"ls {place}").split()
        assert host.shell(f"stat -c '%U:%G %a' {place}/{file}") == "raftd:raftd 600"
        host.shell(f"raftctl snapshot verify {place}/{file}")
        assert cluster.status()[number]["backup"]["success_ms"] > 0
        host.shell(f"systemctl stop raftd@{number}")
        host.run("systemctl", "start", f"raftd-backup@{number}", check=False)
        assert unit_property(host, f"raftd-backup@{number}", "Result") == "exit-code"
        assert host.shell(f"ls {place}") == file
    finally:
        host.shell(f"systemctl reset-failed raftd-backup@{number} || true; systemctl start raftd@{number}")
        if host is not cluster.client:
            host.shell("rm -f " + " ".join(f"/etc/raftd/{name}" for name in names))
        cluster.until_well()


def test_keys_may_be_credentials(cluster: HostCluster) -> None:
    """With the example for credentials, a node runs on keys that its user cannot find in any file of /etc."""
    number = cluster.followers()[0]
    host = cluster.nodes[number]
    settings = host.root / "etc/raftd/raftd.yaml"
    good = settings.read_text()
    place = "/etc/systemd/system/raftd@.service.d"
    examples = "/usr/share/doc/raftd/examples/raftd@.service.d"
    try:
        host.shell(
            f"install -d -m 0700 /etc/raftd/private && mv /etc/raftd/pki/*.key /etc/raftd/private/ "
            f"&& chown root:root /etc/raftd/private/* && chmod 0600 /etc/raftd/private/* "
            f"&& install -D -m 0644 {examples}/credentials.conf {place}/credentials.conf && systemctl daemon-reload"
        )
        for kind in ("peer", "client"):
            good_key = f"pki/node-{{node}}.{kind}.key"
            assert good_key in settings.read_text()
            settings.write_text(
                settings.read_text().replace(good_key, f"/run/credentials/raftd@{{node}}.service/{kind}.key")
            )
        host.shell(f"systemctl restart raftd@{number}")
        cluster.until_well()
    finally:
        settings.write_text(good)
        host.shell(
            f"mv /etc/raftd/private/*.key /etc/raftd/pki/; rm -rf {place} /etc/raftd/private; "
            f"chown root:raftd /etc/raftd/pki/*; chmod 0640 /etc/raftd/pki/*; "
            f"systemctl daemon-reload; systemctl restart raftd@{number}"
        )


def test_addresses_may_be_shut_out(cluster: HostCluster) -> None:
    """With the example for addresses, who is not on the list does not get through, and the others do."""
    number = cluster.followers()[0]
    host = cluster.nodes[number]
    place = "/etc/systemd/system/raftd@.service.d"
    example = "/usr/share/doc/raftd/examples/raftd@.service.d/addresses.conf"
    peers = "\\n".join(f"IPAddressAllow={other.address}" for other in cluster.nodes.values())
    ask = ("curl", "--silent", "--fail", "--max-time", "3", f"http://{host.name}:{HTTP_PORT}/livez")
    try:
        host.shell(
            f"mkdir -p {place} && sed 's#^IPAddressAllow=10.*#{peers}#' {example} >{place}/addresses.conf "
            f"&& systemctl daemon-reload && systemctl restart raftd@{number}"
        )
        peer = cluster.nodes[cluster.leader()]
        until_found(lambda: peer.run(*ask, check=False).returncode == 0, "a peer gets through")
        assert cluster.client.run(*ask, check=False).returncode != 0
    finally:
        host.shell(f"rm -rf {place}; systemctl daemon-reload; systemctl restart raftd@{number}")
    cluster.until_well()
