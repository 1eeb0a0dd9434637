"""What the load on etcd asks for, and how it counts."""

from tests.bench.etcd_load import Run, message


def test_messages_are_protocol_buffers() -> None:
    """A put has a key and a value, a get a key alone; consecutive ones are of different keys."""
    put, get = message("put", 1), message("get", 1)
    assert get == b"\x0a\x12bench/000000005761"
    assert put == get + b"\x12\x80\x02" + bytes(256)
    assert message("get", 2) != get


def test_reports_what_was_answered() -> None:
    """The rate is that of the time in which answers came."""
    run = Run("put", 10.0)
    run.began, run.ended = 100.0, 102.0
    run.latencies.extend([0.003, 0.001, 0.002, 0.004])
    report = run.report()
    assert (report["answered"], report["per_second"]) == (4, 2.0)
    assert (report["p50_seconds"], report["p99_seconds"]) == (0.002, 0.004)
