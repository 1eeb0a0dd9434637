"""`deploy/roles/raftd/files/host_facts.py`: what a host has, whatever else somebody has put there."""

import hashlib
import importlib.util
import json
import shutil
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from raftd.consensus.types import NodeId
from raftd.node import gateway
from raftd.storage.data_directory import DataDirectory
from raftd.storage.filesystem import RealFileSystem
from raftd.storage.format import Identity

SCRIPT = Path(__file__).parents[2] / "deploy/roles/raftd/files/host_facts.py"
OLD, NEW, ANOTHER = (str(uuid.UUID(int=number)) for number in (1, 2, 3))
STATUS = {"node_id": 1, "cluster_id": OLD, "configuration": {"reloaded_seconds": 0.0}}
DENIAL: Final = str(gateway._DENIED.message)
"""What a node says to an operator that its settings do not know."""
STRANGE = STATUS | {"cluster_id": ANOTHER}


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


def give_data(script: ModuleType) -> None:
    (script.DATA / "1").mkdir()
    (script.DATA / "1" / "identity").touch()


def test_only_a_directory_with_an_identity_has_data(script: ModuleType) -> None:
    """A new file system has `lost+found`, and a start that was broken off may have left a log without contents."""
    assert facts(script)["has_data"] is False
    data = script.DATA / "1"
    for name in ("lost+found", "wal"):
        (data / name).mkdir(parents=True)
    data.chmod(0o700)
    assert facts(script)["has_data"] is False
    directory = DataDirectory(RealFileSystem(), data, Identity(uuid.UUID(OLD).bytes, NodeId(1)))
    assert directory.is_new
    directory.stamp()
    directory.close()
    assert facts(script)["has_data"] is True


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


