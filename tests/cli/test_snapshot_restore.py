"""`raftctl snapshot restore`: into a node that runs, and as a node of a new cluster."""

import json
import os
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raftd import settings as settings_package
from raftd.cli.merging import MARKER
from raftd.cli.output import INTERRUPTED
from raftd.client import Client, ClientConfig, OutcomeUnknown, Unavailable
from raftd.client.transactions import Transaction
from raftd.daemon.founding import GAP
from raftd.errors import ExitCode
from raftd.settings import render
from tests.cli.backups import backup_of, machine_of, write_backup
from tests.daemon.process import document_of, running, write_files

Raftctl = Callable[..., bytes]
AsJson = Callable[..., Any]


@pytest.fixture
def backup(raftctl: Raftctl, client: Client, tmp_path: Path) -> str:
    """Of a cluster with a few keys, one of them with a lease, that go on to change."""
    client.delete_range(low="", high="")
    client.delete(MARKER)
    lease = client.grant_lease(600)
    for key in ("a", "b", "c"):
        client.put(key, "then")
    client.put("locks/x", "then", lease=lease.id)
    path = str(tmp_path / "x.backup")
    raftctl("snapshot", "save", path)
    client.put("a", "now")
    client.delete("b")
    client.put("d", "now")
    client.put("locks/x", "now", lease=lease.id)
    client.put("locks/y", "now", lease=lease.id)
    return path


def keys(client: Client) -> dict[str, str]:
    return {item.key.decode(): item.value.decode() for item in client.items()}


def test_the_keys_become_those_of_the_backup(raftctl_json: AsJson, client: Client, backup: str) -> None:
    """Revisions go forward, watches are told, keys with a lease stay as they are; to do it again changes nothing."""
    before = client.put("e", "now").revision
    with client.watch(prefix="") as watch:
        record = raftctl_json("snapshot", "restore", backup, "--yes", "test")
        told = {change.key: change.revision for change in (next(watch) for _ in range(4))}  # type: ignore[union-attr]  # no progress is asked for
    assert told == dict.fromkeys((b"a", b"b", b"d", b"e"), before + 1)
    assert keys(client) == {"a": "then", "b": "then", "c": "then", "locks/x": "now", "locks/y": "now"}
    assert {name: record[name] for name in ("written", "deleted", "unchanged", "leased")} == {
        "written": 2, "deleted": 2, "unchanged": 1, "leased": 2,
    }  # fmt: skip
    again = raftctl_json("snapshot", "restore", backup, "--yes", "test")
    assert (again["written"], again["deleted"], again["unchanged"]) == (0, 0, 3)


def test_a_dry_run_changes_nothing(raftctl_json: AsJson, client: Client, backup: str) -> None:
    """And asks for no name."""
    before = keys(client)
    record = raftctl_json("snapshot", "restore", backup, "--dry-run")
    assert (record["written"], record["deleted"]) == (2, 1)
    assert keys(client) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--yes", "prod"), b"'prod' is not the cluster's name, 'test'; nothing was changed"),
        (("--yes", "test", "--from-cluster", str(uuid.UUID(int=7))), b"and not of 00000000-0000"),
    ],
)
def test_a_wrong_name_changes_nothing(
    raftctl: Raftctl, client: Client, backup: str, arguments: tuple[str, ...], said: bytes
) -> None:
    """One line, and exit code 1."""
    before = keys(client)
    assert said in raftctl("snapshot", "restore", backup, *arguments, code=ExitCode.ERROR)
    assert keys(client) == before


def test_a_backup_of_another_cluster_takes_its_id(raftctl: Raftctl, client: Client, tmp_path: Path) -> None:
    """A yes alone is not enough, nor for a dry run; the line says what would be."""
    client.delete_range(low="", high="")
    path = str(write_backup(tmp_path / "x"))
    for arguments in (("--yes", "test"), ("--dry-run",)):
        said = raftctl("snapshot", "restore", path, *arguments, code=ExitCode.ERROR)
        assert b"--from-cluster 00010203-0405-0607-0809-0a0b0c0d0e0f" in said
        assert said.count(b"\n") == 1
    assert keys(client) == {}
    raftctl("snapshot", "restore", path, "--yes", "test", "--from-cluster", "00010203-0405-0607-0809-0a0b0c0d0e0f")
    assert keys(client).keys() == {"a", "b"}
    client.delete_range(low="", high="")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_one_that_is_damaged_is_refused_before_anything_is_changed(
    raftctl: Raftctl, client: Client, backup: str, tmp_path: Path, share: float
) -> None:
    """Cut or with a flipped bit, into a cluster that runs or as a new node."""
    before = keys(client)
    data = Path(backup).read_bytes()
    place = int(len(data) * share)
    bad = tmp_path / "bad"
    raftd_yaml = tmp_path / "raftd.yaml"
    raftd_yaml.write_text(render(document_of()))
    for damaged in (data[:place], data[:place] + bytes((data[place] ^ 4,)) + data[place + 1 :]):
        bad.write_bytes(damaged)
        said = raftctl("snapshot", "restore", str(bad), "--yes", "test", code=ExitCode.ERROR)
        assert said.startswith(f"raftctl: {bad}: byte ".encode())
        offline = ("--data-dir", str(tmp_path / "1"), "--config", str(raftd_yaml), "--node", "1", "--owner", "root")
        raftctl("snapshot", "restore", str(bad), *(offline if os.geteuid() == 0 else offline[:-2]), code=ExitCode.ERROR)
    assert keys(client) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "raftd.yaml", "x.backup"]


