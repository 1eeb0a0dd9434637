import pytest

from raftd.consensus.types import Entry, EntryKind, LogIndex, Term
from raftd.node import batches
from raftd.node.batches import BATCH_BYTES_MAX, BATCHES_MAX, EntryBatches
from raftd.wire.entries import encode_entries


def entries(first_index: int, *terms: int, data: bytes = b"data") -> tuple[Entry, ...]:
    """One for each term, from `first_index` on."""
    return tuple(
        (LogIndex(index), Term(term), EntryKind.COMMAND, data) for index, term in enumerate(terms, start=first_index)
    )


def test_a_batch_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for the same entries has the same bytes."""
    kept = EntryBatches()
    batch = kept.encoded(entries(1, 1, 1))
    assert batch == encode_entries(entries(1, 1, 1))
    monkeypatch.setattr(batches, "encode_entries", None)
    assert kept.encoded(entries(1, 1, 1)) is batch


def test_what_was_given_as_bytes_is_not_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower gets entries as bytes, and stores them so."""
    monkeypatch.setattr(batches, "encode_entries", None)
    kept = EntryBatches()
    assert kept.keep(entries(1, 1), b"as it came") == b"as it came"
    assert kept.encoded(entries(1, 1)) == b"as it came"


@pytest.mark.parametrize("others", [entries(1, 1, 1), entries(1, 2), entries(2, 2)])
def test_other_entries_are_another_batch(others: tuple[Entry, ...]) -> None:
    """By first index, last index and last term (paper §5.3)."""
    kept = EntryBatches()
    kept.encoded(entries(1, 1, 2))
    assert kept.encoded(others) == encode_entries(others)


def test_the_oldest_makes_room() -> None:
    """Memory does not grow with the log."""
    kept = EntryBatches()
    first, *_, last = (kept.encoded(entries(index, 1)) for index in range(1, BATCHES_MAX + 2))
    assert len(kept) == BATCHES_MAX
    assert kept.encoded(entries(BATCHES_MAX + 1, 1)) is last
    assert kept.encoded(entries(1, 1)) is not first


def test_a_long_batch_is_not_kept() -> None:
    """No peer is sent one in one piece, so nobody would ask for it again."""
    kept = EntryBatches()
    assert len(kept.encoded(entries(1, 1, data=bytes(BATCH_BYTES_MAX)))) > BATCH_BYTES_MAX
    assert len(kept) == 0
