import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftd.cli.dump import Entry, Header, Writer
from raftd.cli.restore import batches
from raftd.client import Client
from raftd.errors import ExitCode
from raftd.kv.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX
from tests.cli.conftest import PATIENCE_SECONDS, Spawn, wait_until
from tests.client.fake import FakeCluster, Silent

Raftctl = Callable[..., bytes]


def dump_of(*entries: Entry) -> bytes:
    writer = Writer()
    return b"".join((writer.header(Header(1, b"", None)), *map(writer.entry, entries), writer.end()))


def numbered(count: int, prefix: str = "im/") -> list[Entry]:
    return [Entry(f"{prefix}{number:05}".encode(), b"%d" % number) for number in range(count)]


@pytest.fixture
def path(tmp_path: Path, client: Client) -> Path:
    """A file of 300 keys below `im/`, of which the cluster has none."""
    client.delete_range(prefix="im/")
    made = tmp_path / "im.jsonl"
    made.write_bytes(dump_of(*numbered(300)))
    return made


def test_there_and_back(raftctl: Raftctl, client: Client, tmp_path: Path) -> None:
    """What was exported is what is imported, byte for byte, into another namespace if that is wanted."""
    client.delete_range(prefix="tb/")
    client.delete_range(prefix="copy/")
    client.put(b"tb/\xff", bytes(range(256)))
    client.put("tb/long", bytes(VALUE_BYTES_MAX))
    client.put("tb/" + "k" * (KEY_BYTES_MAX - 3 - 5), "")
    path = tmp_path / "tb.jsonl"
    raftctl("export", "tb/", "--file", str(path))
    raftctl("--namespace", "copy/", "import", str(path))
    originals = {item.key: item.value for item in client.items(prefix="tb/")}
    assert {item.key.removeprefix(b"copy/"): item.value for item in client.items(prefix="copy/")} == originals


def test_what_was_written_is_told(raftctl_json: Callable[..., Any], client: Client, path: Path) -> None:
    """And what was kept since it was there already; a second time does no harm."""
    client.put("im/00007", "mine")
    done = raftctl_json("import", str(path), "--keep")
    assert (done["keys"], done["written"], done["kept"]) == (300, 299, 1)
    found = client.get("im/00007")
    assert found is not None
    assert found.value == b"mine"
    done = raftctl_json("import", str(path))
    assert (done["written"], done["kept"]) == (300, 0)
    assert raftctl_json("import", str(path), "--skip", "298")["written"] == 2
    assert raftctl_json("import", str(path), "--skip", "1000")["written"] == 0


def test_a_dry_run_writes_nothing(run: Raftctl, cluster_directory: Path, path: Path, client: Client) -> None:
    """It checks the file, and asks no node; nor does it need to know of one."""
    config = str(cluster_directory / "raftctl.yaml")
    shown = run("--config", config, "--endpoints", "127.0.0.1:1", "import", str(path), "--dry-run")
    assert b"keys      300" in shown
    assert run("import", str(path), "--dry-run") == shown
    assert client.count(prefix="im/") == 0


