import pytest

from raftd.client import errors
from raftd.client.outcomes import require_ok
from raftd.consensus.types import Term
from raftd.errors import DecodeError, RemoteProtocolError
from raftd.kv.answers import Answer, Outcome
from raftd.kv.types import Revision

MEANINGS = {
    Outcome.COMPARE_FAILED: errors.CompareFailed,
    Outcome.FENCED: errors.Fenced,
    Outcome.INVALID: errors.InvalidRequest,
    Outcome.LEASE_NOT_FOUND: errors.LeaseNotFound,
    Outcome.NOT_A_NUMBER: errors.NotANumber,
    Outcome.OUT_OF_RANGE: errors.OutOfRange,
    Outcome.LEASE_LIMIT: errors.LimitReached,
    Outcome.RESULT_TOO_LARGE: errors.LimitReached,
    Outcome.COMPACTED: errors.Compacted,
    Outcome.FUTURE_REVISION: errors.FutureRevision,
    Outcome.SEQUENCE_ANSWERED: errors.OutcomeUnknown,
}
WITH_REVISION = (Outcome.COMPARE_FAILED, Outcome.FENCED, Outcome.COMPACTED)


def answer(outcome: Outcome, body: bytes = b"") -> Answer:
    return Answer(outcome, Term(1), Revision(9), body)


@pytest.mark.parametrize("outcome", Outcome)
def test_each_outcome_means_something(outcome: Outcome) -> None:
    """OK is none; each other is its error, or no answer to what was asked, which is the node's fault."""
    body = b"\7" + bytes(7) if outcome in WITH_REVISION else b""
    if outcome is Outcome.OK:
        require_ok(answer(outcome))
        return
    with pytest.raises(MEANINGS.get(outcome, RemoteProtocolError)) as caught:
        require_ok(answer(outcome, body))
    if outcome in WITH_REVISION:
        assert 7 in vars(caught.value).values()
        with pytest.raises(DecodeError):
            require_ok(answer(outcome, b"cut"))
