"""Where the time of one write went, told by the nodes that did it.

The write is sent as one that is to be traced; when it is answered, the leader is asked for what it noted, and each node
how long its disk took. All of that comes after the write and changes nothing about it: what cannot be told is None.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from raftd.client.asking import Asker
from raftd.client.errors import ClientError
from raftd.client.time_limit import TimeLimit
from raftd.wire.client import RequestKind, encode_trace_body

_PATIENCE_SECONDS: Final = 1.0
"""For what the leader is asked afterwards, and then for what the others are."""
_LOOK_AGAIN_SECONDS: Final = 0.02
"""The last of the nodes stores the write some time after it is answered."""


@dataclass(frozen=True, slots=True)
class StoredBy:
    """What one node had to do with a write."""

    node_id: int
    stored_seconds: float | None
    """From the proposal until the leader knew that this node has stored it; None: it did not within a second."""
    write_seconds: float | None
    """That node's own write of the batch which the write was in; likewise its fdatasync. None: it does not tell."""
    sync_seconds: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where the time of a write went. The parts up to `way_seconds` follow one another and make up the total."""

    total_seconds: float
    """From sending the write until its answer was here, repetitions included."""
    index: int
    """Where it is in the log."""
    queue_seconds: float
    """From its arrival at the leader until it was proposed with others."""
    commit_seconds: float
    """From then until a majority had stored it: `nodes` tells who was how fast."""
    apply_seconds: float
    """Until the state machine had applied it, with all that was committed at the same time."""
    answer_seconds: float
    """Until the answer was given to the kernel, or was here: a node gives out many, and this one may be the first."""
    nodes: tuple[StoredBy, ...]
    """All members, in the order of their ids."""

    @property
    def way_seconds(self) -> float:
        """The rest: the network, both kernels and TLS, this client, and repetitions."""
        known = self.queue_seconds + self.commit_seconds + self.apply_seconds + self.answer_seconds
        return max(0.0, self.total_seconds - known)


Explain: TypeAlias = Callable[[Explanation | None], None]
"""Is told where the time went; None: nobody knows, as after a change of leader in between."""


async def explanation(asker: Asker, total_seconds: float) -> Explanation | None:
    """Ask for what became of the latest traced write of this client; it raises nothing.

    Args:
        asker: Whose connection to the leader carried the write.
        total_seconds: How long it took, seen from here.
    """
    try:
        return await _explanation(asker, total_seconds)
    except (AttributeError, KeyError, TypeError):  # a node tells what this client cannot read: the write counts
        return None


async def _explanation(asker: Asker, total_seconds: float) -> Explanation | None:
    """As `explanation`. Raises: AttributeError, KeyError, TypeError: a document says something else than it should."""
    told: dict[str, Any] | None = None
    with contextlib.suppress(ClientError, TimeoutError), TimeLimit(_PATIENCE_SECONDS):
        leader = asker.to_leader.leader
        if leader is None:
            return None
        told = await asker.document_of(leader, RequestKind.TRACE, encode_trace_body(0))
        while any(node["stored_seconds"] is None for node in told["nodes"]):
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            told = await asker.document_of(leader, RequestKind.TRACE, encode_trace_body(0))
    if told is None:
        return None
    index = _whole(told["index"])
    queue, commit, apply, answer = (
        _seconds(told[f"{part}_seconds"]) for part in ("queue", "commit", "apply", "answer")
    )
    stored_by = await asyncio.gather(*(_stored_by(asker, index, node) for node in told["nodes"]))
    answer = min(answer, max(0.0, total_seconds - queue - commit - apply))
    return Explanation(total_seconds, index, queue, commit, apply, answer, tuple(stored_by))


async def _stored_by(asker: Asker, index: int, node: dict[str, Any]) -> StoredBy:
    """What the leader knows of a node, and what that tells itself if it can be asked."""
    own = node
    if "sync_seconds" not in node and node["address"]:
        with contextlib.suppress(ClientError, TimeoutError), TimeLimit(_PATIENCE_SECONDS):
            own = await asker.document_of(node["address"], RequestKind.TRACE, encode_trace_body(index))
    seconds = (node["stored_seconds"], own.get("write_seconds"), own.get("sync_seconds"))
    return StoredBy(_whole(node["node_id"]), *(None if each is None else _seconds(each) for each in seconds))


def _whole(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise TypeError("no whole number that there may be")
    return value


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or not 0 <= value < 1 << 64:
        raise TypeError("no span of time")
    return value