@pytest.mark.parametrize("source", ["file", "standard input", "pipe"])
def test_a_cut_file_is_refused(
    raftctl: Raftctl, client: Client, path: Path, source: str, stdin: Callable[[bytes], io.BytesIO]
) -> None:
    """Before anything is written; the line is told."""
    data = path.read_bytes()[:5000]
    name = str(path)
    match source:
        case "file":
            path.write_bytes(data)
            said = raftctl("import", name, code=ExitCode.ERROR).decode()
        case "standard input":
            stdin(data)
            said, name = raftctl("import", code=ExitCode.ERROR).decode(), source
        case _:
            reading, writing = os.pipe()
            with os.fdopen(reading), os.fdopen(writing, "wb") as stream:
                stream.write(data)
                stream.close()
                name = f"/dev/fd/{reading}"
                said = raftctl("import", name, code=ExitCode.ERROR).decode()
    line = data.count(b"\n") + 1
    assert said == f"raftctl: {name}: line {line}: the file ends in the middle of it: it was cut; nothing was written\n"
    assert client.count(prefix="im/") == 0


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty; nothing was written"),
        (b"\x00\xff\n", "line 1: this is not a JSON object"),
        (dump_of(Entry(b"", b"")), "a key has at least one byte"),
        (dump_of(Entry(bytes(KEY_BYTES_MAX + 1), b"")), "a key has at most 4096 bytes"),
        (dump_of(Entry(b"im/", bytes(VALUE_BYTES_MAX + 1))), "a value has at most 1048576 bytes"),
    ],
)
def test_what_cannot_be_imported(raftctl: Raftctl, path: Path, data: bytes, said: str) -> None:
    """One line, and nothing was written."""
    path.write_bytes(data)
    output = raftctl("import", str(path), code=ExitCode.ERROR).decode()
    assert said in output
    assert output.endswith("; nothing was written\n")
    assert output.count("\n") == 1


def test_files_that_are_none(raftctl: Raftctl, tmp_path: Path) -> None:
    """The name and the reason."""
    assert b"No such file" in raftctl("import", str(tmp_path / "none"), code=ExitCode.ERROR)
    assert b"is a directory" in raftctl("import", str(tmp_path), code=ExitCode.USAGE)
    raftctl("import", str(tmp_path), "--skip", "-1", code=ExitCode.USAGE)


def test_an_import_that_is_cut_off_goes_on(
    run: Raftctl, cluster_in_thread: FakeCluster, config_path: Path, tmp_path: Path
) -> None:
    """How many keys are written is told, and --skip goes on there, so that each is written once."""
    path = tmp_path / "im.jsonl"
    path.write_bytes(dump_of(*numbered(300)))
    node = cluster_in_thread.nodes[0]
    transactions = []

    def third(_kind: object, body: bytes) -> bool:
        transactions.append(body)
        return len(transactions) >= 3

    node.plan_for = third
    node.plan.extend([Silent(freeze=True)])
    config = ("--config", str(config_path), "--timeout", "500ms")
    said = run(*config, "import", str(path), code=ExitCode.OUTCOME_UNKNOWN).decode().splitlines()
    assert len(said) == 2
    head, _, rest = said[1].partition(" of 300 keys are written")
    written = int(head.removeprefix("raftctl: "))
    assert written % 128 == 0
    assert rest == f" and perhaps the next few; --skip {written} goes on there"
    node.frozen = False
    node.plan.clear()
    cluster_in_thread.leader = cluster_in_thread.nodes[1]
    run(*config, "import", str(path), "--skip", str(written))
    assert cluster_in_thread.machine.key_count == 300


def test_ctrl_c(spawn: Spawn, cluster_in_thread: FakeCluster, config_path: Path, tmp_path: Path) -> None:
    """How far it came is told then, too."""
    path = tmp_path / "im.jsonl"
    path.write_bytes(dump_of(*numbered(300)))
    node = cluster_in_thread.nodes[0]
    node.plan.append(Silent())
    process = spawn("--timeout", "60s", "import", str(path), config=config_path)
    wait_until(lambda: not node.plan, "it has begun")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert b"0 of 300 keys are written and perhaps the next few" in error
    assert b"Traceback" not in error


@given(st.lists(st.integers(0, 600 << 10), max_size=50), st.integers(1, 10))
def test_batches(sizes: list[int], entries_max: int) -> None:
    """All entries in their order, no batch empty, too long or too large, unless one entry is that already."""
    # Sizes are what counts, so the value need not be made for each.
    entries = [Entry(b"k", _ZEROS[:size]) for size in sizes]
    found = list(batches(entries, entries_max))
    assert [entry for batch in found for entry in batch] == entries
    for batch in found:
        assert 1 <= len(batch) <= entries_max
        assert len(batch) == 1 or sum(1 + len(entry.value) for entry in batch) <= 512 << 10


_ZEROS = bytes(600 << 10)
