"""The table of a comparison with etcd."""

from tests.bench.etcd import rows_of
from tests.bench.subjects import Load, Measured


def test_sets_each_rate_against_etcds() -> None:
    """Puts come first, and a ratio above 1 says that raftd is faster."""
    load = Load(100, 10)
    results = {
        ("get", load): [Measured(1, 10.0, 1.0, 1.0)],
        ("etcd get", load): [Measured(1, 20.0, 1.0, 1.0)],
        ("put", load): [Measured(1, 30.0, 1.0, 1.5, server_us=7.0)],
        ("etcd put", load): [Measured(1, 10.0, 1.0, 2.5, server_us=9.0)],
    }
    put, get = rows_of(results)
    assert (put["what"], put["ratio"], put["p99_ms"], put["etcd_p99_ms"]) == ("put", 3.0, 1.5, 2.5)
    assert (put["server_us"], put["etcd_server_us"]) == (7.0, 9.0)
    assert (get["what"], get["ratio"]) == ("get", 0.5)