def restore_of(count: int, directory: Path) -> tuple[str, ...]:
    """The command that restores a backup of so many keys, of another cluster."""
    path = directory / "x"
    path.write_bytes(backup_of(machine_of({b"%04d" % number: b"then" for number in range(count)})))
    origin = str(uuid.UUID(bytes=bytes(range(16))))
    return ("snapshot", "restore", str(path), "--yes", "test", "--from-cluster", origin)


@pytest.mark.parametrize(
    ("count", "failure", "said"),
    [
        (300, OutcomeUnknown("no answer"), "nothing was changed, but the key raftd-restore may be there now: "),
        (300, KeyboardInterrupt(), "nothing was changed, but the key raftd-restore may be there now: "),
        (300, Unavailable("no node answers"), "nothing was changed\n"),
        (100, OutcomeUnknown("no answer"), "all changes are made, or none\n"),
    ],
)
def test_what_an_answer_that_is_lost_may_have_left(
    raftctl: Raftctl,
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    count: int,
    failure: BaseException,
    said: str,
) -> None:
    """Of the first transaction: of many changes it makes only the key that marks them, of few all."""
    client.delete_range(low="", high="")
    arguments = restore_of(count, tmp_path)
    whole = Transaction.commit

    def commit(transaction: Transaction[Any], fence: Any = None) -> Any:
        if not isinstance(failure, Unavailable):
            whole(transaction, fence)
        raise failure

    with monkeypatch.context() as patched:
        patched.setattr(Transaction, "commit", commit)
        code = getattr(failure, "exit_code", INTERRUPTED)
        assert f"raftctl: {said}" in raftctl(*arguments, code=code).decode()
    raftctl(*arguments)
    assert client.get(MARKER) is None
    assert client.count() == count
    client.delete_range(low="", high="")


def test_an_interruption_is_told_and_can_be_finished(
    raftctl: Raftctl, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How far it is, that a key says so to everybody, and what finishes it."""
    client.delete_range(low="", high="")
    arguments = restore_of(300, tmp_path)
    whole = Transaction.commit
    left = 3

    def commit(transaction: Transaction[Any], fence: Any = None) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Unavailable("no node answers")
        return whole(transaction, fence)

    with monkeypatch.context() as patched:
        patched.setattr(Transaction, "commit", commit)
        said = raftctl(*arguments, code=ExitCode.UNAVAILABLE).decode()
    assert said.splitlines() == [
        "raftctl: no node answers",
        "raftctl: 254 changes are made, and the key raftd-restore is there: the same command finishes it",
    ]
    assert client.get(MARKER) is not None
    raftctl(*arguments)
    assert client.get(MARKER) is None
    assert client.count() == 300
    client.delete_range(low="", high="")


def test_without_a_cluster_nothing_is_asked(run: Raftctl, tmp_path: Path) -> None:
    """What goes together, goes together."""
    path = str(write_backup(tmp_path / "x"))
    for arguments in (
        ("--data-dir", str(tmp_path / "1")),
        ("--node", "1"),
        ("--data-dir", str(tmp_path / "1"), "--config", "x", "--node", "1", "--dry-run"),
    ):
        run("snapshot", "restore", path, *arguments, code=ExitCode.USAGE)
    said = run("--namespace", "x/", "--endpoints", "n1:1", "--cacert", "x", "--cert", "x", "--key", "x", "snapshot",
               "restore", path, code=ExitCode.USAGE)  # fmt: skip
    assert b"without a namespace" in said


def test_as_a_node_of_a_new_cluster(
    run: Raftctl, raftctl: Raftctl, client: Client, backup: str, tmp_path: Path
) -> None:
    """It starts, and has everything; the lease too, under which the keys of then are."""
    directory = tmp_path / "new"
    directory.mkdir()
    raftd_yaml = write_files(directory)
    data = directory / "data" / "1"
    arguments = ["snapshot", "restore", backup, "--data-dir", str(data), "--config", str(raftd_yaml), "--node", "1"]
    if os.geteuid() == 0:
        arguments += ["--owner", "root"]
    record = json.loads(run(*arguments, "-o", "json"))
    assert (record["keys"], record["voters"]) == (4, "1")
    assert b"there is data already" in run(*arguments, code=ExitCode.CONFIGURATION)
    with running(raftd_yaml) as daemon:
        daemon.ready()
        with Client.from_config(ClientConfig.load(directory / "raftctl.yaml")) as restored:
            found = {item.key.decode(): (item.value.decode(), bool(item.lease)) for item in restored.items()}
            assert found == {
                "a": ("then", False),
                "b": ("then", False),
                "c": ("then", False),
                "locks/x": ("then", True),
            }
            assert restored.put("a", "new").revision == record["revision"] + 1 > GAP
            assert [lease.key_count for lease in restored.leases() if lease.key_count] == [1]
    assert raftctl("get", "a") == b"now\n"
    assert client.get("b") is None


def test_the_old_cluster_s_id_is_refused(
    run: Raftctl, raftctl: Raftctl, cluster_directory: Path, tmp_path: Path
) -> None:
    """In one line that says what to do, and nothing is made."""
    path = str(tmp_path / "x")
    raftctl("snapshot", "save", path)
    same = cluster_directory / "raftd.yaml"
    arguments = ["--data-dir", str(tmp_path / "1"), "--config", str(same), "--node", "1"]
    arguments += ["--owner", "root"] if os.geteuid() == 0 else []
    said = run("snapshot", "restore", path, *arguments, code=ExitCode.CONFIGURATION)
    assert b"a new cluster needs a new one" in said
    assert not (tmp_path / "1").exists()
    document = settings_package.load(same).document
    other = tmp_path / "raftd.yaml"
    other.write_text(render(replace(document, cluster=replace(document.cluster, id=uuid.uuid4()))))
    arguments[3] = str(other)
    run("snapshot", "restore", path, *arguments)
    assert (tmp_path / "1" / "identity").exists()
