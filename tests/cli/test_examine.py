from collections.abc import Iterator
from typing import Any

import pytest

from raftd.cli import examine
from raftd.cli.examine import Cluster, Examined
from raftd.cli.findings import Finding, Level
from raftd.client import ClientError, Unavailable
from tests.cli.test_status import document, overview

NOW = 1_000_000.0


def status(node: int, **changes: Any) -> dict[str, Any]:
    """A healthy node of three, as far as an examination looks."""
    peers = [
        {"node_id": peer, "connected": True, "round_trip_seconds": 0.001 if node == 3 else None}
        for peer in (1, 2, 3)
        if peer != node
    ]
    return document(
        node,
        **{
            "version": "1.0",
            "peers": peers,
            "membership": {"index": 1, "voters": [1, 2, 3]},
            "disk_low": False,
            "loop_lag_seconds": 0.001,
            "data_bytes": 10,
            "keys_max": 100,
            "data_bytes_max": 1000,
            "settings_differ": [],
            "pulse": {"sync_p99_seconds": 0.004},
            "configuration": {"settings_hash": "abc", "waiting": [], "is_refused": False, "certificates": []},
            **changes,
        },
    )


def cluster(
    *answers: dict[str, Any] | ClientError, heartbeat: float = 0.1, election: float = 0.5, **options: Any
) -> Cluster:
    told = answers or tuple(status(node) for node in (1, 2, 3))
    timing = {"heartbeat_seconds": heartbeat, "election_timeout_seconds": election}
    nodes = [
        Examined(each, {"settings": {"timing": timing}}, (0.002, 0.001)) for each in told if isinstance(each, dict)
    ]
    return Cluster(nodes, overview(*told).rows, NOW, **options)


def with_third(**changes: Any) -> Cluster:
    return cluster(status(1), status(2), status(3, **changes))


def levels(findings: Iterator[Finding]) -> list[Level]:
    return [finding.level for finding in findings]


