import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from raftd import settings as settings_package
from raftd.cli.output import run_main
from raftd.cli.raftd import group
from raftd.errors import ExitCode
from raftd.version import version


def raftd(*arguments: str, code: int) -> None:
    assert run_main(group, "raftd", arguments) == code


def test_good_settings_are_confirmed(cluster_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what they are about; for one node, with its certificates."""
    settings = cluster_directory / "raftd.yaml"
    raftd("check-config", "--config", str(settings), code=ExitCode.OK)
    assert capsys.readouterr().out == f"{settings}: cluster test, 1 nodes\n"
    raftd("check-config", "--config", str(settings), "--node", "1", code=ExitCode.OK)
    assert "node 1 can use it" in capsys.readouterr().out


def test_every_mistake_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At once, with its place."""
    settings = tmp_path / "raftd.yaml"
    settings.write_text("cluster: {name: X}\nnodse: []\n")
    raftd("check-config", "--config", str(settings), code=ExitCode.CONFIGURATION)
    said = capsys.readouterr().err
    assert f'{settings}:2:1: unknown key "nodse"' in said
    assert f"{settings}:1:17: cluster.name" in said


def test_bad_certificates_are_named(
    cluster_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of them, with the exit code of TLS."""
    settings = tmp_path / "raftd.yaml"
    settings.write_text((cluster_directory / "raftd.yaml").read_text())
    raftd("check-config", "--config", str(settings), "--node", "1", code=ExitCode.TLS)
    said = capsys.readouterr().err
    assert all(f"{tmp_path}/pki/{name}" in said for name in ("peer-ca.crt", "client-ca.crt"))
    assert "Traceback" not in said


def test_a_place_that_can_hold_no_data_is_named(
    cluster_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the node finds it so when it is started."""
    text = (cluster_directory / "raftd.yaml").read_text()
    assert "data_directory: data/{node}" in text
    settings = cluster_directory / "misplaced.yaml"
    settings.write_text(text.replace("data_directory: data/{node}", f"data_directory: {tmp_path}/{{node}}"))
    (tmp_path / "1").write_text("x")
    raftd("check-config", "--config", str(settings), "--node", "1", code=ExitCode.CONFIGURATION)
    assert capsys.readouterr().err == f"raftd: data_directory {tmp_path}/1: is not a directory\n"


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_names_that_no_file_can_have(
    cluster_directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Wherever they come from: each is a line, as of any file that cannot be used."""
    loaded = settings_package.load(cluster_directory / "raftd.yaml")
    node = loaded.node(1)
    wrong = replace(node, data_directory=Path(name), peer_tls=replace(node.peer_tls, certificate=Path(name)))
    monkeypatch.setattr(settings_package, "load", lambda _: loaded)
    monkeypatch.setattr(type(loaded), "node", lambda *_: wrong)
    raftd("check-config", "--node", "1", code=ExitCode.TLS)
    said = capsys.readouterr().err
    assert "no file can be called that" in said
    assert "no directory can be called that" in said
    assert said.count("\n") == 2


@pytest.mark.parametrize("command", ["run", "check-config"])
def test_a_missing_file_is_one_line(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Named, with the exit code of the configuration."""
    raftd(command, "--config", str(tmp_path / "none"), "--node", "1", code=ExitCode.CONFIGURATION)
    assert capsys.readouterr().err == f"raftd: {tmp_path}/none: cannot be read: No such file or directory\n"


def test_the_file_may_be_named_by_the_environment(
    cluster_directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """RAFTD_CONFIG, so that a shell on a node need not repeat it."""
    monkeypatch.setenv("RAFTD_CONFIG", str(cluster_directory / "raftd.yaml"))
    raftd("check-config", code=ExitCode.OK)
    assert "cluster test" in capsys.readouterr().out


def test_a_wrong_call_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """`run` wants to know which node this is."""
    raftd("run", code=ExitCode.USAGE)
    assert "--node" in capsys.readouterr().err
    raftd("run", "--node", "0", code=ExitCode.USAGE)


def test_the_module_is_the_program() -> None:
    """`python -m raftd` is `raftd`."""
    ended = subprocess.run([sys.executable, "-m", "raftd", "--version"], capture_output=True, text=True, check=True)
    assert ended.stdout.startswith(f"raftd {version().partition('+')[0]}")
