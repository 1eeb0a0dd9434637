import re
from collections.abc import Callable

import pytest

from raftd.settings import Settings

NODE_3 = """\
  - id: 3
    client_address: n3.example.net
    peer_address: n3.example.net
    http_address: n3.example.net
"""


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("id: 2\n", "id: 1\n", "9:9: nodes[1].id 1 is given twice; first on line 5"),
        (
            "peer_address: n2.example.net",
            "peer_address: n1.example.net",
            "11:19: nodes[1].peer_address n1.example.net:7401 is taken already by nodes[0].peer_address",
        ),
        (
            "http_address: n2.example.net",
            "http_address: n2.example.net:7401",
            "12:19: nodes[1].http_address n2.example.net:7401 is taken already by nodes[1].peer_address",
        ),
        (
            "client_address: n1.example.net",
            'client_address: "[::]"',
            "6:21: nodes[0].client_address [::]:7400 cannot be connected to; to bind to every address",
        ),
        (
            "tls:\n",
            "listen: {client: 0.0.0.0:7401}\ntls:\n",
            "17:18: listen.client binds port 7401 of node 1, which nodes[0].peer_address binds too",
        ),
        (
            "tls:\n",
            "listen: {client: 0.0.0.0:7400, http: 10.0.0.1:7400}\ntls:\n",
            "17:18: listen.client binds port 7400 of node 1, which listen.http binds too",
        ),
        (
            "tls:\n",
            "listen: {client: 10.0.0.1:7400, http: 10.0.0.1:7400}\ntls:\n",
            "17:18: listen.client binds port 7400 of node 1, which listen.http binds too",
        ),
        (
            "tls:\n",
            "listen: {peer: 0.0.0.0:7400}\ntls:\n",
            "17:16: listen.peer binds port 7400 of node 2, which nodes[1].client_address binds too",
        ),
        ("tls:\n", "timing: {tick: 30ms}\ntls:\n", "17:16: timing.heartbeat 100ms is no multiple of timing.tick, 30ms"),
        (
            "tls:\n",
            "timing: {election_timeout: 225ms}\ntls:\n",
            "17:28: timing.election_timeout 225ms is no multiple of timing.tick, 50ms",
        ),
        (
            "tls:\n",
            "timing: {heartbeat: 250ms}\ntls:\n",
            "17:21: timing.election_timeout 500ms must be more than two heartbeats of 250ms",
        ),
        ("[read]", "[read, read]", "28:40: access[1].allow names one right twice"),
        (
            "user: app-*, prefix: app/",
            'user: admin, prefix: ""',
            "28:5: access[1] is about the same user and prefix as line 27; join them",
        ),
        ("[read]", "[admin]", "28:27: access[1] allows admin, which is about the cluster and not about keys"),
    ],
)
def test_what_does_not_fit_together_is_told_where_it_is(
    old: str, new: str, problem: str, valid: str, problems_of: Callable[[str], list[str]]
) -> None:
    """Each cross check finds its mistake, at the value that can be changed."""
    assert old in valid
    assert any(found.startswith(f"raftd.yaml:{problem}") for found in problems_of(valid.replace(old, new, 1)))


def test_broken_values_do_not_hide_what_does_not_fit(valid: str, problems_of: Callable[[str], list[str]]) -> None:
    """One run is enough: cross checks look at whatever could be read."""
    text = valid.replace("name: demo", "name: Demo").replace("id: 2\n", "id: 1\n")
    assert len(problems_of(text + "timing: {tick: 50, heartbeat: 400ms}\n")) == 4


def test_a_broken_value_is_not_judged_twice(valid: str, problems_of: Callable[[str], list[str]]) -> None:
    """A value that could not be read is not compared as if it were the default."""
    assert len(problems_of(valid + "timing: {tick: 50, heartbeat: 130ms}\n")) == 1


@pytest.mark.parametrize(
    ("old", "new", "count"),
    [
        ("peer_address: n2.example.net", "peer_address: 1:30", 1),
        ("id: 2\n", "id: two\n", 1),
        ("tls:\n", "timing: {tick: 5}\ntls:\n", 1),
        ("tls:\n", "timing: {heartbeat: 5}\ntls:\n", 1),
        ("tls:\n", "timing: {election_timeout: 5}\ntls:\n", 1),
        ("[read]", "[raed, wirte]", 2),
        ("[read]", "read", 1),
        ("{user: app-*, prefix: app/, allow: [read]}", "x", 1),
        (
            'prefix: "", allow: [read, write, admin]',
            "prefix: 7, allow: [admin]}\n  - {user: admin, prefix: 7, allow: []",
            3,
        ),
        (
            "{user: app-*, prefix: app/, allow: [read]}",
            "{user: a b, prefix: x, allow: [read]}\n  - {user: c d, prefix: x, allow: [read]}",
            2,
        ),
    ],
)
def test_a_broken_value_is_its_only_problem(
    old: str, new: str, count: int, valid: str, problems_of: Callable[[str], list[str]]
) -> None:
    """The cross checks leave out what could not be read: no second complaint about it, and no traceback."""
    assert old in valid
    assert len(problems_of(valid.replace(old, new, 1))) == count