def only(findings: Iterator[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_a_healthy_cluster_has_nothing_bad() -> None:
    """Every question is answered, and none of the answers asks for anything; what is not known is said."""
    findings = list(examine.examine(cluster()))
    asked = {"node", "quorum", "disk", "round trip", "timeouts", "certificates", "versions", "settings"}
    assert {finding.check for finding in findings} == asked
    assert {finding.level for finding in findings if finding.check != "certificates"} == {Level.OK}
    assert not any(finding.advice for finding in findings if finding.level is Level.OK)
    assert all(finding.advice for finding in findings if finding.level is not Level.OK)


def test_a_node_that_is_silent_or_unwell_is_bad() -> None:
    """With the words of `raftctl status`, and where to look."""
    silent = cluster(status(1, draining=True), Unavailable("n2:7400: connection refused"), status(3))
    first, second, third = examine.nodes(silent)
    assert (first.level, first.found) == (Level.BAD, "stopping")
    assert (second.of, second.level, second.found) == ("node 2", Level.BAD, "connection refused")
    assert third.level is Level.OK


@pytest.mark.parametrize(
    ("peers", "diverged", "advice"),
    [([1, 2], [], None), ([1, 2], [2], "node 2 is"), ([1, 2], [1, 2], "node 3 is"), ([1], [1], "one of them is")],
)
def test_a_state_that_differs_is_laid_to_a_node(peers: list[int], diverged: list[int], advice: str | None) -> None:
    """To the only peer that differs from the leader, or to the leader where all do; of two nodes to none."""
    told = [{"node_id": peer, "connected": True, "diverged": peer in diverged} for peer in peers]
    seen = cluster(
        status(1), status(2, peers=[{"node_id": 3, "connected": True, "diverged": True}]), status(3, peers=told)
    )
    found = [(finding.of, finding.level, finding.advice.split(" suspect")[0]) for finding in examine.states(seen)]
    assert found == ([] if advice is None else [("node 3", Level.BAD, advice)])


@pytest.mark.parametrize(
    ("voters", "silent", "level"),
    [
        ([1, 2, 3], 0, Level.OK),
        ([1, 2, 3], 1, Level.WARNING),
        ([1, 2, 3], 2, Level.BAD),
        ([1], 0, Level.WARNING),
        ([1, 2], 0, Level.WARNING),
    ],
)
def test_how_many_may_still_fail(voters: list[int], silent: int, level: Level) -> None:
    """None, at a voter missing or with too few of them; less than none is bad."""
    membership = {"index": 1, "voters": voters}
    answers: list[dict[str, Any] | ClientError] = [status(node, membership=membership) for node in (1, 2, 3)]
    answers[3 - silent :] = [Unavailable("gone")] * silent
    finding = only(examine.quorum(cluster(*answers)))
    assert finding.level is level


def test_an_even_number_of_voters_is_one_too_many() -> None:
    """Four tolerate no more than three do."""
    membership = {"index": 1, "voters": [1, 2, 3, 4]}
    four = [Examined(status(node, membership=membership)) for node in (1, 2, 3, 4)]
    assert only(examine.quorum(Cluster(four, [], NOW))).advice.startswith("an even number")
    assert list(examine.quorum(Cluster([], [], NOW))) == []


@pytest.mark.parametrize(
    ("seconds", "level"), [(0.004, Level.OK), (0.03, Level.WARNING), (0.6, Level.BAD), (None, Level.UNKNOWN)]
)
def test_disks_are_judged_by_their_fdatasyncs(seconds: float | None, level: Level) -> None:
    """One that takes longer than an election timeout is bad; without any in the last minutes nothing is known."""
    seen = with_third(pulse={"sync_p99_seconds": seconds})
    assert levels(examine.disk(seen.nodes[2])) == [level]


@pytest.mark.parametrize(
    ("free", "of_all", "expected"),
    [
        (9e8, 1e10, [Level.WARNING, Level.OK]),
        (1e9, 1e10, [Level.OK]),
        (2e10, 1e12, [Level.OK]),
        (9e9, 1e12, [Level.WARNING, Level.OK]),
        (0, 1e12, [Level.WARNING, Level.OK]),
        (0, 0, [Level.OK]),
    ],
)
def test_a_disk_that_is_nearly_full(free: float, of_all: float, expected: list[Level]) -> None:
    """Less than a tenth, and less than 10 GB: a hundredth of a large disk may be plenty."""
    node = with_third(disk_free_bytes=free, disk_size_bytes=of_all).nodes[2]
    assert levels(examine.disk(node)) == expected


def test_a_full_disk_is_bad() -> None:
    """Besides what its fdatasyncs take."""
    assert levels(examine.disk(with_third(disk_low=True).nodes[2])) == [Level.BAD, Level.OK]


def test_a_round_trip_longer_than_a_heartbeat_is_told() -> None:
    """From the leader to the others; from here to all of them it is for the reader to judge."""
    seen = list(examine.round_trips(cluster(heartbeat=0.0005)))
    assert [finding.found for finding in seen[:1]] == ["1 ms to 2 ms from here"]
    assert [finding.level for finding in seen] == [Level.OK] * 3 + [Level.WARNING] * 2


@pytest.mark.parametrize(
    ("changes", "election", "level", "found"),
    [
        ({}, 0.5, Level.OK, "0.3"),
        ({"pulse": {"sync_p99_seconds": 0.1}}, 0.5, Level.WARNING, "1.1 s"),
        ({"pulse": {"sync_p99_seconds": 0.1}}, 2.0, Level.OK, "1.1 s would be enough"),
        ({"loop_lag_seconds": 0.3}, 0.5, Level.WARNING, "3.1 s"),
        ({"pulse": {}}, 0.3, Level.OK, "just enough"),
    ],
)
def test_timeouts_are_derived_from_what_was_measured(
    changes: dict[str, Any], election: float, level: Level, found: str
) -> None:
    """Ten times what a slow round took: its way, the disk, and a loop that was late; not below two heartbeats."""
    finding = only(examine.timeouts(cluster(status(1), status(2), status(3, **changes), election=election)))
    assert finding.level is level
    assert found in f"{finding.found} {finding.advice}" or level is Level.OK


def test_a_disk_measured_here_counts_too() -> None:
    """Where nothing was written lately, nothing else knows how slow it is."""
    assert examine.slowest_seconds(cluster(measured_sync_seconds=0.2)) == pytest.approx(0.202)


def test_without_settings_no_timeout_is_judged() -> None:
    """A node of an older version does not tell them."""
    assert list(examine.timeouts(Cluster([Examined(status(1))], [], NOW))) == []


@pytest.mark.parametrize(
    ("ahead", "error", "level"),
    [(0.0001, 0.001, Level.OK), (0.5, 0.001, Level.OK), (-1.5, 0.001, Level.WARNING), (1.5, 0.6, Level.OK)],
)
def test_clocks_are_compared_with_this_machine_s(ahead: float, error: float, level: Level) -> None:
    """As exactly as the way there and back allows."""
    node = Examined(status(1), clock_ahead_seconds=ahead, clock_error_seconds=error)
    assert only(examine.clock(node)).level is level
    assert list(examine.clock(Examined(status(1)))) == []


@pytest.mark.parametrize(("days", "level"), [(-1, Level.BAD), (6, Level.BAD), (29, Level.WARNING), (31, Level.OK)])
def test_certificates_that_expire_soon(days: int, level: Level) -> None:
    """By what the node says of its files."""
    told = {"port": "peer", "kind": "certificate", "not_after_seconds": NOW + days * 86_400}
    node = Examined(status(1, configuration={"certificates": [told]}))
    finding = only(examine.certificates(node, NOW))
    assert finding.level is level
    assert finding.found.startswith("certificate of the peer port: ")
    assert ("raftctl pki issue-node --node 1 --renew" in finding.advice) == (level is not Level.OK)


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("node", "issue it anew (raftctl pki issue-node --node 7 --renew), copy it, and raftctl reload"),
        ("user", "issue it anew: raftctl pki issue-user 7 --renew"),
        ("authority", "let another one take over from it, in three steps: raftctl pki rotate-ca"),
        ("other", "issue it anew where it was made"),
    ],
)
def test_each_certificate_is_renewed_in_its_own_way(kind: str, advice: str) -> None:
    """An authority that was made anew would be trusted by nobody."""
    assert examine.renewal(kind, "7") == advice


