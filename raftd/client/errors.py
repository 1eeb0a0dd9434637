"""What a request of a client can end in, as a small tree of exceptions.

Each message is one line that can be shown to a user, and each class carries the exit code of `raftctl`:

=====================  ====  =====================================================================================
class                  exit  meaning
=====================  ====  =====================================================================================
`ClientError`             1  the root; also what a server says that no other class fits
`Unavailable`             5  no node did it before the deadline, and a write certainly did not happen
`OutcomeUnknown`          6  a write was sent and no answer came: it may have happened, or not; never twice
`SessionExpired`          6  as `OutcomeUnknown`, and asking again can no longer tell
`CompareFailed`           4  the key's modify revision was not the expected one; nothing was written
`Denied`                  1  the cluster does not let this certificate's user do that
`TooLarge`                1  a key, value or request is over its bound, or the store is full
`InvalidRequest`          1  the request makes no sense to the client or the server; nothing was sent or done
`NotPossible`             1  the cluster as it is does not allow this change or transfer; nothing was changed
`TlsError`                7  a certificate, key or authority cannot be used, or was not accepted by the other side
`ConfigurationError`     78  the client's configuration file cannot be used
=====================  ====  =====================================================================================
"""

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
    """The key's modify revision was not the expected one; nothing was written.

    Attributes:
        current_revision: the key's modify revision at that moment, 0 when the key was absent.
    """

    exit_code = ExitCode.COMPARE_FAILED

    def __init__(self, current_revision: int) -> None:
        super().__init__(
            f"the key is at revision {current_revision}" if current_revision else "the key does not exist",
        )
        self.current_revision = current_revision


class Denied(ClientError):  # noqa: N818 - the field's own word
    """The cluster does not let this certificate's user do that."""


class TooLarge(ClientError):  # noqa: N818 - says what is wrong
    """A key, a value or a request is over its bound, or the store is full."""


class InvalidRequest(ClientError):  # noqa: N818 - says what is wrong
    """The request makes no sense; nothing was done."""


class NotPossible(ClientError):  # noqa: N818 - says what is wrong
    """The cluster as it is does not allow this change of members or leader; nothing was changed."""


class TlsError(ClientError, errors.TlsError):
    """A certificate, key or authority cannot be used, or was not accepted by the other side."""

    exit_code = ExitCode.TLS


class ConfigurationError(ClientError, errors.SettingsError):
    """The client's configuration file cannot be used."""

    exit_code = ExitCode.CONFIGURATION
