import pytest

from raftd.client import DeleteResult, KeyValue, PutResult

RESULTS = [
    KeyValue(b"a", b"1", create_revision=1, modify_revision=2, version=2, revision=9),
    PutResult(revision=3, version=1, create_revision=3),
    DeleteResult(revision=3, deleted=True),
]


@pytest.mark.parametrize("result", RESULTS)
def test_results_are_values(result: object) -> None:
    """A result is compared by what it says, can be kept in a set, and cannot be changed."""
    assert result in set(RESULTS)
    with pytest.raises(AttributeError):
        result.revision = 5  # type: ignore[attr-defined]  # wrong on purpose