def test_an_authority_is_not_issued_anew() -> None:
    """Of what a node tells, too."""
    told = {"port": "peer", "kind": "authority", "not_after_seconds": NOW}
    node = Examined(status(1, configuration={"certificates": [told]}))
    assert only(examine.certificates(node, NOW)).advice == examine.renewal("authority", "")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"keys": 80}, [Level.WARNING]),
        ({"keys": 100}, [Level.BAD]),
        ({"data_bytes": 900}, [Level.WARNING]),
    ],
)
def test_a_store_that_is_nearly_full(changes: dict[str, Any], expected: list[Level]) -> None:
    """Of keys or of bytes; before it is full, so that there is time."""
    assert levels(examine.room(Examined(status(1, **changes)))) == expected


def test_versions_that_differ_are_named() -> None:
    """A rolling upgrade that was left half done is found."""
    finding = only(examine.versions(with_third(version="2.0")))
    assert (finding.level, finding.found) == (Level.WARNING, "node 1: 1.0; node 2: 1.0; node 3: 2.0")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"configuration": {"settings_hash": "other"}}, "nodes go by different raftd.yaml"),
        ({"configuration": {"settings_hash": "abc", "waiting": ["listen"]}}, "wait for a restart: listen"),
        ({"configuration": {"settings_hash": "abc", "is_refused": True}}, "the latest reload was refused"),
        ({"settings_differ": [{"node_id": 4, "difference": "a member, and not in raftd.yaml"}]}, "node 4: a member"),
    ],
)
def test_settings_that_are_not_as_they_should_be(changes: dict[str, Any], found: str) -> None:
    """Different on two nodes, from the membership, or from what is in force."""
    warnings = [each for each in examine.settings(with_third(**changes)) if each.level is Level.WARNING]
    assert [each.found.startswith(found) for each in warnings] == [True]


@pytest.mark.parametrize(("seconds", "text"), [(0.0012, "1.2 ms"), (0.3, "300 ms"), (1.5, "1.5 s")])
def test_times_are_shown_as_settings_have_them(seconds: float, text: str) -> None:
    """So that advice can be copied."""
    assert examine.shown(seconds) == text
