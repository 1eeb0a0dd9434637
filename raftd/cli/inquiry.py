"""What `raftctl doctor` and `raftctl debug` ask each node."""

import contextlib
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

from raftd.cli.examine import Cluster, Examined
from raftd.cli.status import ASKED_AT_ONCE_MAX, Overview
from raftd.client import Client, ClientError

_PINGS: Final = 5


def inquire(client: Client, overview: Overview, measured_sync_seconds: float | None = None) -> Cluster:
    """Ask those that answered for their diagnostics, and how far away they are, side by side.

    One that does not answer this any more is there with its status alone.

    Args:
        client: An administrator's.
        overview: Who has answered.
        measured_sync_seconds: See `Cluster`.
    """
    answered = [
        (endpoint, answer)
        for endpoint in (str(row["endpoint"]) for row in overview.rows)
        if isinstance(answer := overview.answers[endpoint], dict)
    ]
    with ThreadPoolExecutor(ASKED_AT_ONCE_MAX) as pool:
        nodes = list(pool.map(lambda each: _examined(client, *each), answered))
    return Cluster(nodes, overview.rows, time.time(), measured_sync_seconds)


def _examined(client: Client, endpoint: str, status: Mapping[str, Any]) -> Examined:
    node = Examined(status)
    with contextlib.suppress(ClientError):
        node = replace(node, ping_seconds=tuple(client.ping(endpoint) for _ in range(_PINGS)))
        # Half of the way there and back is as near as one can say when the node looked at its clock.
        asked = time.time()
        diagnostics = client.diagnostics(endpoint)
        answered = time.time()
        node = replace(
            node,
            diagnostics=diagnostics,
            clock_ahead_seconds=diagnostics["wall_clock_seconds"] - (asked + answered) / 2,
            clock_error_seconds=(answered - asked) / 2,
        )
    return node
