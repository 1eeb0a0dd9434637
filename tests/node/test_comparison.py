import logging

import pytest

from raftd import events
from raftd.consensus.types import LogIndex, NodeId
from raftd.kv import answers
from raftd.kv.audit import AUDIT_ENTRIES, AUDIT_KEYS
from raftd.node.comparison import KEPT_MAX, StateComparison
from raftd.wire.state_hashes import HASHES_MAX
from tests.node.parts import Cluster

PEER = NodeId(2)


def index(number: int) -> LogIndex:
    return LogIndex(number * AUDIT_ENTRIES)


def compared(count: int, keys: int = 0) -> StateComparison:
    """One that has audited so many states: the hash of the first is 1, and so on."""
    comparison = StateComparison()
    for number in range(1, count + 1):
        comparison.audited(index(number), number, keys)
    return comparison


def counts(comparison: StateComparison) -> tuple[int, int]:
    return comparison.equal_total, comparison.different_total


def test_what_was_found_is_told_once() -> None:
    """The newest hashes, at most as many as a message has, and each once."""
    comparison = compared(3)
    assert comparison.take_untold() == (index(3), [1, 2, 3])
    assert comparison.take_untold() is None
    comparison.audited(index(4), 4, 0)
    assert comparison.take_untold() == (index(4), [4])
    assert compared(HASHES_MAX + 5).take_untold() == (index(HASHES_MAX + 5), list(range(6, HASHES_MAX + 6)))


def test_a_snapshot_leaves_a_gap_that_is_not_told() -> None:
    """Hashes are told in a row; what is before a gap is not."""
    comparison = compared(2)
    comparison.audited(index(9), 9, 0)
    assert comparison.take_untold() == (index(9), [9])


def test_the_past_and_the_future_are_compared() -> None:
    """What is applied already is compared at once, what is not waits for its turn."""
    comparison = compared(3)
    comparison.heard(PEER, index(5), [2, 3, 4, 5])
    assert counts(comparison) == (2, 0)
    comparison.audited(index(4), 4, 0)
    assert counts(comparison) == (3, 0)
    comparison.audited(index(6), 6, 0)
    assert counts(comparison) == (3, 0)
    assert not comparison.has_diverged(PEER)
    assert comparison.latest == (index(6), 6)


def test_a_difference_is_logged_once_and_stays_for_a_round(caplog: pytest.LogCaptureFixture) -> None:
    """A peer is clear again when every key has been compared without a difference, and news again after that."""
    comparison = compared(2, keys=3 * AUDIT_KEYS)
    with caplog.at_level(logging.INFO):
        comparison.heard(PEER, index(1), [99])
        comparison.heard(PEER, index(2), [99])
        assert comparison.has_diverged(PEER)
        assert not comparison.has_diverged(NodeId(3))
        for number in range(3, 7):
            assert comparison.has_diverged(PEER)
            comparison.audited(index(number), number, 3 * AUDIT_KEYS)
            comparison.heard(PEER, index(number), [number])
        assert not comparison.has_diverged(PEER)
        assert [record.getMessage() for record in caplog.records] == [
            events.STATE_DIVERGED.text % {"index": index(1), "peer": PEER}
        ]
        comparison.audited(index(7), 7, 0)
        comparison.heard(PEER, index(7), [99])
        assert len(caplog.records) == 2
    assert counts(comparison) == (4, 3)


def test_memory_is_bounded() -> None:
    """Of this node and of each peer so many hashes are kept, the newest."""
    comparison = StateComparison()
    for number in range(1, 3 * KEPT_MAX):
        comparison.heard(PEER, index(number), [number])
        comparison.heard(PEER, index(number), [0])
    assert sum(map(len, comparison._waiting.values())) == KEPT_MAX
    for number in range(1, 3 * KEPT_MAX):
        comparison.audited(index(number), number, 0)
    assert len(comparison._own) == KEPT_MAX
    assert counts(comparison) == (KEPT_MAX, 0)
    assert not any(comparison._waiting.values())


def write(cluster: Cluster, *keys: bytes) -> None:
    """Let a client of the leader write keys, and wait until all nodes have them."""
    leader = cluster.leader
    assert leader is not None
    client = leader.client()
    opened = client.open_session()
    cluster.advance_until(lambda: opened in client.responses)
    client.session = answers.decode_open_session(client.answer(opened).body).session
    ids = client.put(*keys)
    cluster.advance_until(lambda: client.responses.keys() >= set(ids))
    servers = cluster.servers.values()
    cluster.advance_until(lambda: {server.machine.last_applied for server in servers} == {leader.raft.last_index})


def test_a_node_whose_state_was_changed_is_found(caplog: pytest.LogCaptureFixture) -> None:
    """One bit of one value is flipped on one follower: leader and follower say so, and nobody of the third node."""
    cluster = Cluster(3)
    cluster.advance_until(lambda: cluster.leader)
    write(cluster, *(b"key%02d" % number for number in range(50)), b"other")
    leader = cluster.leader
    assert leader is not None
    changed, third = (server for server in cluster.servers.values() if server is not leader)
    record = changed.machine._store.get(b"key42")
    assert record is not None
    *rest, value = record
    changed.machine._store.change(b"key42", record, (*rest, bytes([value[0] ^ 1]) + value[1:]))  # type: ignore[arg-type]  # of the same types as before
    with caplog.at_level(logging.WARNING):
        write(cluster, *[b"other"] * (51 * AUDIT_ENTRIES // AUDIT_KEYS + 2 * AUDIT_ENTRIES))
        cluster.scheduler.advance(2.0)
    found = [record for record in caplog.records if getattr(record, "event", None) is events.STATE_DIVERGED]
    assert found
    assert leader.driver.comparison.different_total
    assert changed.driver.comparison.different_total
    assert not third.driver.comparison.different_total
    assert third.driver.comparison.equal_total
