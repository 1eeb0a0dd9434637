import socket

import pytest

from raftd.net.silence import bound_silence


@pytest.mark.parametrize(("silence_seconds", "interval_seconds"), [(30, 10), (10, 3), (1, 1)])
def test_the_kernel_watches_for_hosts_that_vanish(silence_seconds: int, interval_seconds: int) -> None:
    """An idle connection is probed, unacknowledged data given up; seconds for probes, milliseconds for data."""
    with socket.socket() as connection:
        bound_silence(connection, silence_seconds)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        options = socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT
        values = [connection.getsockopt(socket.IPPROTO_TCP, option) for option in options]
        assert values == [interval_seconds, interval_seconds, 3, 1000 * silence_seconds]
