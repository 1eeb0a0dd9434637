import json
from collections.abc import Callable
from typing import Any

from raftd.cli.history import change_row
from raftd.cli.output import OutputFormat
from raftd.client import Change, Client
from raftd.errors import ExitCode

Raftctl = Callable[..., bytes]


def test_who_when_and_from_where(raftctl: Raftctl, raftctl_json: Callable[..., Any], client: Client) -> None:
    """The newest first; values only on request, and then the old ones too."""
    lease = client.grant_lease(60)
    client.put("hist", "one")
    client.put("hist", "two", lease=lease.id)
    lease.revoke()
    shown = raftctl("history", "hist").decode()
    assert [line.split()[2] for line in shown.splitlines()] == ["KIND", "lease", "put", "put"]
    assert "admin" in shown
    assert "127.0.0.1:" in shown or "127." in shown
    assert "one" not in shown
    found = raftctl_json("history", "hist", "--values")
    assert [(each["kind"], each["value"], each["previous_value"]) for each in found] == [
        ("delete", None, "two"),
        ("put", "two", "one"),
        ("put", "one", None),
    ]
    assert [each["by_lease"] for each in found] == [True, False, False]
    assert found[0]["time"].endswith("Z")
    assert b"one" in raftctl("history", "hist", "--values")


def test_a_part_of_it(raftctl_json: Callable[..., Any], client: Client) -> None:
    """The newest N, and only before a revision."""
    revisions = [client.put("part", f"{number}").revision for number in range(5)]
    newest = raftctl_json("history", "part", "--limit", "2")
    assert [each["revision"] for each in newest] == [revisions[4], revisions[3]]
    older = raftctl_json("history", "part", "--before", str(revisions[3]))
    assert [each["revision"] for each in older] == revisions[2::-1]


def test_no_history(raftctl: Raftctl) -> None:
    """Exit code 3, and one line, whatever the key is; wrong input is a usage error."""
    assert raftctl("history", "none\n", code=ExitCode.NOT_FOUND) == b"raftctl: no change of none\\n is held\n"
    assert raftctl("history", "none", "-o", "json", code=ExitCode.NOT_FOUND) == b""
    raftctl("history", "none", "--limit", "0", code=ExitCode.USAGE)
    raftctl("history", "none", "--before", "0", code=ExitCode.USAGE)
    assert b"at least one byte" in raftctl("history", "", code=ExitCode.ERROR)


def test_a_clock_that_was_set_to_nonsense() -> None:
    """A time that no calendar has is left out."""
    change = Change("put", b"k", b"v", 1, 1, 1, 0, False, 1e17, "admin", "127.0.0.1:1")
    assert change_row(change, OutputFormat.JSON, values=False)["time"] is None
    assert json.dumps(change_row(change._replace(wall_clock=0.5), OutputFormat.JSON, values=False)["time"]) == (
        '"1970-01-01T00:00:00.500Z"'
    )


def test_what_the_cluster_did_by_itself() -> None:
    """The end of a lease that ran out is nobody's, and is not shown as of 1970."""
    change = Change("delete", b"k", None, 7, 1, 1, 5, True, 0.0, "", "")
    assert change_row(change, OutputFormat.TABLE, values=False)["time"] is None
