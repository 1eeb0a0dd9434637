import pytest

from raftd import errors as roots
from raftd.client import errors
from raftd.errors import ExitCode

EXIT_CODES = {
    errors.ClientError: ExitCode.ERROR,
    errors.Unavailable: ExitCode.UNAVAILABLE,
    errors.OutcomeUnknown: ExitCode.OUTCOME_UNKNOWN,
    errors.SessionExpired: ExitCode.OUTCOME_UNKNOWN,
    errors.CompareFailed: ExitCode.COMPARE_FAILED,
    errors.Denied: ExitCode.ERROR,
    errors.TooLarge: ExitCode.ERROR,
    errors.InvalidRequest: ExitCode.ERROR,
    errors.TlsError: ExitCode.TLS,
    errors.ConfigurationError: ExitCode.CONFIGURATION,
}


@pytest.mark.parametrize(("error", "exit_code"), EXIT_CODES.items())
def test_exit_codes(error: type[errors.ClientError], exit_code: ExitCode) -> None:
    """Each class carries the exit code that its table in the module promises, and is a ClientError."""
    assert error.exit_code is exit_code
    assert issubclass(error, errors.ClientError)


def test_shared_roots() -> None:
    """What a command catches for the whole of raftd catches the client's errors too."""
    assert issubclass(errors.TlsError, roots.TlsError)
    assert issubclass(errors.ConfigurationError, roots.SettingsError)
    assert issubclass(errors.ClientError, roots.RaftdError)


@pytest.mark.parametrize(("revision", "message"), [(0, "the key does not exist"), (7, "the key is at revision 7")])
def test_compare_failed_says_what_is_there(revision: int, message: str) -> None:
    """The current revision is in the message, and in the exception for a program."""
    error = errors.CompareFailed(revision)
    assert (str(error), error.current_revision) == (message, revision)
