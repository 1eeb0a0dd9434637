"""What is told of peers that come back without what they had stored."""

import logging
from types import SimpleNamespace
from typing import cast

import pytest

from raftd.consensus import RaftView
from raftd.consensus.progress import Progress
from raftd.consensus.types import LogIndex, NodeId, Term
from raftd.node.losses import LogLosses


def lose(progress: Progress, index: int) -> None:
    """The peer confirms so much, is away, and has none of it."""
    progress.accepted(LogIndex(index))
    progress.unreachable()
    assert progress.has_no_log()


def test_each_loss_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Also a second one of the same entries, and one in another term."""
    caplog.set_level(logging.INFO)
    progress = Progress(LogIndex(1))
    raft = SimpleNamespace(progress={NodeId(2): Progress(LogIndex(1)), NodeId(3): progress}, current_term=Term(4))
    losses = LogLosses(cast("RaftView", raft))
    losses.look()
    assert losses.total == 0
    for total in (1, 2):
        lose(progress, 100)
        losses.look()
        losses.look()
        assert losses.total == total
    raft.current_term, raft.progress = Term(5), {NodeId(3): Progress(LogIndex(1))}
    losses.look()
    lose(raft.progress[NodeId(3)], 7)
    losses.look()
    assert losses.total == 3
    assert [record.getMessage() for record in caplog.records] == [
        *["node 3 has come back without what it had stored up to entry 100"] * 2,
        "node 3 has come back without what it had stored up to entry 7",
    ]
