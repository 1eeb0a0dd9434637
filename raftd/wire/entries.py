"""A batch of log entries as bytes: the same on disk and on the wire, so that each is encoded once.

Little-endian, one after another without anything between; the index is not stored, for a batch is consecutive from a
first index that its container names:

    offset  size  field
         0     8  term         not 0, and not below the entry before
         8     1  kind         `EntryKind`
         9     4  data_length
        13     n  data

A batch is valid if and only if its entries end exactly where it ends.
"""

import struct
from collections.abc import Sequence
from typing import Final, NoReturn, cast

from raftd.consensus.types import NO_TERM, Entry, EntryKind, LogIndex, Term
from raftd.errors import DecodeError

_HEADER = struct.Struct("<QBI")
ENTRY_HEADER_BYTES: Final = _HEADER.size

# Looked up by number, which the enum's own call does ten times slower; a test sees to it that no number is left out.
_KINDS: Final = tuple(EntryKind)


def encode_entries(entries: Sequence[Entry]) -> bytes:
    """Encode consecutive entries as one batch.

    Raises:
        struct.error: A term or a length that its field cannot hold: a bug of the caller's.
    """
    pack = _HEADER.pack
    parts: list[bytes] = []
    append = parts.append
    for _, term, kind, data in entries:
        append(pack(term, kind, len(data)))
        append(data)
    return b"".join(parts)


def decode_entries(data: bytes | memoryview, first_index: LogIndex, *, previous_term: Term = NO_TERM) -> list[Entry]:
    """Decode a batch whose first entry is at `first_index`.

    Each entry's data is its own `bytes`, so keeping one entry does not keep the batch. What is made is bounded by the
    bytes that were given: a length is compared with them before anything of that length is taken.

    Args:
        data: The whole batch.
        first_index: Index of its first entry.
        previous_term: Term of the entry before; the first entry's may not be lower (paper §5.3, Log Matching).

    Raises:
        DecodeError: A length that leads out of the batch, an unknown kind, or a term that is 0 or lower than the
            entry's before.
    """
    # Slices of `bytes` are copies made in one step; of a memoryview they would need two for each entry.
    batch = bytes(data)
    unpack_from = _HEADER.unpack_from
    kinds = _KINDS
    size = len(batch)
    entries: list[tuple[int, int, EntryKind, bytes]] = []
    append = entries.append
    index: int = first_index
    # No entry has term 0: a leader's term is at least 1.
    term_min = max(previous_term, 1)
    start = ENTRY_HEADER_BYTES
    while start <= size:
        term, kind, length = unpack_from(batch, start - ENTRY_HEADER_BYTES)
        end = start + length
        if end > size or kind >= len(kinds) or term < term_min:
            _refuse(index, term, kind, end - size, term_min)
        append((index, term, kinds[kind], batch[start:end]))
        index += 1
        term_min = term
        start = end + ENTRY_HEADER_BYTES
    if start != size + ENTRY_HEADER_BYTES:
        raise DecodeError(f"entry {index} has {size - start + ENTRY_HEADER_BYTES} of {ENTRY_HEADER_BYTES} header bytes")
    return cast("list[Entry]", entries)


def _refuse(index: int, term: int, kind: int, excess: int, term_min: int) -> NoReturn:
    """Say what is wrong with an entry; out of the way of those that are right."""
    if excess > 0:
        raise DecodeError(f"entry {index} ends {excess} bytes behind the end of its batch")
    if kind >= len(_KINDS):
        raise DecodeError(f"entry {index} is of unknown kind {kind}")
    raise DecodeError(f"entry {index} has term {term}, and at least {term_min} was due")
