"""What is asked about a cluster and its nodes, instead of about keys."""

import asyncio
from typing import Any

from raftd.client.asking import Asker, refused_by
from raftd.client.errors import InvalidRequest
from raftd.client.members import Members, find_members
from raftd.client.results import Backup, BackupHistory
from raftd.wire.administration import ChangeKind, encode_change, encode_transfer
from raftd.wire.backup import (
    BackupOutcome,
    encode_backup_body,
    encode_backup_piece_body,
    encode_backup_report_body,
)
from raftd.wire.client import BODY_OFFSET, Consistency, RequestKind, ResponseKind, encode_log_body

_NODE_ID_END = 1 << 63

_BACKUP_SECONDS_MAX = 600.0
"""How long a node may take to write its whole state to its disk; that it is there is seen by its answers to PING."""


class Administration:
    """The calls of `AsyncClient` that are about nodes; it describes them."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def status(self, endpoint: str) -> dict[str, Any]:
        """As `AsyncClient.status`."""
        return await self._asker.document_of(endpoint, RequestKind.STATUS, b"")

    async def log(self, endpoint: str, last: int) -> dict[str, Any]:
        """As `AsyncClient.log`."""
        if not 0 < last < 1 << 32:
            raise InvalidRequest("last is a number of entries, and more than 0")
        return await self._asker.document_of(endpoint, RequestKind.LOG, encode_log_body(last))

    async def diagnostics(self, endpoint: str) -> dict[str, Any]:
        """As `AsyncClient.diagnostics`."""
        return await self._asker.document_of(endpoint, RequestKind.DIAGNOSTICS, b"")

    async def reload(self, endpoint: str) -> dict[str, Any]:
        """As `AsyncClient.reload`."""
        return await self._asker.document_of(endpoint, RequestKind.RELOAD, b"", is_write=True)

    async def ping(self, endpoint: str) -> float:
        """As `AsyncClient.ping`."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        kind, payload = await self._asker.response_of(endpoint, RequestKind.PING, b"")
        if kind is not ResponseKind.PONG:
            raise refused_by(endpoint, kind, payload)
        return loop.time() - start

    async def members(self) -> Members:
        """As `AsyncClient.members`."""
        return await find_members(self.status, self._asker.to_leader.candidates())

    async def change_membership(self, change: ChangeKind, node_id: int, old_node_id: int, address: str) -> int:
        """As `AsyncClient.change_membership`."""
        if not (0 < node_id < _NODE_ID_END and 0 <= old_node_id < _NODE_ID_END):
            raise InvalidRequest("a node's id is a number from 1 to 2^63-1")
        body = encode_change(change, node_id, old_node_id=old_node_id, address=address)
        document = await self._asker.document_of_leader(RequestKind.MEMBERSHIP_CHANGE, body)
        return int(document["index"])

    async def transfer_leadership(self, target: int | None) -> int:
        """As `AsyncClient.transfer_leadership`."""
        if target is not None and not 0 < target < _NODE_ID_END:
            raise InvalidRequest("a node's id is a number from 1 to 2^63-1")
        document = await self._asker.document_of_leader(RequestKind.TRANSFER_LEADERSHIP, encode_transfer(target))
        return int(document["target"])

    async def begin_backup(self, endpoint: str, *, stale: bool) -> Backup:
        """As `AsyncClient.begin_backup`."""
        body = encode_backup_body(Consistency.STALE if stale else Consistency.LINEARIZABLE)
        seconds = max(_BACKUP_SECONDS_MAX, self._asker.timeout)
        document = await self._asker.document_of(endpoint, RequestKind.BACKUP, body, seconds=seconds)
        return Backup(endpoint, int(document["backup"]), int(document["size"]))

    async def read_backup(self, backup: Backup, offset: int) -> bytes:
        """As `AsyncClient.read_backup`."""
        body = encode_backup_piece_body(backup.backup_id, offset)
        kind, payload = await self._asker.response_of(backup.endpoint, RequestKind.BACKUP_PIECE, body)
        if kind is not ResponseKind.PIECE:
            raise refused_by(backup.endpoint, kind, payload)
        return payload[BODY_OFFSET:]

    async def report_backup(self, endpoint: str, verified_ms: int | None) -> BackupHistory:
        """As `AsyncClient.report_backup`."""
        if verified_ms is None:
            body = encode_backup_report_body(BackupOutcome.FAILED)
        elif 0 < verified_ms < 1 << 64:
            body = encode_backup_report_body(BackupOutcome.VERIFIED, verified_ms)
        else:
            raise InvalidRequest("verified_ms is milliseconds since 1970, and more than 0")
        document = await self._asker.document_of(endpoint, RequestKind.BACKUP_REPORT, body, is_write=True)
        return BackupHistory(int(document["success_ms"]), int(document["failure_ms"]))
