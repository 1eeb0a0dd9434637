from collections.abc import Callable

from raftd.consensus.types import NodeId
from raftd.http.family import Family, Kind, counter, counter_by, gauge, labelled_gauge, peer_counter, peer_gauge
from raftd.http.view import NodeCounters, NodeStatus, PeerStatus


def samples_of(family: Family, status: NodeStatus, counters: NodeCounters) -> list[tuple[tuple[str, ...], float]]:
    assert family.read is not None
    return list(family.read(status, counters))


def test_a_gauge_reads_the_status(leader_with: Callable[..., NodeStatus]) -> None:
    """A gauge has one sample, or none where there is nothing to say."""
    family = gauge("raftd_x", "X.", lambda s: s.keys or None)
    assert (family.kind, family.labels) == (Kind.GAUGE, ())
    assert samples_of(family, leader_with(keys=3), NodeCounters()) == [((), 3)]
    assert samples_of(family, leader_with(keys=0), NodeCounters()) == []


def test_a_labelled_gauge_has_its_own_samples(leader_with: Callable[..., NodeStatus]) -> None:
    """Its reader says which labels there are."""
    family = labelled_gauge("raftd_x", "X.", ("role",), lambda s: [((s.role.value,), 1)])
    assert samples_of(family, leader_with(), NodeCounters()) == [(("leader",), 1)]


def test_counters_read_what_was_counted(leader_with: Callable[..., NodeStatus]) -> None:
    """A counter has one sample, or one for each value of its label."""
    counters = NodeCounters(reads_confirmed=4, reads_refused=1)
    plain = counter("raftd_x_total", "X.", lambda c: c.reads_confirmed)
    by_outcome = counter_by(
        "outcome", "raftd_y_total", "Y.", confirmed=lambda c: c.reads_confirmed, refused=lambda c: c.reads_refused
    )
    assert samples_of(plain, leader_with(), counters) == [((), 4)]
    assert samples_of(by_outcome, leader_with(), counters) == [(("confirmed",), 4), (("refused",), 1)]
    assert plain.kind is by_outcome.kind is Kind.COUNTER


def test_peers_have_a_sample_each(leader_with: Callable[..., NodeStatus]) -> None:
    """One for each peer of whom something is known."""
    status = leader_with(
        peers=(PeerStatus(NodeId(2), True, sent_bytes=7, contact_seconds=0.5), PeerStatus(NodeId(3), False))
    )
    age = peer_gauge("raftd_x_seconds", "X.", lambda p: p.contact_seconds)
    sent = peer_counter("raftd_x_bytes_total", "X.", lambda p: p.sent_bytes)
    assert samples_of(age, status, NodeCounters()) == [(("2",), 0.5)]
    assert samples_of(sent, status, NodeCounters()) == [(("2",), 7), (("3",), 0)]
    assert (age.kind, sent.kind) == (Kind.GAUGE, Kind.COUNTER)
