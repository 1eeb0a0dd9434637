import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from raftd.daemon.credentials import check_files
from raftd.errors import ExitCode
from raftd.pki import issue_node
from raftd.settings import Address, Document, load
from tests.daemon.process import document_of, running, write_files

# Root reads what modes forbid by these capabilities (capabilities(7)); what is not in the bounding set is lost by exec.
_AS_MODES_SAY = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()


def run_raftd(
    *arguments: str, python: tuple[str, ...] = (), through: tuple[str, ...] = ()
) -> "subprocess.CompletedProcess[str]":
    command = [*through, sys.executable, *python, "-m", "raftd", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_optimized_python_is_refused(settings: Path) -> None:
    """Without assertions of libraries and ours, data would be less safe than this daemon promises."""
    ended = run_raftd("run", "--config", str(settings), "--node", "1", python=("-O",))
    assert ended.returncode == ExitCode.CONFIGURATION
    assert ended.stderr.startswith("raftd: python -O ")
    assert ended.stderr.count("\n") == 1


def test_an_unknown_node_is_one_line(settings: Path) -> None:
    """Before anything is logged or touched."""
    ended = run_raftd("run", "--config", str(settings), "--node", "2")
    assert ended.returncode == ExitCode.CONFIGURATION
    assert ended.stderr == f"raftd: {settings}: there is no node 2; the file names 1\n"
    assert not (settings.parent / "data" / "1").exists()


def test_a_port_in_use_is_one_line_and_worth_a_restart(settings: Path, document: Document) -> None:
    """The exit code is not one that the supervisor takes for final, and the line names the address."""
    address = document.nodes[0].client_address
    with socket.create_server((address.host, address.port)):
        ended = run_raftd("run", "--config", str(settings), "--node", "1")
    assert ended.returncode == ExitCode.ERROR
    assert f"cannot listen on {address}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_address_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    """What is missing is told to the supervisor and in the log; the node ends as ever when it is told to stop."""
    document = document_of(1)
    node = replace(document.nodes[0], peer_address=Address("192.0.2.1", 7401))  # nobody's (RFC 5737)
    settings = write_files(tmp_path, replace(document, nodes=(node,)))
    with running(settings) as daemon:
        assert daemon.told()["STATUS"] == "waiting to listen: 192.0.2.1: Cannot assign requested address"
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == ExitCode.OK
        first, waits, last = daemon.log.splitlines()
    assert "runs as node 1" in first
    assert waits.endswith("waits to listen: 192.0.2.1: Cannot assign requested address")
    assert last.endswith("stopped")


def test_certificates_whose_time_is_to_come_are_waited_for(settings: Path) -> None:
    """With nothing read or touched yet; the node ends as ever when it is told to stop."""
    node = load(settings).node(1)
    issue_node(settings.parent / "pki", 1, ["127.0.0.1"], overwrite=True, now=datetime.now(UTC) + timedelta(days=2))
    with running(settings) as daemon:
        assert daemon.told()["STATUS"].startswith(f"waiting for the time: {node.peer_tls.certificate} is valid only ")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == ExitCode.OK
        waits, last = daemon.log.splitlines()
    assert "waits for the time: " in waits
    assert last.endswith("stopped")
    assert not node.data_directory.exists()


def test_a_directory_in_use_is_one_line(settings: Path) -> None:
    """The second of two daemons of one node ends, and the first one goes on."""
    with running(settings) as first:
        first.ready()
        ended = run_raftd("run", "--config", str(settings), "--node", "1")
        assert ended.returncode == ExitCode.CONFIGURATION
        assert "in use" in ended.stderr
        assert "Traceback" not in ended.stderr
        first.signal(signal.SIGINT)
        assert first.wait() == ExitCode.OK


def test_certificates_are_judged_before_the_start(settings: Path) -> None:
    """Each problem of each file is named, with exit code 7; good files have none."""
    node = load(settings).node(1)
    assert check_files(node) == []
    issue_node(settings.parent / "pki", 2, ["127.0.0.1"])
    foreign = settings.parent / "pki" / "node-2.client.crt"
    node.client_tls.certificate.write_bytes(foreign.read_bytes())
    node.peer_tls.key.unlink()
    problems = check_files(node)
    assert any(str(node.peer_tls.key) in problem for problem in problems)
    assert any(str(node.client_tls.certificate) in problem for problem in problems)
    ended = run_raftd("run", "--config", str(settings), "--node", "1")
    assert ended.returncode == ExitCode.TLS
    assert str(node.peer_tls.key) in ended.stderr
    assert not node.data_directory.exists()


def test_an_unreadable_key_is_one_line(settings: Path) -> None:
    """Told from a missing one."""
    load(settings).node(1).client_tls.key.chmod(0)
    ended = run_raftd("run", "--config", str(settings), "--node", "1", through=_AS_MODES_SAY)
    assert ended.returncode == ExitCode.TLS
    assert "Permission denied" in ended.stderr


def test_the_supervisor_hears_why_it_failed(settings: Path) -> None:
    """`systemctl status` shows the reason, without a look into the log."""
    load(settings).node(1).peer_tls.key.unlink()
    with running(settings) as daemon:
        assert daemon.wait() == ExitCode.TLS
        assert daemon.told()["STATUS"].startswith("failed: ")


def test_a_hangup_before_it_is_ready_is_answered_then(settings: Path) -> None:
    """A reload that comes too early is neither something to die of nor forgotten."""
    with running(settings, environment={"RAFTD_CONFIG": "ignored"}) as daemon:
        while not daemon.log:
            pass
        daemon.signal(signal.SIGHUP)
        daemon.ready()
        daemon.until_told("RELOADING")
        daemon.until_told("READY")


def test_the_log_s_format_can_be_chosen_for_a_run(settings: Path) -> None:
    """Each line is one JSON object then, with the event's name, whatever the settings say."""
    (settings.parent / "data" / "1").mkdir()
    (settings.parent / "data" / "1" / "something else").touch()
    ended = run_raftd("run", "--config", str(settings), "--node", "1", "--log-format", "json")
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["node_started", "node_failed"]
    assert lines[-1]["reason"] in lines[-1]["message"]
    assert all(line["node"] == 1 for line in lines)
