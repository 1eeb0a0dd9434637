"""What it means, to whoever called, that the cluster did not answer OK."""

from collections.abc import Callable
from typing import Final

from raftd.client.errors import (
    ClientError,
    Compacted,
    CompareFailed,
    Fenced,
    FutureRevision,
    InvalidRequest,
    LeaseNotFound,
    LimitReached,
    NotANumber,
    OutcomeUnknown,
    OutOfRange,
)
from raftd.errors import RemoteProtocolError
from raftd.kv import answers
from raftd.kv.answers import Answer, Outcome


def require_ok(answer: Answer) -> None:
    """Raise what an answer other than OK means.

    Raises:
        ClientError: what the cluster says.
        RemoteProtocolError: something that is no answer to any request.
    """
    if answer.outcome is Outcome.OK:
        return
    make_error = _ERRORS.get(answer.outcome)
    if make_error is None:
        raise RemoteProtocolError(f"{answer.outcome.name} is no answer to this request")
    raise make_error(answer)


_ERRORS: Final[dict[Outcome, Callable[[Answer], ClientError]]] = {
    Outcome.COMPARE_FAILED: lambda answer: CompareFailed(answers.decode_compare_failed(answer.body)),
    Outcome.FENCED: lambda answer: Fenced(answers.decode_fenced(answer.body)),
    Outcome.INVALID: lambda _: InvalidRequest("the cluster does not take this for a valid command"),
    Outcome.LEASE_NOT_FOUND: lambda _: LeaseNotFound("there is no such lease, or it is another user's"),
    Outcome.NOT_A_NUMBER: lambda _: NotANumber("the key's value is not a decimal number of 64 bits"),
    Outcome.OUT_OF_RANGE: lambda _: OutOfRange("the sum does not fit into 64 bits"),
    Outcome.LEASE_LIMIT: lambda _: LimitReached(
        "there are as many leases as there may be, or as many keys on this one"
    ),
    Outcome.RESULT_TOO_LARGE: lambda _: LimitReached("the answer would be too large: ask for less at once"),
    Outcome.COMPACTED: lambda answer: Compacted(answers.decode_compacted(answer.body)),
    Outcome.FUTURE_REVISION: lambda answer: FutureRevision(f"the newest revision is {answer.revision}"),
    # Cannot happen to a sequence that this client still waits for; if it does, nothing is known.
    Outcome.SEQUENCE_ANSWERED: lambda _: OutcomeUnknown("the cluster says that it has answered this write before"),
}
