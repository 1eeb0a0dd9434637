"""`raftctl snapshot save`, of a node of a cluster of one."""

import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from raftd.cli import snapshot_save
from raftd.cli.backup_file import inspect, load
from raftd.cli.rotation import name_of
from raftd.client import Client, ClientConfig, Unavailable
from raftd.client.results import Backup
from raftd.errors import ExitCode
from raftd.storage.backup_format import decode_backup_header, encode_backup_header
from tests.cli.conftest import Spawn
from tests.cli.test_status import ADDRESSES, document, overview

Raftctl = Callable[..., bytes]
AsJson = Callable[..., Any]
History = Callable[[], tuple[int, int]]


def ignore(_: int) -> None:
    """Progress is of no interest."""


@pytest.fixture
def history(client: Client, cluster_directory: Path) -> Callable[[], tuple[int, int]]:
    """What the node remembers: of when the newest good backup is, and when one failed."""
    endpoint = ClientConfig.load(cluster_directory / "raftctl.yaml").endpoints[0]

    def ask() -> tuple[int, int]:
        backup = client.status(endpoint)["backup"]
        return backup["success_ms"], backup["failure_ms"]

    return ask


def test_into_a_file(raftctl_json: AsJson, client: Client, history: History, tmp_path: Path) -> None:
    """All that is there, for the user alone; the node remembers of when it is."""
    client.put("backup/key", b"\x00\xff")
    path = tmp_path / "x.backup"
    record = raftctl_json("snapshot", "save", str(path))
    header, machine = load(path, ignore, thorough=True)
    assert machine.get(b"backup/key") == b"\x00\xff"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    assert (record["file"], record["bytes"], record["verified"]) == (str(path), path.stat().st_size, True)
    assert (record["node"], record["revision"], record["index"]) == (1, header.revision, header.last_included_index)
    assert history()[0] == header.wall_clock_ms


