"""What a supervisor and a client see of a node from outside; `tests/e2e` has what three of them do together."""

import asyncio
import gc
import json
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from raftd.client import Client, Denied
from raftd.daemon.credentials import read_credentials
from raftd.daemon.notify import Notifier
from raftd.daemon.opening import open_storage
from raftd.daemon.service import Service
from raftd.errors import CorruptionError, DataDirectoryError, ExitCode
from raftd.http.recent import RecentEvents
from raftd.settings import Document, load
from tests.daemon.process import Daemon, document_of, running, write_files


@pytest.fixture
def node(settings: Path) -> Iterator[Daemon]:
    """A node that is ready."""
    with running(settings) as daemon:
        yield daemon.ready()


def test_ready_means_that_the_ports_listen(settings: Path, document: Document) -> None:
    """Whoever starts something after READY can connect at once, to all three ports."""
    with running(settings) as daemon:
        told = daemon.until_told("READY")
        assert "term" in told["STATUS"]
        (node,) = document.nodes
        for address in (node.client_address, node.peer_address, node.http_address):
            socket.create_connection((address.host, address.port), 5).close()


def test_ready_does_not_wait_for_a_quorum(tmp_path: Path) -> None:
    """The first of three nodes starts by itself, says that it has no leader, and ends as it should."""
    settings = write_files(tmp_path, document_of(3))
    with running(settings, 2) as daemon:
        assert "no leader" in daemon.until_told("READY")["STATUS"]
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == ExitCode.OK


def test_without_a_leader_whoever_the_settings_name_is_dialled(tmp_path: Path) -> None:
    """One that was added while this node was away may be the only one whom the others can elect, with its vote."""
    document = document_of(3)
    *founders, joining = document.nodes
    settings = write_files(tmp_path, replace(document, nodes=(*founders, replace(joining, joins=True))))
    address = joining.peer_address
    with socket.create_server((address.host, address.port)) as listener, running(settings, 1) as daemon:
        listener.settimeout(20)
        daemon.ready()
        listener.accept()[0].close()


def test_sigterm_drains_and_ends_well(node: Daemon) -> None:
    """The supervisor hears of it first, and how long it may take; the exit code is 0, and the last line `stopped`."""
    node.signal(signal.SIGTERM)
    told = node.until_told("STOPPING")
    assert told["STATUS"].startswith("stopping")
    assert int(told["EXTEND_TIMEOUT_USEC"]) > 10e6  # more than shutdown.drain_timeout
    assert node.wait() == ExitCode.OK
    assert node.log.rstrip().endswith("stopped")
    assert "Traceback" not in node.log


def test_what_was_answered_is_there_after_a_restart(settings: Path, document: Document) -> None:
    """Through SIGTERM, and through SIGKILL."""
    with Client.from_config(settings.parent / "raftctl.yaml") as client:
        for number, how in enumerate((signal.SIGTERM, signal.SIGKILL, signal.SIGTERM)):
            with running(settings) as daemon:
                daemon.ready()
                for before in range(number):
                    found = client.get(f"key-{before}")
                    assert found is not None
                    assert found.value == b"value"
                client.put(f"key-{number}", "value")
                daemon.signal(how)
                daemon.wait()
    assert document.nodes


def test_a_second_sigterm_ends_the_waiting(tmp_path: Path) -> None:
    """A peer that has hung is waited for; somebody impatient need not wait with the node."""
    document = document_of(2)
    settings = write_files(tmp_path, document)
    with running(settings, 1) as first, running(settings, 2) as second:
        first.ready()
        second.ready()
        with Client.from_config(tmp_path / "raftctl.yaml") as client:
            client.put("a", "1")
        leader, other = (first, second) if _leads(document, 0) else (second, first)
        other.signal(signal.SIGSTOP)
        leader.signal(signal.SIGTERM)
        leader.until_told("STOPPING")
        leader.signal(signal.SIGTERM)
        started = time.monotonic()
        assert leader.wait() == ExitCode.OK
        # A peer that does not answer the good-bye is waited for two seconds otherwise.
        assert time.monotonic() - started < 1.5
        assert "Traceback" not in leader.log
        assert "bug" not in leader.log


def test_sighup_reloads(node: Daemon, settings: Path, document: Document) -> None:
    """The supervisor hears of the beginning, with the time that it wants, and of the end; then the file counts."""
    config = settings.parent / "raftctl.yaml"
    with Client.from_config(config) as client, Client.from_config(config) as other:
        client.put("a", "1")
        settings.write_text(settings.read_text().replace("[read, write, admin]", "[read]") + "log: {level: warning}\n")
        node.signal(signal.SIGHUP)
        assert int(node.until_told("RELOADING")["MONOTONIC_USEC"]) <= time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6
        assert "term" in node.until_told("READY")["STATUS"]
        for each in (client, other):
            with pytest.raises(Denied):
                each.put("a", "2")
            found = each.get("a")
            assert found is not None
            assert found.value == b"1"
    with urllib.request.urlopen(f"http://{document.nodes[0].http_address}/metrics", timeout=5) as answer:
        metrics = answer.read().decode()
    assert 'raftd_reloads_total{outcome="done"} 1.0' in metrics
    assert f'raftd_settings_info{{hash="{load(settings).fingerprint}"}} 1.0' in metrics
    assert 'raftd_certificate_not_after_seconds{port="client",kind="certificate"}' in metrics


