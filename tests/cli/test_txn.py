import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from raftd.client import Client
from raftd.errors import ExitCode

Raftctl = Callable[..., bytes]
TAKE_OVER = "if\n absent txn/leader\nthen\n put txn/leader {name}\n increment txn/terms\nelse\n get txn/leader\n"


def test_one_branch_or_the_other(raftctl: Raftctl, client: Client, tmp_path: Path) -> None:
    """Exit code 4 says that it was the other one, which was done nevertheless."""
    client.delete_range(prefix="txn/")
    path = tmp_path / "take-over.txn"
    path.write_text(TAKE_OVER.format(name="a"))
    shown = raftctl("txn", str(path)).decode()
    assert shown.startswith("succeeded  yes\nrevision   ")
    assert "txn/terms" in shown
    raftctl("txn", str(path), code=ExitCode.COMPARE_FAILED)
    found = client.get("txn/terms")
    assert found is not None
    assert found.value == b"1"


def test_from_standard_input_as_json(raftctl: Raftctl, client: Client, stdin: Callable[[bytes], io.BytesIO]) -> None:
    """Bytes as they are."""
    client.delete_range(prefix="txn/")
    stdin(b"then\n put txn/\xff \\xfe\n get txn/\xff\n prefix txn/ keys-only\n")
    found = json.loads(raftctl("txn", "-o", "json"))
    assert found["succeeded"] is True
    put, get, page = found["results"]
    assert put["key"] == {"base64": "dHhuL/8="}
    assert get["value"] == {"base64": "/g=="}
    assert page["count"] == 1


def test_what_cannot_be_read(raftctl: Raftctl, tmp_path: Path, stdin: Callable[[bytes], io.BytesIO]) -> None:
    """Each problem is a line, with file and line; exit code 2, and nothing is sent."""
    path = tmp_path / "wrong.txn"
    path.write_text("then\n put txn/wrong\n gte a\n")
    said = raftctl("txn", str(path), code=ExitCode.USAGE).decode().splitlines()
    assert said[0] == f"raftctl: {path}: line 2: it is put KEY VALUE"
    assert said[1].startswith(f"raftctl: {path}: line 3: 'gte' is no operation")
    stdin(b"\x00\xff\n\x1b[2J")
    said = raftctl("txn", code=ExitCode.USAGE).decode().splitlines()
    assert said[0].startswith("raftctl: standard input: line 1: ")
    assert b"No such file" in raftctl("txn", str(tmp_path / "none"), code=ExitCode.ERROR)
    assert b"is a directory" in raftctl("txn", str(tmp_path), code=ExitCode.USAGE)


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("then\n" + " put txn/x 1\n" * 129, 1, "at most 128 operations, and this one has 129"),
        ("if\n" + " exists a\n" * 129 + "then\n get a\n", 1, "at most 128 conditions"),
        ("then\n transaction\n then\n transaction\n then\n get a\n end\n end\n", 1, "no further one"),
        ('then\n get ""\n', 1, "at least one byte"),
        ("then\n put txn/x 1\n put txn/y 1 lease=999999999\n", 3, "lease"),
        ("then\n put txn/x word\n increment txn/x\n", 1, "number"),
    ],
)
def test_what_the_cluster_does_not_do(
    raftctl: Raftctl, client: Client, tmp_path: Path, *, text: str, code: int, said: str
) -> None:
    """One line, and nothing is half done."""
    client.delete_range(prefix="txn/")
    path = tmp_path / "a.txn"
    path.write_text(text)
    output = raftctl("txn", str(path), code=code).decode()
    assert said in output
    assert output.count("\n") == 1
    assert client.count(prefix="txn/") == 0


def test_an_endless_text_is_not_read(raftctl: Raftctl, stdin: Callable[[bytes], io.BytesIO]) -> None:
    """It ends in a message, not in all of the memory."""
    stream = stdin(bytes(17 << 20))
    assert b"too long" in raftctl("txn", code=ExitCode.ERROR)
    assert stream.tell() == (16 << 20) + 1
