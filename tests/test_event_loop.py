import sys
from contextlib import closing

import pytest

from raftd.event_loop import new_event_loop


def test_it_is_uvloop_s() -> None:
    """The dependency is installed, so its loop is the one."""
    with closing(new_event_loop()) as loop:
        assert type(loop).__module__.startswith("uvloop")


def test_without_uvloop_it_is_asyncio_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where uvloop cannot be imported, there still is a loop."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with closing(new_event_loop()) as loop:
        assert type(loop).__module__.startswith("asyncio")