def test_a_reload_changes_what_is_logged(node: Daemon, settings: Path) -> None:
    """The level counts at once: a node that is being looked into need not be restarted for it, nor afterwards."""
    before = settings.read_text()
    for level in ("warning", "error", "debug", "info"):
        settings.write_text(f"{before}log: {{level: {level}}}\n")
        node.signal(signal.SIGHUP)
        node.until_told("RELOADING")
        node.until_told("READY")
    # Lines are written by a thread of their own: all of them are there when the node has ended.
    node.signal(signal.SIGTERM)
    assert node.wait() == ExitCode.OK
    assert node.log.count(" reloaded: ") == 2


def test_sighup_with_a_bad_file_changes_nothing(node: Daemon, settings: Path) -> None:
    """`systemctl reload` must not kill a node: it goes on as it was, and says which file is bad."""
    settings.write_text(settings.read_text() + "colour: blue\n")
    node.signal(signal.SIGHUP)
    node.until_told("RELOADING")
    node.until_told("READY")
    with Client.from_config(settings.parent / "raftctl.yaml") as client:
        client.put("a", "1")
    node.signal(signal.SIGTERM)
    assert node.wait() == ExitCode.OK
    (line,) = (line for line in node.log.splitlines() if "reload was refused" in line)
    assert "raftd.yaml" in line
    assert "colour" in line


def test_the_watchdog_is_fed_and_the_status_kept(settings: Path) -> None:
    """Both come from the event loop, so a loop that hangs is seen."""
    with running(settings, environment={"WATCHDOG_USEC": "400000"}) as daemon:
        daemon.ready()
        for _ in range(3):
            daemon.until_told("WATCHDOG")
        while "leader in term" not in daemon.told().get("STATUS", ""):
            pass


@pytest.mark.usefixtures("node")
def test_http_and_clients_see_the_same_node(document: Document, tmp_path: Path) -> None:
    """The parts are put together: what a client writes shows in /status, and in a STATUS request."""
    with Client.from_config(tmp_path / "raftctl.yaml") as client:
        client.put("a", "1")
        told = client.status(str(document.nodes[0].client_address))
    with urllib.request.urlopen(f"http://{document.nodes[0].http_address}/status", timeout=5) as answer:
        shown = json.load(answer)
    assert told["keys"] == shown["keys"] == 1
    assert told["members"] == [{"node_id": 1, "client_address": str(document.nodes[0].client_address)}]
    assert shown["role"] == "leader"


def test_what_the_start_has_read_of_the_log_is_kept_by_consensus_alone(settings: Path) -> None:
    """Or what is compacted would stay in memory for as long as the process runs."""
    with running(settings) as daemon, Client.from_config(settings.parent / "raftctl.yaml") as client:
        daemon.ready()
        client.put("key", "value")
        daemon.signal(signal.SIGKILL)
        daemon.wait()
    node = load(settings).node(1)
    opened = open_storage(node)
    count = len(opened.recovered.entries)
    assert count

    async def begin() -> None:
        with closing(Notifier()) as notifier:
            credentials, recent = read_credentials(node), RecentEvents()
            service = Service(node, credentials, opened, notifier=notifier, log_lines_dropped=lambda: 0, recent=recent)
            assert service._driver.raft.last_index == count
            assert opened.recovered.entries == []
            service._background.close()
            service._writer.close()

    asyncio.run(begin())
    opened.log.close()
    opened.directory.close()


def test_who_is_removed_and_told_to_stop_at_once_is_removed(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would begin again with that data: whoever removes a node stops it in the very next moment, perhaps."""
    node = load(settings).node(1)
    opened = open_storage(node)
    drained: list[float] = []

    async def drain(*_: object) -> None:
        drained.append(0.0)

    async def serve(notifier: Notifier) -> ExitCode:
        credentials, recent = read_credentials(node), RecentEvents()
        service = Service(node, credentials, opened, notifier=notifier, log_lines_dropped=lambda: 0, recent=recent)
        raft = type(service._driver.raft)
        # As if the entry that removes it were committed while it drains.
        monkeypatch.setattr("raftd.daemon.service.drain", drain)
        monkeypatch.setattr(raft, "is_removed", property(lambda _: bool(drained)))
        asyncio.get_running_loop().call_soon(service._on_signal, signal.SIGTERM)
        return await service.run()

    with closing(Notifier()) as notifier, asyncio.Runner() as runner:
        assert runner.run(serve(notifier)) == ExitCode.REMOVED
    gc.unfreeze()
    again = open_storage(node)
    assert again.directory.is_removed
    again.log.close()
    again.directory.close()


def test_storage_is_this_node_s_or_nobody_s(settings: Path) -> None:
    """A data directory in use, or of another cluster, is refused before anything listens; nothing stays locked."""
    node = load(settings).node(1)
    opened = open_storage(node)
    with pytest.raises(DataDirectoryError, match="in use"):
        open_storage(node)
    opened.log.close()
    opened.directory.close()
    settings.write_text(
        settings.read_text().replace(f"id: {node.cluster.id}", "id: 6f9c3c1e-0b1d-4c53-9a7e-3d1f0c5b7a21")
    )
    with pytest.raises(DataDirectoryError):
        open_storage(load(settings).node(1))


def test_damage_is_refused_and_leaves_the_directory_free(settings: Path) -> None:
    """An operator who looks at a damaged directory must not find it locked by a node that did not start."""
    node = load(settings).node(1)
    opened = open_storage(node)
    opened.log.close()
    opened.directory.close()
    (segment,) = (node.data_directory / "wal").glob("*.wal")
    with segment.open("r+b") as file:
        file.write(b"\xff" * 4)
    for _ in range(2):
        with pytest.raises(CorruptionError):
            open_storage(node)


def _leads(document: Document, index: int) -> bool:
    with urllib.request.urlopen(f"http://{document.nodes[index].http_address}/status", timeout=5) as answer:
        return bool(json.load(answer)["role"] == "leader")
