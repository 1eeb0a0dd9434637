import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from raftd.cli.dump import read
from raftd.client import Client, Compacted, Page, Put
from raftd.errors import ExitCode

Raftctl = Callable[..., bytes]


@pytest.fixture
def exported(client: Client) -> None:
    """Keys of every kind below `x/`: text, bytes, an empty value, and one with a lease."""
    client.delete_range(prefix="x/")
    lease = client.grant_lease(600)
    client.transaction().then(
        Put("x/text", "ü\n"), Put(b"x/\xff", b"\x00\xff"), Put("x/empty", ""), Put("x/leased", "1", lease=lease.id)
    ).commit()


@pytest.mark.usefixtures("exported")
def test_to_standard_output(raftctl: Raftctl) -> None:
    """Header, keys in byte order, and the end; what has a lease is left out."""
    lines = [json.loads(line) for line in raftctl("export", "x/").splitlines()]
    assert (lines[0]["prefix"], lines[0]["keys"]) == ("x/", 4)
    assert lines[1:-1] == [
        {"key": "x/empty", "value": ""},
        {"key": "x/text", "value": "ü\n"},
        {"key": {"base64": "eC//"}, "value": {"base64": "AP8="}},
    ]
    assert lines[-1]["keys"] == 3


@pytest.mark.usefixtures("exported")
def test_into_a_file(raftctl: Raftctl, tmp_path: Path) -> None:
    """For the user alone; it has its name only when it is complete, and replaces an older one."""
    path = tmp_path / "x.jsonl"
    path.write_text("an older one")
    assert raftctl("export", "x/", "--leased", "--file", str(path)) == b""
    with path.open("rb") as stream:
        _, entries = read(stream)
        assert [entry.key for entry in entries] == [b"x/empty", b"x/leased", b"x/text", b"x/\xff"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    assert b"No such file" in raftctl("export", "--file", str(tmp_path / "none" / "x"), code=ExitCode.ERROR)
    assert b"directory" in raftctl("export", "--file", str(tmp_path), code=ExitCode.USAGE)


@pytest.mark.usefixtures("exported")
def test_what_cannot_be_read_to_its_end_leaves_no_file(
    raftctl: Raftctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a whole one nor half of one; the message says what can be done."""
    whole = Client.range

    def once(client: Client, *arguments: object, **options: object) -> Page:
        if options.get("page") is not None:
            raise Compacted(5)
        return whole(client, *arguments, **{**options, "limit": 2})  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(Client, "range", once)
    said = raftctl("export", "x/", "--file", str(tmp_path / "x"), code=ExitCode.ERROR)
    assert b"export again, or in parts" in said
    assert said.count(b"\n") == 1
    assert list(tmp_path.iterdir()) == []
