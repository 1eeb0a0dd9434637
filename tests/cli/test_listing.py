import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from raftd.cli.listing import Selection, pages
from raftd.cli.parameters import Span
from raftd.client import Client, Put
from raftd.errors import ExitCode
from tests.cli.conftest import PROGRAM

Raftctl = Callable[..., bytes]
KEYS = 2500


@pytest.fixture
def numbers(client: Client) -> None:
    """2,500 keys: three pages."""
    if client.count(prefix="n/") != KEYS:
        for start in range(0, KEYS, 125):
            client.transaction().then(*(Put(f"n/{number:04}", "x") for number in range(start, start + 125))).commit()


@pytest.mark.usefixtures("numbers")
@pytest.mark.parametrize("limit", [None, 1, 1000, 1001, 2500, 9999])
def test_pages(client: Client, limit: int | None) -> None:
    """All of a range, or as many as are wanted, of one revision and each key once, whatever a page holds."""
    found = list(pages(client, Selection(Span(prefix=b"n/"), limit, keys_only=True)))
    keys = [item.key for page in found for item in page.items]
    assert keys == [b"n/%04d" % number for number in range(min(limit or KEYS, KEYS))]
    assert len({page.revision for page in found}) == 1


@pytest.mark.usefixtures("numbers")
def test_a_list_goes_on_where_it_ended(raftctl: Raftctl, client: Client) -> None:
    """The message says how; what was written meanwhile is not in it."""
    first = list(pages(client, Selection(Span(prefix=b"n/"), limit=2499)))
    token = first[-1].next_page
    assert token is not None
    client.put("n/2499x", "new")
    assert raftctl("list", "n/", "--keys-only", "--page", token) == b"n/2499\n"
    client.delete("n/2499x")
    assert b"another range" in raftctl("list", "o/", "--page", token, code=ExitCode.ERROR)
    assert b"page is not" in raftctl("list", "n/", "--page", "nonsense", code=ExitCode.ERROR)


def test_more_keys_are_told(raftctl: Raftctl, client: Client, cluster_directory: Path) -> None:
    """On standard error, so that what is read by a program stays what it is."""
    client.transaction().then(Put("more/1", ""), Put("more/2", "")).commit()
    ended = subprocess.run(
        [*PROGRAM, "--config", str(cluster_directory / "raftctl.yaml"), "list", "more/", "--limit", "1", "--keys-only"],
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert ended.stdout == b"more/1\n"
    assert b"goes on with --page " in ended.stderr
    token = ended.stderr.split()[-1].decode()
    assert raftctl("list", "more/", "--page", token, "--keys-only") == b"more/2\n"


def test_the_columns(raftctl: Raftctl, client: Client) -> None:
    """When a key was written, how often, with which lease, by whom, and its value if asked for; nothing is nothing."""
    lease = client.grant_lease(60)
    client.put("col/a", "v", lease=lease.id)
    assert raftctl("list", "col/").split() == [
        *(b"KEY", b"REVISION", b"VERSION", b"LEASE", b"USER"),
        *(b"col/a", str(client.get("col/a").modify_revision).encode(), b"1", str(lease.id).encode(), b"admin"),  # type: ignore[union-attr]  # it is there
    ]
    assert json.loads(raftctl("list", "col/", "--values", "-o", "json"))["value"] == "v"
    assert "value" not in json.loads(raftctl("list", "col/", "-o", "json"))
    lease.revoke()
    assert raftctl("list", "col/") == b""
    assert b"exclude each other" in raftctl("list", "--values", "--keys-only", code=ExitCode.USAGE)


def test_a_range_and_everything(raftctl: Raftctl, client: Client) -> None:
    """--to names the first key that is left out; without anything, all keys are listed."""
    client.transaction().then(Put("r/1", ""), Put("r/2", ""), Put("r/3", "")).commit()
    assert raftctl("list", "r/1", "--to", "r/3", "--keys-only") == b"r/1\nr/2\n"
    assert b"raftd\n" in raftctl("list", "--keys-only")
    assert raftctl("list", "r/", "--revision", "1", "--keys-only") == b""


def test_a_namespace_is_not_seen(raftctl: Raftctl, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """By flag or environment: keys are put behind the prefix, and shown without it."""
    raftctl("--namespace", "ns/", "set", "a", "1")
    assert client.get("ns/a") is not None
    monkeypatch.setenv("RAFTCTL_NAMESPACE", "ns/")
    assert raftctl("list", "--keys-only") == b"a\n"
    assert raftctl("get", "a") == b"1\n"
    assert b"no key ns/a" in raftctl("get", "ns/a", code=ExitCode.NOT_FOUND)
    assert b"UTF-8" in raftctl("--namespace", os.fsdecode(b"\xff"), "list", code=ExitCode.USAGE)
    assert b"at most 4095" in raftctl("--namespace", "n" * 4096, "list", code=ExitCode.USAGE)


@pytest.mark.usefixtures("numbers")
def test_a_reader_that_leaves_is_no_error(cluster_directory: Path) -> None:
    """As in `raftctl list | head -1`."""
    raftctl = " ".join(f"'{word}'" for word in (*PROGRAM, "--config", cluster_directory / "raftctl.yaml"))
    for what in ("list n/ --values", "list n/ -o json", "list n/ -o yaml", "export n/"):
        ended = subprocess.run(
            ["bash", "-c", f"{raftctl} {what} | head -1; exit ${{PIPESTATUS[0]}}"],
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert ended.returncode in {0, 141}
        assert ended.stderr.replace(b"raftctl: exported 2500 keys\n", b"") == b""
        assert ended.stdout.count(b"\n") == 1
