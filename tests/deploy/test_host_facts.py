"""`deploy/roles/raftd/files/host_facts.py`: what a host has, whatever else somebody has put there."""

import hashlib
import importlib.util
import json
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from raftd.consensus.types import NodeId
from raftd.storage.data_directory import DataDirectory
from raftd.storage.filesystem import RealFileSystem
from raftd.storage.format import Identity

SCRIPT = Path(__file__).parents[2] / "deploy/roles/raftd/files/host_facts.py"
OLD, NEW, ANOTHER = (str(uuid.UUID(int=number)) for number in (1, 2, 3))


@pytest.fixture
def script(tmp_path: Path) -> ModuleType:
    """The script, with `tmp_path` for its host's root."""
    spec = importlib.util.spec_from_file_location("host_facts", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in vars(module).items():
        if isinstance(value, Path):
            setattr(module, name, tmp_path / value.relative_to("/"))
    module.PKI.mkdir(parents=True)
    module.DATA.mkdir(parents=True)
    return module


def facts(script: ModuleType, cluster: str = OLD) -> dict[str, Any]:
    found: dict[str, Any] = script.facts("1", 0.0, cluster)
    return found


def test_what_is_no_file_is_left_out(script: ModuleType, tmp_path: Path) -> None:
    """Directories, links and links to nowhere among certificates and units are passed over."""
    (script.PKI / "peer-ca.crt").write_text("certificate")
    (script.PKI / "old").mkdir()
    (script.PKI / "gone.crt").symlink_to("nowhere")
    (script.PKI / "link.crt").symlink_to("peer-ca.crt")
    (tmp_path / "etc/systemd/system/raftd@.service.d").mkdir(parents=True)
    (tmp_path / "etc/systemd/system/raftd@.service").write_text("unit")
    found = facts(script)["files"]
    assert [Path(name).name for name in found] == ["peer-ca.crt", "raftd@.service"]
    assert found["peer-ca.crt"].endswith(hashlib.sha256(b"certificate").hexdigest())


def test_owners_without_a_name_are_told_by_their_number(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a user or group that was deleted are described all the same."""

    def unknown(number: int) -> None:
        raise KeyError(number)

    path = script.PKI / "peer-ca.crt"
    path.write_text("certificate")
    monkeypatch.setattr(script.pwd, "getpwuid", unknown)
    monkeypatch.setattr(script.grp, "getgrgid", unknown)
    about = path.stat()
    assert facts(script)["files"]["peer-ca.crt"].startswith(f"{about.st_uid}:{about.st_gid} ")


def test_settings_that_are_no_text_or_no_json(script: ModuleType) -> None:
    """What can be read of raftd.yaml is told, and the rest left out."""
    script.SETTINGS.write_bytes(
        b"# K\xf6ln\ncluster:\n  name: prod\n  id: " + OLD.encode() + b'\nnodes:\n  - {"id": 1}\n  - {"id": 2, oh}\n'
    )
    found = facts(script)
    assert (found["cluster_name"], found["cluster_id"], found["nodes"]) == ("prod", OLD, [{"id": 1}])


@pytest.mark.parametrize(
    ("data", "written", "founded", "recovering"),
    [
        (OLD, OLD, OLD, None),  # a node like any other
        (NEW, OLD, OLD, NEW),  # `raftd recover` was the last that was done
        (NEW, NEW, OLD, NEW),  # raftd.yaml was written, too
        (NEW, OLD, None, NEW),  # its cluster was never noted as founded
        (NEW, NEW, NEW, None),  # all is done, and the inventory is still to be mended
        (ANOTHER, ANOTHER, ANOTHER, None),  # another cluster's host
        (ANOTHER, NEW, NEW, None),  # the same, in the middle of its own recovery
    ],
)
def test_a_recovery_that_was_interrupted(
    script: ModuleType, data: str, written: str, founded: str | None, recovering: str | None
) -> None:
    """It is told by the data, which has the new cluster's id before raftd.yaml and /etc/raftd/founded have."""
    directory = DataDirectory(RealFileSystem(), script.DATA / "1", Identity(uuid.UUID(data).bytes, NodeId(1)))
    directory.stamp()
    directory.close()
    script.SETTINGS.write_text(f"cluster:\n  name: prod\n  id: {written}\n")
    if founded is not None:
        script.FOUNDED.write_text(f"{founded}\n")
    assert facts(script)["recovering"] == recovering


def test_data_that_is_damaged_is_no_recovery(script: ModuleType) -> None:
    """An identity that is cut, and one that is not there."""
    assert facts(script)["recovering"] is None
    (script.DATA / "1").mkdir()
    (script.DATA / "1" / "identity").write_bytes(b"raftd-id")
    assert facts(script)["recovering"] is None


@pytest.mark.parametrize(
    ("code", "rows", "stderr", "found", "unasked"),
    [
        (0, [{"status": {"node_id": 1}}], "", [{"node_id": 1}], None),
        (8, [{"status": {"node_id": 1}}, {"health": "no answer"}], "", [{"node_id": 1}], None),
        (5, [{"health": "connection refused"}], "", [], None),
        (5, [{"health": "connection refused"}, {"health": "its certificate expired"}], "", [], (5, True)),
        (7, [{"health": "its certificate expired"}], "", [], (7, True)),
        (7, None, "raftctl: user.crt: cannot be read", [], (7, True)),
        (78, None, "raftctl: endpoints are missing", [], (78, False)),
        (1, None, "", [], (1, False)),
    ],
)
def test_why_the_nodes_could_not_be_asked(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    rows: list[dict[str, Any]] | None,
    stderr: str,
    found: list[dict[str, Any]],
    unasked: tuple[int, bool] | None,
) -> None:
    """That nobody is there is an answer; a certificate that is not accepted, or a command that cannot be run, is none."""
    said = "" if rows is None else json.dumps(rows)
    path = tmp_path / "raftctl"
    path.write_text(f"#!/bin/sh\necho '{said}'; echo '{stderr}' >&2; exit {code}\n")
    path.chmod(0o755)
    monkeypatch.setattr(script, "program", lambda name: str(tmp_path / name))
    assert facts(script)["unasked"] is None  # without data it belongs to no cluster that could be asked about
    (script.DATA / "1" / "log").mkdir(parents=True)
    told = facts(script)
    assert told["status"] == found
    if unasked is None:
        assert told["unasked"] is None
    else:
        assert (told["unasked"]["code"], told["unasked"]["is_tls"]) == unasked
        assert (rows or [{"health": stderr or "it says nothing"}])[-1]["health"] == told["unasked"]["error"]


def test_without_a_program_nothing_could_be_asked(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host with data whose raftctl is gone knows nothing of a leader."""
    (script.DATA / "1" / "log").mkdir(parents=True)
    monkeypatch.setattr(script, "program", lambda name: str(tmp_path / name))
    assert "cannot be run" in facts(script)["unasked"]["error"]
