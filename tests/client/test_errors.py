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
    errors.Fenced: ExitCode.COMPARE_FAILED,
    errors.LockHeld: ExitCode.COMPARE_FAILED,
    errors.LockLost: ExitCode.ERROR,
    errors.LeaseNotFound: ExitCode.NOT_FOUND,
    errors.Compacted: ExitCode.ERROR,
    errors.FutureRevision: ExitCode.ERROR,
    errors.NotANumber: ExitCode.ERROR,
    errors.OutOfRange: ExitCode.ERROR,
    errors.LimitReached: ExitCode.ERROR,
    errors.NotPossible: ExitCode.ERROR,
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


@pytest.mark.parametrize(
    ("revision", "message"),
    [(0, "the fence's key does not exist any more"), (7, "the fence's key was created at revision 7")],
)
def test_fenced_says_what_is_there(revision: int, message: str) -> None:
    """Who holds it now, by its token, is in the message, and in the exception for a program."""
    error = errors.Fenced(revision)
    assert (str(error), error.create_revision) == (message, revision)


def test_compacted_says_up_to_where() -> None:
    """From where on a watch could begin is in the message, and in the exception for a program."""
    error = errors.Compacted(9)
    assert "up to revision 9" in str(error)
    assert error.compacted_revision == 9


def test_each_error_is_tested_and_told() -> None:
    """Every class of the module is in the table of its docstring, and above."""
    classes = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.ClientError) and value.__module__ == errors.__name__
    }
    assert classes == set(EXIT_CODES)
    assert errors.__doc__ is not None
    for error in classes:
        row = next(line for line in errors.__doc__.splitlines() if line.startswith(f"`{error.__name__}`"))
        assert int(row.split()[1]) == error.exit_code


def test_the_first_of_many_speaks_for_all() -> None:
    """Tasks that end alike are one error to a user, without the group around it."""
    first = errors.Denied("first")
    with pytest.raises(errors.Denied) as raised, errors.first_of_many():
        raise ExceptionGroup("tasks", [first, errors.TooLarge("second")])
    assert raised.value is first


def test_a_bug_among_many_is_not_hidden() -> None:
    """A group with anything else in it stays as it is, and so does what is in no group."""
    group = ExceptionGroup("tasks", [errors.Denied("refused"), ValueError("a bug")])
    for error in (group, ExceptionGroup("tasks", [ValueError("a bug")]), errors.Denied("alone")):
        with pytest.raises(type(error)) as raised, errors.first_of_many():
            raise error
        assert raised.value is error
