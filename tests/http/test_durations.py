import itertools

from raftd.http.durations import DURATIONS, REQUEST_BUCKETS, STORE_BUCKETS
from raftd.http.family import Kind


def test_buckets_span_what_is_worth_knowing() -> None:
    """Buckets double from half a millisecond or a tenth of one up to several seconds."""
    for buckets, lowest in ((STORE_BUCKETS, 0.0005), (REQUEST_BUCKETS, 0.0001)):
        assert buckets[0] == lowest
        assert 5 < buckets[-1] < 10
        assert all(high == 2 * low for low, high in itertools.pairwise(buckets))


def test_durations_are_histograms() -> None:
    """All of them are observed, none is read; and each says that it is a duration in seconds."""
    for family in DURATIONS:
        assert family.kind is Kind.HISTOGRAM
        assert family.read is None
        assert family.name.endswith("_duration_seconds")