def test_whatever_comes_back_is_told_where_it_was_first(valid: str, problems_of: Callable[[str], list[str]]) -> None:
    """A third one too: the first is the one to keep."""
    ids = problems_of(valid.replace("id: 2\n", "id: 1\n").replace("id: 3\n", "id: 1\n"))
    assert [problem.rpartition("; ")[2] for problem in ids] == ["first on line 5"] * 2
    addresses = problems_of(re.sub("peer_address: n[23]", "peer_address: n1", valid))
    assert [problem.rpartition(" ")[2] for problem in addresses] == ["nodes[0].peer_address"] * 2
    line = '  - {user: admin, prefix: "", allow: [read]}\n'
    lines = problems_of(valid + line + line)
    assert [problem.partition(" as ")[2] for problem in lines] == ["line 27; join them"] * 2


def test_ports_are_taken_by_address(
    valid: str, load_text: Callable[[str], Settings], problems_of: Callable[[str], list[str]]
) -> None:
    """Two addresses of a machine can be bound to one port each; a node without an id is called by its place."""
    load_text(valid + "listen: {client: 10.0.0.1:7400, http: 10.0.0.2:7400}\n")
    load_text(valid + "listen: {client: 0.0.0.0:7400, http: 0.0.0.0:7402}\n")
    found = problems_of(valid.replace("id: 1\n", "id: x\n") + "listen: {client: 0.0.0.0:7401}\n")
    assert any("binds port 7401 of nodes[0], which" in problem for problem in found)
    only = problems_of(
        valid.replace("http_address: n1.", "http_address: 1:30#") + "listen: {client: 0.0.0.0:7402, peer: 0.0.0.0}\n"
    )
    assert len(only) == 3


def test_an_election_waits_for_more_than_two_heartbeats(valid: str, load_text: Callable[[str], Settings]) -> None:
    """And no more than that is asked for."""
    timing = load_text(valid + "timing: {heartbeat: 200ms, election_timeout: 450ms}\n").document.timing
    assert (timing.heartbeat_seconds, timing.election_timeout_seconds) == (0.2, 0.45)
    load_text(valid + "timing: {tick: 1s, heartbeat: 10s, election_timeout: 60s}\n")


def test_somebody_must_start_the_cluster(
    valid: str, problems_of: Callable[[str], list[str]], load_text: Callable[[str], Settings]
) -> None:
    """A cluster of nodes that all wait to be added, or of which none would lead, never is one."""

    def with_each(*lines: str) -> str:
        text = valid
        for number, line in enumerate(lines, 1):
            address = f"    http_address: n{number}.example.net\n"
            text = text.replace(address, f"{address}    {line}\n" if line else address)
        return text

    (problem,) = problems_of(with_each("joins: true", "joins: true", "joins: true"))
    assert problem.startswith("raftd.yaml:5:3: every node joins")
    (problem,) = problems_of(with_each("no_lead: true", "no_lead: true", "joins: true"))
    assert problem.startswith("raftd.yaml:5:3: every node to start with has no_lead")
    assert len(problems_of(with_each("joins: yes"))) == 1
    assert len(problems_of(with_each("joins: yes", "joins: true", "joins: true"))) == 1
    assert load_text(with_each("", "no_lead: true", "no_lead: true")).warnings == ()
    assert load_text(with_each("", "joins: true", "joins: true")).warnings == ()
    (warning,) = load_text(with_each("joins: true")).warnings
    assert "2 voters tolerate the loss of 0" in warning


@pytest.mark.parametrize(
    ("old", "new", "warning"),
    [
        (NODE_3, "", "2 voters tolerate the loss of 0, as 1 would; take an odd number"),
        ("access:\n", "access: []\n#", ""),
        (
            "tls:\n",
            "listen: {peer: 0.0.0.0:7401}\ntls:\n",
            "",
        ),
    ],
)
def test_warnings_do_not_refuse(
    old: str, new: str, warning: str, valid: str, load_text: Callable[[str], Settings]
) -> None:
    """What is allowed and probably not meant is said; what may well be meant is not."""
    text = valid.replace(old, new, 1)
    if "access: []" in text:
        text = text[: text.index("#")]
    warnings = load_text(text).warnings
    assert len(warnings) == bool(warning)
    assert all(f"warning: {warning}" in shown for shown in warnings)


def test_no_access_at_all_is_warned_of(valid: str, load_text: Callable[[str], Settings]) -> None:
    """A cluster that refuses everybody starts, but hardly on purpose; an empty list says it is on purpose."""
    (warning,) = load_text(valid[: valid.index("access:")]).warnings
    assert "every client will be refused" in warning


def test_nodes_of_one_machine_cannot_share(valid: str, load_text: Callable[[str], Settings]) -> None:
    """One listen address or data directory for several nodes of a host is warned of, not refused."""
    text = valid
    for number in (1, 2, 3):
        for offset, name in enumerate(("client", "peer", "http")):
            text = text.replace(f"{name}_address: n{number}.example.net", f"{name}_address: h:7{number}{offset}0")
    assert load_text(text).warnings == ()
    assert load_text(text + 'data_directory: "data/{node}"\n').warnings == ()
    warnings = load_text(text + "data_directory: data\nlisten: {peer: 0.0.0.0:7401}\n").warnings
    assert ["data_directory has no {node}" in warning for warning in warnings] == [True, False]
    assert "several are on h" in warnings[1]
    two = valid.replace("peer_address: n2.example.net", "peer_address: n1.example.net:7")
    (warning,) = load_text(two + "data_directory: data\n").warnings
    assert "several nodes are on n1.example.net" in warning
