import pytest

from raftd.cli.findings import Finding, Level, exit_code, rows
from raftd.errors import ExitCode


@pytest.mark.parametrize(
    ("levels", "code"),
    [
        ([], ExitCode.OK),
        ([Level.OK, Level.UNKNOWN, Level.WARNING], ExitCode.OK),
        ([Level.OK, Level.BAD], ExitCode.UNHEALTHY),
    ],
)
def test_only_what_is_bad_is_unhealthy(levels: list[Level], code: ExitCode) -> None:
    """A script may act on the exit code; a warning is for people."""
    assert exit_code([Finding("disk", "node 1", level, "found") for level in levels]) is code


def test_a_row_says_what_to_do() -> None:
    """Or nothing, where nothing is to be done."""
    bad, good = rows([Finding("disk", "one", Level.BAD, "slow", "mend it"), Finding("disk", "two", Level.OK, "ok")])
    assert (bad["check"], bad["of"], bad["found"], bad["advice"]) == ("disk", "one", "slow", "mend it")
    assert good["advice"] is None
