"""`raftd recover`: what it shows, and what it takes to make it do it."""

import os
import pwd
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner

from raftd.cli.output import run_main
from raftd.cli.raftd import group
from raftd.client import Client
from raftd.errors import ExitCode
from raftd.settings import load
from tests.daemon.process import document_of, running, write_files


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings of a node that has run, and has a key."""
    settings = write_files(tmp_path_factory.mktemp("recover"), document_of())
    with running(settings) as daemon:
        daemon.ready()
        with Client.from_config(settings.parent / "raftctl.yaml") as client:
            client.put("raftd", "ready")
    return settings


def recover(settings: Path, *arguments: str, code: int) -> None:
    assert run_main(group, "raftd", ["recover", "--config", str(settings), "--node", "1", *arguments]) == code


def data_of(settings: Path) -> list[str]:
    return sorted(path.name for path in (settings.parent / "data").iterdir())


def test_to_look_changes_nothing(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the node has, and what may be lost, in plain words."""
    recover(stopped, code=ExitCode.OK)
    said = capsys.readouterr().out
    assert "last term" in said
    assert "voters          1\n" in said
    assert "lost" in said
    assert data_of(stopped) == ["1"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_looks_at_stays_the_daemons(stopped: Path) -> None:
    """The node could not start on files of root's; and what a full disk has taken is not taken back from it."""
    data = stopped.parent / "data" / "1"
    (data / "reserve").unlink()
    (data / "wal" / "of-another").write_text("as a prepared segment would be")
    daemon = pwd.getpwnam("daemon")
    files = [data, *data.rglob("*")]
    try:
        for path in files:
            if path.name != "of-another":
                os.chown(path, daemon.pw_uid, daemon.pw_gid)
        recover(stopped, code=ExitCode.OK)
        assert {path.stat().st_uid for path in [data, *data.rglob("*")]} == {daemon.pw_uid}
        assert not (data / "reserve").exists()
    finally:
        (data / "wal" / "of-another").unlink()
        for path in [data, *data.rglob("*")]:
            os.chown(path, 0, 0)


def test_a_wrong_name_changes_nothing(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Given or typed, or not typed at all."""
    recover(stopped, "--force-new-cluster", "--yes", "prod", code=ExitCode.ERROR)
    assert "raftd: 'prod' is not the cluster's name, 'test'; nothing was changed\n" in capsys.readouterr().err
    arguments = ["recover", "--config", str(stopped), "--node", "1", "--force-new-cluster"]
    assert CliRunner().invoke(group, arguments, input="y\n").exit_code != 0
    command = [sys.executable, "-m", "raftd", *arguments]
    assert (
        subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=60).returncode != 0
    )
    assert data_of(stopped) == ["1"]


def test_a_running_node_is_refused(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, and nothing is changed."""
    with running(stopped) as daemon:
        daemon.ready()
        recover(stopped, "--force-new-cluster", "--yes", "test", code=ExitCode.CONFIGURATION)
    assert capsys.readouterr().err == f"raftd: {stopped.parent}/data/1: in use by another process\n"
    assert data_of(stopped) == ["1"]


def test_an_unknown_node_is_refused(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As everywhere."""
    assert run_main(group, "raftd", ["recover", "--config", str(stopped), "--node", "9"]) == ExitCode.CONFIGURATION
    assert "there is no node 9" in capsys.readouterr().err


def test_the_node_goes_on_alone(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the settings edited as it says, and with its keys."""
    recover(stopped, "--force-new-cluster", "--yes", "test", code=ExitCode.OK)
    said = capsys.readouterr().out
    old_id = str(load(stopped).cluster.id)
    new_id = said.partition("set cluster.id to ")[2].partition("\n")[0]
    assert uuid.UUID(new_id) != uuid.UUID(old_id)
    first, kept = data_of(stopped)
    assert (first, kept[:18]) == ("1", "1.before-recovery-")
    # Said before it is done: whoever is cut off then must know of both.
    announced, _, done = said.partition(f"node 1 is the only member of the new cluster {new_id}; ")
    assert f"making the new cluster {new_id} in " in announced
    assert announced.endswith(f"/data/{kept}\n")
    assert done.startswith(f"its old data is in {stopped.parent}/data/{kept}\n")
    stopped.write_text(stopped.read_text().replace(old_id, new_id))
    with running(stopped) as daemon:
        daemon.ready()
        with Client.from_config(stopped.parent / "raftctl.yaml") as client:
            found = client.get("raftd")
            assert found is not None
            assert found.value == b"ready"
            client.put("raftd", "again")
