"""Exit codes are a promise to scripts."""

from raftd import errors
from raftd.errors import ExitCode, RaftdError


def all_errors(root: type[RaftdError] = RaftdError) -> list[type[RaftdError]]:
    return [each for child in root.__subclasses__() for each in (child, *all_errors(child))]


def test_exit_codes_stay_as_they_are() -> None:
    """A script that was written for one version means the same with the next."""
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "ERROR": 1,
        "USAGE": 2,
        "NOT_FOUND": 3,
        "COMPARE_FAILED": 4,
        "UNAVAILABLE": 5,
        "OUTCOME_UNKNOWN": 6,
        "TLS": 7,
        "UNHEALTHY": 8,
        "CORRUPTION": 9,
        "REMOVED": 10,
        "CONFIGURATION": 78,
    }


def test_every_error_says_what_it_is_and_how_to_end() -> None:
    """Each class has a text of its own and an exit code that is no success."""
    for error in all_errors():
        assert error.__doc__, error
        assert error.exit_code is not ExitCode.OK, error


def test_settings_errors_show_all_problems() -> None:
    """Every problem is told at once, a line each."""
    error = errors.SettingsError("one", "two")
    assert str(error) == "one\ntwo"
    assert error.problems == ("one", "two")
