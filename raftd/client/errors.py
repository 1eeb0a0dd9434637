"""What a request of a client can end in, as a small tree of exceptions.

Each message is one line that can be shown to a user, and each class carries the exit code of `raftctl`:

=====================  ====  =====================================================================================
class                  exit  meaning
=====================  ====  =====================================================================================
`ClientError`             1  the root; also what a server says that no other class fits
`Unavailable`             5  no node did it before the deadline, and a write certainly did not happen
`OutcomeUnknown`          6  a write was sent and no answer came: it may have happened, or not; never twice
`SessionExpired`          6  as `OutcomeUnknown`, and asking again can no longer tell
`CompareFailed`           4  the key was not as expected; nothing was written
`Fenced`                  4  the lock or leadership that the write depends on is held no longer; nothing was written
`LockHeld`                4  the time to wait for a lock or leadership is over, and another still has it
`LockLost`                1  a lock or leadership is held no longer, or may not be
`LeaseNotFound`           3  there is no such lease, or it is another user's; nothing was written
`Compacted`               1  a revision was asked for that is held no longer: read what there is now
`FutureRevision`          1  a revision was asked for that there has not been yet
`NotANumber`              1  the key to increment has a value that is no number; nothing was written
`OutOfRange`              1  the sum does not fit into 64 bits; nothing was written
`Denied`                  1  the cluster does not let this certificate's user do that
`TooLarge`                1  a key, value or request is over its bound
`LimitReached`            1  the cluster holds as much as it may: keys, bytes, leases, watches; nothing was written
`InvalidRequest`          1  the request makes no sense to the client or the server; nothing was sent or done
`NotPossible`             1  the cluster, or a node's files, as they are do not allow it; nothing was changed
`TlsError`                7  a certificate, key or authority cannot be used, or was not accepted by the other side
`ConfigurationError`     78  the client's configuration file cannot be used
=====================  ====  =====================================================================================
"""

import contextlib
from collections.abc import Iterator

from raftd import errors
from raftd.errors import ExitCode, RaftdError


class ClientError(RaftdError):
    """A request ended without what was asked for."""


class Unavailable(ClientError):  # noqa: N818 - the field's own word
    """No node did it before the deadline; if it was a write, it certainly did not happen."""

    exit_code = ExitCode.UNAVAILABLE


class OutcomeUnknown(ClientError):  # noqa: N818 - the field's own word
    """A write may or may not have happened: it was sent, and no answer came before the deadline.

    It happened at most once, and a later write of the same client fences it (`raftd.client.session`).
    """

    exit_code = ExitCode.OUTCOME_UNKNOWN


class SessionExpired(OutcomeUnknown):
    """A write was sent more than once, and the cluster forgot its session before it gave an answer."""


class CompareFailed(ClientError):  # noqa: N818 - the field's own word
    """The key's modify revision, or value, was not the expected one; nothing was written.

    Attributes:
        current_revision: the key's modify revision at that moment, 0 when the key was absent.
    """

    exit_code = ExitCode.COMPARE_FAILED

    def __init__(self, current_revision: int) -> None:
        super().__init__(
            f"the key is at revision {current_revision}" if current_revision else "the key does not exist",
        )
        self.current_revision = current_revision


class Fenced(ClientError):  # noqa: N818 - the field's own word
    """The key of the fence was not created at the fence's revision: whoever held it does no longer.

    Nothing was written.

    Attributes:
        create_revision: the key's create revision at that moment, 0 when it was absent.
    """

    exit_code = ExitCode.COMPARE_FAILED

    def __init__(self, create_revision: int) -> None:
        super().__init__(
            f"the fence's key was created at revision {create_revision}"
            if create_revision
            else "the fence's key does not exist any more",
        )
        self.create_revision = create_revision


class LockHeld(ClientError):  # noqa: N818 - says what is so
    """The time to wait for a lock or a leadership is over, and another still has it."""

    exit_code = ExitCode.COMPARE_FAILED


class LockLost(ClientError):  # noqa: N818 - says what happened
    """A lock or leadership is held no longer, or may not be, since the cluster could not be reached in time."""


class LeaseNotFound(ClientError):  # noqa: N818 - says what is so
    """There is no such lease (any more), or it is another user's; nothing was written."""

    exit_code = ExitCode.NOT_FOUND


class Compacted(ClientError):  # noqa: N818 - the field's own word
    """What was asked for lies at a revision that the cluster does not hold any longer.

    Attributes:
        compacted_revision: changes up to and including this one are gone.
    """

    def __init__(self, compacted_revision: int) -> None:
        super().__init__(f"changes up to revision {compacted_revision} are held no longer: read what there is now")
        self.compacted_revision = compacted_revision


class FutureRevision(ClientError):  # noqa: N818 - says what is wrong
    """What was asked for lies at a revision that there has not been yet."""


class NotANumber(ClientError):  # noqa: N818 - says what is wrong
    """The key to increment has a value that is not a decimal number of 64 bits; nothing was written."""


class OutOfRange(ClientError):  # noqa: N818 - says what is wrong
    """The sum does not fit into 64 bits with a sign; nothing was written."""


class Denied(ClientError):  # noqa: N818 - the field's own word
    """The cluster does not let this certificate's user do that."""


class TooLarge(ClientError):  # noqa: N818 - says what is wrong
    """A key, a value or a request is over its bound; nothing was done."""


class LimitReached(ClientError):  # noqa: N818 - says what happened
    """The cluster holds or does as much as it may, of keys, bytes, leases or watches; nothing was written."""


class InvalidRequest(ClientError):  # noqa: N818 - says what is wrong
    """The request makes no sense; nothing was done."""


class NotPossible(ClientError):  # noqa: N818 - says what is wrong
    """The cluster as it is does not allow this change, or the node's files this reload; nothing was changed."""


class TlsError(ClientError, errors.TlsError):
    """A certificate, key or authority cannot be used, or was not accepted by the other side."""

    exit_code = ExitCode.TLS


class ConfigurationError(ClientError, errors.SettingsError):
    """The client's configuration file cannot be used."""

    exit_code = ExitCode.CONFIGURATION


@contextlib.contextmanager
def first_of_many() -> Iterator[None]:
    """Around a task group: of several tasks that ended in a `ClientError`, let the first speak for all.

    A group with anything else in it, a bug, goes on as it is.

    Raises:
        ClientError: the first one.
    """
    try:
        yield
    except ExceptionGroup as group:
        # Not `except*`: in Python 3.11.2, which Debian 12 has, what is raised in there comes out in a group again.
        refused, others = group.split(ClientError)
        if others is not None or refused is None:
            raise
        raise refused.exceptions[0] from None
