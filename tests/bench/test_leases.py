"""What an answer to a keep-alive says."""

import pytest

from raftd.consensus.types import Term
from raftd.kv import answers
from raftd.kv.answers import Outcome
from raftd.kv.types import Revision
from raftd.wire.client import ResponseKind
from raftd.wire.watch import keep_alive_answer_body
from tests.bench.leases import remaining_of
from tests.bench.subjects import BenchError

HEADER = bytes(9)


def test_reads_what_is_left() -> None:
    """A lease that is gone has nothing left, and is told apart."""
    answer = answers.encode(Outcome.OK, Term(1), Revision(1), keep_alive_answer_body([1500, 0]))
    assert remaining_of((ResponseKind.ANSWER, HEADER + answer)) == (1500, 0)


def test_everything_else_is_an_error() -> None:
    """A refusal, or another outcome, is not a lease kept alive."""
    refused = answers.encode(Outcome.INVALID, Term(1), Revision(1))
    for response in ((ResponseKind.REFUSED, HEADER), (ResponseKind.ANSWER, HEADER + refused)):
        with pytest.raises(BenchError, match="came to a keep-alive"):
            remaining_of(response)