def test_to_standard_output(spawn: Spawn, tmp_path: Path) -> None:
    """The file and nothing else; what there is to say goes to standard error."""
    output, said = spawn("snapshot", "save", "-").communicate()
    (tmp_path / "x").write_bytes(output)
    header, _ = load(tmp_path / "x", ignore)
    assert said.decode() == f"raftctl: saved the state of revision {header.revision}, {len(output)} bytes\n"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"last_applied": 15_000}, ""),
        ({"peers": [{"node_id": 3, "connected": False}]}, ""),
        ({"last_applied": 7, "commit_index": 7}, "node 2 is 19993 entries behind: the backup begins once it has"),
        ({"leader_id": None}, "node 2 knows no leader: the backup begins once it has caught up, while --stale takes"),
    ],
)
def test_whoever_has_to_wait_is_told_why(
    changes: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A node that lacks much, or cannot know what it lacks, is asked all the same, and takes its time."""
    others = [document(node, commit_index=20_000, last_applied=20_000) for node in (1, 3)]
    asked = document(2, **({"commit_index": 20_000, "last_applied": 20_000} | changes))
    snapshot_save._warn_of_waiting(overview(others[0], asked, others[1]), ADDRESSES[2])
    warned = capsys.readouterr().err
    assert warned.startswith(f"raftctl: {said}") if said else not warned


def test_into_a_directory(raftctl_json: AsJson, tmp_path: Path) -> None:
    """Under a name of its own; of those of this node so many are kept."""
    (tmp_path / "mine").write_text("not a backup")
    records = []
    for _ in range(4):
        record = raftctl_json("snapshot", "save", "--directory", str(tmp_path), "--keep", "2", "--node", "1")
        path = Path(record["file"])
        # As if it had been taken a day before: names have seconds.
        data = path.read_bytes()
        records.append((record["removed"], path, data))
        path.unlink()
        aged(path, data, days=4 - len(records))
    assert [removed for removed, _, _ in records] == [0, 0, 1, 1]
    assert len(list(tmp_path.iterdir())) == 3


def aged(path: Path, data: bytes, *, days: int) -> None:
    """Write a backup as it would have been some days ago."""
    header = decode_backup_header(data)
    assert header is not None
    older = replace(header, wall_clock_ms=header.wall_clock_ms - days * 86_400_000)
    (path.parent / name_of(older)).write_bytes(encode_backup_header(older) + data[header.header_length :])


def test_what_makes_no_sense_is_a_usage_error(raftctl: Raftctl, tmp_path: Path) -> None:
    """A file and a directory, neither, and --keep without a directory."""
    for arguments in ((), ("x", "--directory", str(tmp_path)), ("x", "--keep", "3")):
        raftctl("snapshot", "save", *arguments, code=ExitCode.USAGE)


@pytest.fixture
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs; no backup may be begun."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Client, "begin_backup", None)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "code"), [("nodir/x", 1), ("", 2), ("./", 2), ("fifo", 1), ("/dev/full", 1), ("x.part/y", 1)]
)
def test_a_wrong_place_is_no_failed_backup(
    raftctl: Raftctl, history: History, empty_directory: Path, file: str, code: int
) -> None:
    """It is found before any node is asked, which would tell of a failure to whoever watches the cluster."""
    os.mkfifo("fifo")
    before = history()
    said = raftctl("snapshot", "save", file, code=code)
    assert said.count(b"\n") == 1
    assert history() == before
    assert [path.name for path in empty_directory.iterdir()] == ["fifo"]


def test_a_disk_that_is_full_is_a_failed_backup(
    raftctl: Raftctl, history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever watches the cluster has to know of it."""

    class Full:
        def __call__(self, _: bytes) -> None:
            raise click.ClickException("x: No space left on device")

    @contextmanager
    def place(_: object, header: object) -> Iterator[Full]:
        assert header is not None
        yield Full()

    monkeypatch.setattr(snapshot_save._Place, "open", place)
    before = history()
    assert b"No space left" in raftctl("snapshot", "save", str(tmp_path / "x"), code=ExitCode.ERROR)
    assert history()[1] > before[1]


def test_a_node_that_is_not_there(raftctl: Raftctl, tmp_path: Path) -> None:
    """Exit code 5, and no file."""
    said = raftctl("snapshot", "save", str(tmp_path / "x"), "--node", "7", code=ExitCode.UNAVAILABLE)
    assert b"no node 7 answers" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("node")
def test_who_may_not_do_everything_is_refused(run: Raftctl, cluster_directory: Path, tmp_path: Path) -> None:
    """By the node, whatever they may read."""
    config = tmp_path / "reader.yaml"
    text = (cluster_directory / "raftctl.yaml").read_text().replace("user-admin", "user-reader")
    config.write_text(text.replace("pki/", f"{cluster_directory}/pki/"))
    said = run("--config", str(config), "snapshot", "save", str(tmp_path / "x"), code=ExitCode.ERROR)
    assert b"no such right" in said
    assert not (tmp_path / "x").exists()


@pytest.fixture
def large(client: Client) -> None:
    """A state of several pieces."""
    client.put("large", bytes(900_000))


@contextmanager
def cut_after(monkeypatch: pytest.MonkeyPatch, pieces: int, then: Callable[[], bytes]) -> Iterator[None]:
    """Let a client get so many pieces, of a few bytes each, and then something else."""
    whole = Client.read_backup
    left = pieces

    def read(client: Client, backup: Backup, offset: int) -> bytes:
        nonlocal left
        left -= 1
        return whole(client, backup, offset)[:100] if left >= 0 else then()

    with monkeypatch.context() as patched:
        patched.setattr(Client, "read_backup", read)
        yield


def lose() -> bytes:
    raise Unavailable("n1: the node closed the connection")


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("pieces", [0, 1, 3])
def test_a_node_that_goes_away_leaves_no_file(
    raftctl: Raftctl, history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    """One line, exit code 5; what was there under the name stays, and another node would know of the failure."""
    path = tmp_path / "x"
    path.write_text("the one of yesterday")
    before = history()
    with cut_after(monkeypatch, pieces, lose):
        said = raftctl("snapshot", "save", str(path), code=ExitCode.UNAVAILABLE)
    assert said == b"raftctl: n1: the node closed the connection\n"
    assert path.read_text() == "the one of yesterday"
    assert list(tmp_path.iterdir()) == [path]
    after = history()
    assert after[0] == before[0]
    assert after[1] > before[1]


@pytest.mark.usefixtures("large")
def test_what_is_sent_is_checked(raftctl: Raftctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are damaged on their way, and an end that comes too early."""
    with cut_after(monkeypatch, 3, lambda: b"damaged" * 40_000):
        said = raftctl("snapshot", "save", str(tmp_path / "x"), code=ExitCode.ERROR)
    assert b"what it sends is no backup" in said
    with cut_after(monkeypatch, 3, bytes):
        said = raftctl("snapshot", "save", str(tmp_path / "x"), code=ExitCode.UNAVAILABLE)
    assert b"has not come in full" in said
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_loaded_gets_no_name(
    raftctl: Raftctl, history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However complete it is: it counts as a failure."""

    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[-30] ^= 1
        path.write_bytes(data)
        verify(path)

    verify = snapshot_save._verify
    monkeypatch.setattr(snapshot_save, "_verify", damage)
    before = history()
    said = raftctl("snapshot", "save", str(tmp_path / "x"), code=ExitCode.ERROR)
    assert b": byte " in said
    assert list(tmp_path.iterdir()) == []
    assert history()[1] > before[1]


def test_without_verification_nothing_is_claimed(raftctl_json: AsJson, history: History, tmp_path: Path) -> None:
    """The file is there, and the node's memory is as it was."""
    before = history()
    assert raftctl_json("snapshot", "save", str(tmp_path / "x"), "--no-verify")["verified"] is False
    assert inspect(tmp_path / "x").head.key_count
    assert history() == before


def test_a_bar_shows_how_far_it_is(on_terminal: Callable[..., bytes], tmp_path: Path) -> None:
    """On standard error, if that is a terminal."""
    shown = on_terminal("stderr", "snapshot", "save", str(tmp_path / "x"))
    assert b"backup  [" in shown
    assert b"verify  [" in shown


def test_the_documents_shape(raftctl: Raftctl, tmp_path: Path) -> None:
    """YAML and JSON have the same."""
    record = json.loads(raftctl("snapshot", "save", str(tmp_path / "x"), "-o", "json"))
    assert list(record) == ["file", "node", "revision", "index", "bytes", "seconds", "verified"]
