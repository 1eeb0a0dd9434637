"""A hash by which nodes find out that their states differ, cheap enough to be taken all the time.

Nodes that have applied the same entries hold the same state, or something is broken: a bug that made two of them
understand one entry differently, memory that lost a bit, a data directory that was tampered with. `digest` would tell,
and takes seconds. The hash here is of a part of the state that the index chooses, the same on every node:

- the totals of all parts of the state, and the chained hash of all answers so far (`StateMachine.state_hash`), which
  show at once what was decided differently;
- `AUDIT_KEYS` records, with their values, behind which the next audit goes on. So each record, asked for or not, is
  read again once in about eight entries for each key there is, and shows what was changed on one node alone.

It is no chain: what one audit covers says nothing of what the one before did, so that nodes can begin to compare at any
time. What it does not cover is what sessions remember, the keys of leases, and the history, beyond their totals.
"""

import struct
import zlib
from typing import Final

from raftd.errors import InvariantViolation
from raftd.kv.digest import totals_of
from raftd.kv.snapshot import State

AUDIT_ENTRIES: Final = 128
"""An audit is due after each entry whose index is a multiple of this."""
AUDIT_KEYS: Final = 16
"""Records that one audit reads: with the longest values, 16 MiB and as many milliseconds."""

_RECORD: Final = struct.Struct("<7Q")


def audit_of(state: State) -> int:
    """32 bits, the same on all nodes whose state, as far as this looks at it, is the same as of the same entry."""
    store = state.store
    audit = zlib.crc32(totals_of(state))
    key_count = len(store)
    if not key_count:
        return audit
    place = state.last_applied // AUDIT_ENTRIES * AUDIT_KEYS % key_count
    keys = store.sorted_keys.slice(place, AUDIT_KEYS)
    # Behind the last key comes the first: else some would be left out, time and again.
    keys += store.sorted_keys.slice(0, min(AUDIT_KEYS, key_count) - len(keys))
    for key in keys:
        record = store.get(key)
        if record is None:
            raise InvariantViolation("a key is in order and has no record")
        *numbers, user, value = record
        audit = zlib.crc32(_RECORD.pack(*numbers, len(key), len(user), len(value)), audit)
        for part in (key, user, value):
            audit = zlib.crc32(part, audit)
    return audit
