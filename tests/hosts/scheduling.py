"""Which tests of hosts come first, and which of them one worker runs; for pytest-xdist, with `--dist loadgroup`.

Its own way, a mark that it adds to a test's id, is without effect where pytest makes the id anew each time.
"""

from pathlib import PurePosixPath
from typing import Final

from xdist.scheduler import LoadScopeScheduling

_OF_THE_LAB: Final = ("test_service", "test_faults", "test_lab", "test_package", "test_rpm")
"""These share hosts and a cluster that nobody else needs: one worker has them, and runs them in one go."""
_ORDER: Final = (
    *_OF_THE_LAB,
    "test_deploy_rolling",
    "test_deploy_disasters",
    "test_deploy_site",
    "test_deploy_members",
    "test_deploy_gameday",
    "test_deploy_mistakes",
    "test_deploy_operator",
)
"""What takes longest comes first, so that no worker is left with it in the end."""


def place(module: str) -> int:
    """Where a module of tests comes, by its name."""
    return _ORDER.index(module) if module in _ORDER else len(_ORDER)


def scope(test: str) -> str:
    """What one worker runs in one go, by a test's id: the lab's tests, or the test alone."""
    return "the lab" if PurePosixPath(test.partition("::")[0]).stem in _OF_THE_LAB else test


class HostScheduling(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Gives a worker that has nothing more to do what is next."""

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)