ANSWERS: Final[dict[str, tuple[int, list[dict[str, Any]], str, tuple[int, str, str | None] | None]]] = {
    # How raftctl ends and what it says; then its exit code, the reason, and what that is about, if the files mend it.
    "all": (0, [{"status": STATUS}], "", None),
    "some": (8, [{"status": STATUS}, {"health": "no answer"}], "", None),
    "nobody": (5, [{"health": "connection refused"}], "", None),
    "nobody and refused": (
        5,
        [{"health": "no answer"}, {"health": "bad certificate"}],
        "",
        (5, "bad certificate", "is_tls"),
    ),
    "refused": (7, [{"health": "certificate expired"}], "", (7, "certificate expired", "is_tls")),
    "denied": (1, [{"health": DENIAL}], "", (1, DENIAL, "is_denied")),
    "nobody and denied": (5, [{"health": "no answer"}, {"health": DENIAL}], "", (5, DENIAL, "is_denied")),
    "no certificate": (7, [], "user.crt: cannot be read", (7, "user.crt: cannot be read", "is_tls")),
    "no endpoints": (78, [], "endpoints are missing", (78, "endpoints are missing", None)),
    "a bug": (1, [], "", (1, "it says nothing", None)),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_why_the_nodes_could_not_be_asked(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """That nobody is there is an answer; certificates that are not accepted, or a command that cannot run, are not."""
    code, rows, stderr, unasked = ANSWERS[case]
    path = tmp_path / "raftctl"
    is_told_which = f'test "$1 $2" = "--config {script.CLIENT_SETTINGS}" || exit 2'
    path.write_text(f"#!/bin/sh\n{is_told_which}; echo '{json.dumps(rows)}'; echo '{stderr}' >&2; exit {code}\n")
    path.chmod(0o755)
    monkeypatch.setattr(script, "program", lambda name: str(tmp_path / name))
    assert facts(script)["unasked"] is None  # without data it belongs to no cluster that could be asked about
    give_data(script)
    told = facts(script)
    assert told["status"] == [row["status"] for row in rows if "status" in row]
    if unasked is None:
        assert told["unasked"] is None
    else:
        code, error, about = unasked
        expected = {"code": code, "error": error, "is_tls": about == "is_tls", "is_denied": about == "is_denied"}
        assert told["unasked"] == expected


@pytest.mark.parametrize("reason", [DENIAL, "its certificate expired"])
@pytest.mark.parametrize("is_own", [False, True])
def test_a_node_that_alone_does_not_let_the_operator_in_has_something_to_read(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_own: bool, reason: str
) -> None:
    """The others were reloaded already when a run broke off: this one's files are right, and it does not know it."""
    rows = [{"node": 8, "status": {**STATUS, "node_id": 8}}, {"node": 1 if is_own else 9, "health": reason}]
    path = tmp_path / "raftctl"
    path.write_text(f"#!/bin/sh\necho '{json.dumps(rows)}'; exit 8\n")
    path.chmod(0o755)
    monkeypatch.setattr(script, "program", lambda name: str(tmp_path / name))
    script.SETTINGS.write_text("cluster:\n")
    give_data(script)
    told = facts(script)
    assert told["unasked"] is None
    assert told["unread"] == ([script.SETTINGS.name] if is_own else [])


@pytest.mark.parametrize(
    ("inventory", "written", "statuses", "error"),
    [
        (OLD, None, [STATUS, STRANGE], None),
        (NEW, OLD, [STATUS, STRANGE], None),  # the inventory is still to be mended
        ("", None, [STATUS, STRANGE], None),
        (NEW, NEW, [STRANGE, STRANGE], f"n1:7400 answers for another cluster, {ANOTHER}"),
    ],
)
def test_nodes_of_another_cluster_are_not_listened_to(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    inventory: str,
    written: str | None,
    statuses: list[dict[str, Any]],
    error: str | None,
) -> None:
    """An address that is another's now tells nothing of who leads here, and that nobody else answers is no answer."""
    if written is not None:
        script.SETTINGS.write_text(f"cluster:\n  id: {written}\n")
    give_data(script)
    rows = [{"endpoint": "n1:7400", "status": each} for each in statuses]
    (tmp_path / "raftctl").write_text(f"#!/bin/sh\necho '{json.dumps(rows)}'\n")
    (tmp_path / "raftctl").chmod(0o755)
    monkeypatch.setattr(script, "program", lambda name: str(tmp_path / name))
    told = facts(script, inventory)
    known = {OLD, NEW} if inventory else {OLD, NEW, ANOTHER}
    assert told["status"] == [each for each in statuses if each["cluster_id"] in known]
    assert (told["unasked"] and told["unasked"]["error"]) == error


def test_without_a_program_nothing_could_be_asked(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host with data whose raftctl is gone knows nothing of a leader."""
    give_data(script)
    monkeypatch.setattr(script, "program", lambda name: str(tmp_path / name))
    assert "cannot be run" in facts(script)["unasked"]["error"]


@pytest.mark.parametrize(("read", "expected"), [("before", ["node-1.peer.crt"]), ("since", []), ("by another", [])])
def test_files_that_the_node_has_not_read(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, read: str, expected: list[str]
) -> None:
    """Those of its files that have changed since its last reload; no other node's and not the operator's."""
    paths = [script.SETTINGS, *(script.PKI / name for name in ("peer-ca.crt", "user-operator.crt", "node-1.peer.crt"))]
    for path in paths:
        path.write_text("x")
    give_data(script)
    seconds = 1000.0
    monkeypatch.setattr(script, "changed_seconds", lambda path: seconds + path.name.endswith("r.crt"))
    node = 2 if read == "by another" else 1
    status = {"node_id": node, "configuration": {"reloaded_seconds": seconds + (2 if read == "since" else 0)}}
    monkeypatch.setattr(script, "status", lambda *_: ([status], None, False))
    assert facts(script)["unread"] == expected


@pytest.mark.parametrize("why", ["is_tls", "is_denied", None])
def test_where_the_operator_is_not_let_in_nothing_is_known_to_be_read(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, why: str | None
) -> None:
    """A node whose certificate has ended, or that knows no operator, may have better files already."""
    (script.PKI / "node-1.client.crt").write_text("x")
    give_data(script)
    monkeypatch.setattr(
        script,
        "status",
        lambda *_: ([], {"code": 1, "error": "", **{each: each == why for each in script.WHY_NOT}}, why is not None),
    )
    assert facts(script)["unread"] == (["node-1.client.crt"] if why else [])


@pytest.mark.parametrize(
    ("state", "version"),
    [("ii ", "1.2-1"), ("hi ", "1.2-1"), ("rc ", None), ("iHR", None), ("iU ", None), ("iF ", None), ("un ", None)],
)
def test_a_package_that_is_not_whole_is_none(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, state: str, version: str | None
) -> None:
    """Only what is unpacked and configured counts: of a removed one dpkg knows the version, too."""
    monkeypatch.setattr(script, "said", lambda *command: f"{state}|1.2-1" if command[0] == "dpkg-query" else None)
    assert facts(script)["package"] == version


def test_dpkg_is_asked_as_it_understands(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One package is installed and another one removed, and dpkg-query tells which is which."""
    if shutil.which("dpkg-query") is None:
        pytest.skip("there is no dpkg-query here")
    entry = "Package: raftd\nStatus: {} ok {}\nArchitecture: all\nMaintainer: x <x@example.org>\nVersion: 1.2-1\n"
    monkeypatch.setenv("DPKG_ADMINDIR", str(tmp_path))
    for wanted, status, version in (("install", "installed", "1.2-1"), ("deinstall", "config-files", None)):
        (tmp_path / "status").write_text(entry.format(wanted, status) + "Description: x\n")
        assert facts(script)["package"] == version


def test_units_are_told_with_what_they_do(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How each starts at boot and what it does now; where there is no systemd, nothing is known and nothing active."""
    monkeypatch.setenv("PATH", str(tmp_path))
    found = facts(script)
    assert (found["units"], found["is_active"]) == ({}, False)
    shown = [("raftd@1.service", "enabled", "active"), ("raftd-certs@1.timer", "", "inactive")]
    said = "\n\n".join(f"Id={name}\nActiveState={active}\nUnitFileState={boot}" for name, boot, active in shown)
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\necho '{said}'\n")
    (tmp_path / "systemctl").chmod(0o755)
    found = facts(script)
    assert found["units"] == {"raftd@1.service": "enabled active", "raftd-certs@1.timer": " inactive"}
    assert found["is_active"] is True


def test_directories_and_settings_are_told_with_whose_they_are(script: ModuleType, tmp_path: Path) -> None:
    """A link to a directory is none, and what is not there is left out."""
    about = script.PKI.stat()
    script.PKI.chmod(0o750)
    (tmp_path / "var/cache").mkdir(parents=True)
    (tmp_path / "var/cache/raftd").symlink_to(script.PKI)
    script.SETTINGS.write_text("settings")
    script.SETTINGS.chmod(0o640)
    found = facts(script)
    owners = script.owners(about)
    assert found["directories"].keys() == {"/etc/raftd", "/etc/raftd/pki"}
    assert found["directories"]["/etc/raftd/pki"] == f"{owners} 0750"
    assert found["files"]["/etc/raftd/raftd.yaml"] == f"{owners} 0640 {hashlib.sha256(b'settings').hexdigest()}"


def test_the_node_s_user(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of its group, and with what passwd(5) has besides; None where there is no such user."""
    monkeypatch.setattr(script, "USER", "no such user")
    assert facts(script)["account"] is None
    monkeypatch.setattr(script, "USER", "root")
    root = script.pwd.getpwnam("root")
    assert facts(script)["account"] == f"root:{root.pw_gecos}:{root.pw_dir}:{root.pw_shell}"
