import resource

import pytest

from raftd.consensus import Limits
from raftd.daemon.descriptors import FILES_MAX, OWN_DESCRIPTORS, connections_allowed, raise_limit
from raftd.http.connection import ConnectionLimits
from raftd.net.acceptor import AcceptorLimits
from raftd.net.peer_listener import PEER_LIMITS

INFINITY = resource.RLIM_INFINITY


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The soft and the hard limit of open files, here alone; 1 << 30 is more than the kernel has."""
    pair = [1024, 4096]

    def change(_: int, wanted: tuple[int, int]) -> None:
        if wanted[0] > 1 << 20:
            raise ValueError("not allowed to raise maximum limit")
        pair[:] = wanted

    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(pair))
    monkeypatch.setattr(resource, "setrlimit", change)
    return pair


def test_what_else_is_open_has_its_place() -> None:
    """However many strangers begin handshakes: the sum of all bounds but that of the clients themselves."""
    listeners = AcceptorLimits().handshakes_max + PEER_LIMITS.connections_max + PEER_LIMITS.handshakes_max
    links = 2 * Limits().members_max
    assert listeners + links + ConnectionLimits().connections_max + FILES_MAX <= OWN_DESCRIPTORS


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1024, 4096), (4096, 4096)),
        ((4096, 4096), (4096, 4096)),
        ((1024, INFINITY), (1 << 20, INFINITY)),
        ((INFINITY, INFINITY), (INFINITY, INFINITY)),
        ((1024, 1 << 30), (1024, 1 << 30)),
    ],
)
def test_as_many_files_as_there_may_be(limit: list[int], before: tuple[int, int], after: tuple[int, int]) -> None:
    """The hard limit, which is never changed; where there is none, or the kernel has less, what is left of it."""
    limit[:] = before
    raise_limit()
    assert tuple(limit) == after


@pytest.mark.parametrize(
    ("soft", "allowed"),
    [(1024, 1024 - OWN_DESCRIPTORS), (OWN_DESCRIPTORS, 1), (64, 1), (INFINITY, (1 << 20) - OWN_DESCRIPTORS)],
)
def test_connections_leave_room_for_the_log(limit: list[int], soft: int, allowed: int) -> None:
    """However few files there may be, one client can see how the node is."""
    limit[:] = soft, soft
    assert connections_allowed() == allowed
