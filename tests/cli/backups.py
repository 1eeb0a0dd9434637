"""Backup files made by hand, for tests of what reads them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from raftd.consensus import Membership, encode_membership
from raftd.consensus.types import LogIndex, NodeId, Term
from raftd.kv import commands
from raftd.kv.commands import SessionId, Stamp
from raftd.kv.machine import StateMachine
from raftd.kv.operations import Put, Write
from raftd.kv.types import LeaseId
from raftd.storage.backup_format import BackupHeader, encode_backup_header
from raftd.storage.snapshot_format import SnapshotEncoder, SnapshotHeader, SnapshotMetadata

CLUSTER_ID = bytes(range(16))
TERM = Term(3)
_CHUNK_BYTES = 128


def machine_of(values: dict[bytes, bytes], leased: dict[bytes, bytes] | None = None) -> StateMachine:
    """A state with a session that has answers, a lease with keys, and keys."""
    machine = StateMachine()
    stamp = Stamp("alice").at(1_700_000_000_000)
    session = SessionId(1)
    bodies = [commands.open_session(), commands.lease_grant(session, 1, 1, 60_000)]
    puts = [(key, value, LeaseId(0)) for key, value in values.items()]
    puts += [(key, value, LeaseId(2)) for key, value in (leased or {}).items()]
    for sequence, (key, value, lease) in enumerate(puts, 2):
        if lease:
            operation = Write(Put(key, value, lease))
            bodies.append(commands.write(session, sequence, max(1, sequence - 3), operation))
        else:
            bodies.append(commands.put(session, sequence, max(1, sequence - 3), key, value))
    for index, body in enumerate(bodies, 1):
        machine.apply(LogIndex(index), TERM, stamp + body)
    return machine


def backup_of(machine: StateMachine, **changes: Any) -> bytes:
    """The file of a backup of this state; `changes` are to its header."""
    membership = encode_membership(Membership(frozenset(map(NodeId, (1, 2, 3)))))
    metadata = SnapshotMetadata(machine.last_applied, TERM, membership)
    encoder = SnapshotEncoder(SnapshotHeader(CLUSTER_ID, metadata, _CHUNK_BYTES))
    body = encoder.header
    reader = machine.begin_snapshot()
    while (piece := reader.read(1 << 16)) is not None:
        body += b"".join(encoder.add(piece))
    body += b"".join(encoder.finish())
    header = BackupHeader(
        "test",
        CLUSTER_ID,
        NodeId(2),
        machine.last_applied,
        TERM,
        machine.revision,
        machine.state_hash,
        1_700_000_000_000,
        len(body),
    )
    return encode_backup_header(replace(header, **changes)) + body


def write_backup(path: Path, machine: StateMachine | None = None, **changes: Any) -> Path:
    """Write such a file; of a state with a few keys."""
    path.write_bytes(backup_of(machine or machine_of({b"a": b"1", b"b": bytes(300)}, {b"locks/x": b"me"}), **changes))
    return path
