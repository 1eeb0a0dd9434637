import time

import pytest

from raftd.client.clock import lease_clock


def test_it_goes_on() -> None:
    """It never goes back, and counts seconds."""
    first = lease_clock()
    assert 0 <= lease_clock() - first < 60


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has no clock that counts suspended time")
def test_it_counts_suspended_time() -> None:
    """Where the system has such a clock, it is that one."""
    assert abs(lease_clock() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 1
