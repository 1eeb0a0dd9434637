from collections.abc import Coroutine
from typing import Any

import pytest

from tests.net.loopback import LOOPS, Certificates, Run, run_on


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The cluster `demo`."""
    return Certificates(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="session")
def other_certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A cluster that has the same name and other authorities."""
    return Certificates(tmp_path_factory.mktemp("other"))


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on each kind of event loop."""

    def run_it(main: Coroutine[Any, Any, None]) -> None:
        run_on(request.param, main)

    return run_it
