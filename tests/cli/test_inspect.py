import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from raftd.cli import inspect
from raftd.errors import ExitCode

Raftctl = Callable[..., bytes]


@pytest.fixture
def three_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while --watch pauses for the third time."""
    rounds = itertools.count(1)

    def pause(seconds: float) -> None:
        assert seconds <= 1
        if next(rounds) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", pause)


def test_status_is_a_table_of_all_nodes(raftctl: Raftctl) -> None:
    """Of one node here, which leads."""
    header, row = raftctl("status").decode().splitlines()
    columns = header.split()
    assert " ".join(columns) == "NODE ENDPOINT ROLE TERM VOTE LEADER COMMIT APPLIED LAG TIMER KEYS HEALTH"
    cells = dict(zip(columns, row.split(), strict=True))
    assert (cells["NODE"], cells["ROLE"], cells["LAG"], cells["HEALTH"]) == ("1", "leader", "0", "ok")
    assert cells["COMMIT"] == cells["APPLIED"]


def test_status_as_json_has_everything(raftctl_json: Callable[..., Any]) -> None:
    """What the table shows, and the node's whole document."""
    (row,) = raftctl_json("status")
    assert (row["node"], row["health"], row["healthy"]) == (1, "ok", True)
    assert row["status"]["cluster"] == "test"


def test_status_of_a_cluster_that_is_not_there(raftctl: Raftctl) -> None:
    """Exit code 5, and the reasons in the table, as JSON too."""
    raftctl("--endpoints", "127.0.0.1:1,127.0.0.1:2", "status", code=ExitCode.UNAVAILABLE)
    raftctl("--endpoints", "127.0.0.1:1", "status", "-o", "json", code=ExitCode.UNAVAILABLE)


@pytest.mark.usefixtures("three_rounds")
def test_watch_goes_on_until_ctrl_c(raftctl: Raftctl) -> None:
    """Which is how it is meant to end, so nothing is said and the exit code is 0; a pipe gets no control characters."""
    output = raftctl("status", "--watch").decode()
    assert output.count("HEALTH") == 3
    assert "\x1b" not in output


@pytest.mark.usefixtures("three_rounds")
def test_watch_draws_over_what_it_drew(raftctl: Raftctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal nothing is cleared before the new is there: that would flicker."""
    monkeypatch.setattr(inspect, "is_terminal", lambda _: True)
    rounds = raftctl("status", "--watch").decode().split("\x1b[H")[1:]
    assert len(rounds) == 3
    for drawn in rounds:
        assert drawn.endswith("\x1b[J")
        assert drawn.count("\x1b[K\n") == drawn.count("\n") == 2


@pytest.mark.usefixtures("three_rounds")
def test_watch_as_json_is_a_document_each(raftctl: Raftctl) -> None:
    """So that a program can follow it."""
    decoder, text = json.JSONDecoder(), raftctl("status", "--watch", "-o", "json").decode()
    for _ in range(3):
        rows, end = decoder.raw_decode(text)
        assert rows[0]["node"] == 1
        text = text[end:].lstrip()
    assert text == ""


def newest_put(raftctl_json: Callable[..., Any]) -> dict[str, Any]:
    """Other entries come in between as they like: sessions, and the cluster's clock."""
    return next(entry for entry in raftctl_json("log", "--last", "50") if entry.get("command") == "put")


def test_log_is_newest_first_and_marks_what_is_applied(raftctl: Raftctl, raftctl_json: Callable[..., Any]) -> None:
    """Keys are shown, values are not."""
    raftctl("set", "logged", "secret")
    put = newest_put(raftctl_json)
    assert (put["key"], put["key_bytes"], put["value_bytes"], put["user"]) == ("logged", 6, 6, "admin")
    indexes = [entry["index"] for entry in raftctl_json("log", "--last", "5")]
    assert indexes == list(range(indexes[0], indexes[0] - 5, -1))
    shown = raftctl("log", "--node", "1", "--last", "5").decode()
    assert [line[0] for line in shown.splitlines()] == ["S", *"*****"]
    assert "secret" not in raftctl("log", "--last", "50").decode()


def test_what_is_committed_only_has_a_plus() -> None:
    """And what is neither has nothing."""
    entry = {"applied": False, "committed": True, "index": 1}
    assert inspect._log_row(entry)["state"] == "+"
    assert inspect._log_row({**entry, "committed": False})["state"] == ""
    assert inspect._log_row({**entry, "applied": True})["state"] == "*"


def test_keys_that_are_no_text_and_long_ones(raftctl: Raftctl, raftctl_json: Callable[..., Any]) -> None:
    """Bytes are shown as `get` shows them; a long key is cut, and its length told."""
    raftctl("set", "\udcff\\", "v")
    assert newest_put(raftctl_json)["key"] == {"base64": "/1w="}
    assert "\\xff\\\\" in raftctl("log", "--last", "10").decode()
    raftctl("set", "k" * 4096, "v")
    entry = newest_put(raftctl_json)
    assert (entry["key"], entry["key_bytes"]) == ("k" * 63 + "…", 4096)


def test_log_of_a_node_that_does_not_answer(raftctl: Raftctl) -> None:
    """Which were asked is said."""
    assert b"no node 9 answers; asked were 127." in raftctl("log", "--node", "9", code=ExitCode.UNAVAILABLE)
    raftctl("log", "--last", "1001", code=ExitCode.USAGE)
