"""The client's connections: at most one per node, dialled when first needed, shared by all requests."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Final

from raftd.client.connection import Connection, NotConnected, connect
from raftd.client.dialling import Dialler
from raftd.client.errors import TlsError
from raftd.client.time_limit import TimeLimit
from raftd.client.tls import cluster_of
from raftd.wire.handshake import ANY_CLUSTER

_log: Final = logging.getLogger("raftd.client")


class Nodes:
    """Connections by endpoint.

    The first node that welcomes this client decides which cluster this client belongs to, by name and id: a node of
    another cluster that appears at an endpoint later is refused, for sessions and revisions mean nothing there.
    """

    def __init__(self, make_context: Callable[[], ssl.SSLContext], *, dead_after: float) -> None:
        self._make_context = make_context
        self._dead_after = dead_after
        self._dialler = Dialler()
        self._cluster: str | None = None
        self._cluster_id = ANY_CLUSTER
        self._connections: dict[str, Connection] = {}
        self._dialling: dict[str, asyncio.Task[Connection]] = {}
        self._closed = False

    async def connection(self, endpoint: str, seconds: float | None = None) -> Connection:
        """The connection to a node; dials if there is none, once for all who ask at the same time.

        Args:
            endpoint: where the node is.
            seconds: how long to wait for it; None: as long as it is dialled.

        Raises:
            NotConnected: it could not be had, or not in that time; then it may be there later.
        """
        connection = self._connections.get(endpoint)
        if connection is not None and connection.usable:
            return connection
        if self._closed:
            raise NotConnected("the client is closed")
        task = self._dialling.get(endpoint)
        if task is None:
            task = self._dialling[endpoint] = asyncio.create_task(self._dial(endpoint))
            task.add_done_callback(lambda done: self._dialled(endpoint, done))
        # Who asked may give up, by deadline or cancellation, and the dialling still serves the next one.
        try:
            with TimeLimit(seconds):
                return await asyncio.shield(task)
        except TimeoutError:
            raise NotConnected(f"no connection within {seconds:g} s") from None
        except asyncio.CancelledError:
            # `close` has cancelled the dialling; nobody has cancelled the request, so it must not look like that.
            if task.cancelled() and self._closed:
                raise NotConnected("the client is closed") from None
            raise

    async def close(self) -> None:
        """End all connections and wait for that."""
        self._closed = True
        dialling = list(self._dialling.values())
        for task in dialling:
            task.cancel()
        await asyncio.gather(*dialling, return_exceptions=True)
        connections, self._connections = list(self._connections.values()), {}
        await asyncio.gather(*(connection.close() for connection in connections))

    async def _dial(self, endpoint: str) -> Connection:
        try:
            # A fresh context each time: certificates that were renewed since are used without a restart.
            context = self._make_context()
            connection = await connect(
                endpoint,
                context,
                cluster=self._cluster or cluster_of(context),
                cluster_id=self._cluster_id,
                dead_after=self._dead_after,
                dialler=self._dialler,
            )
        except NotConnected:
            raise
        except TlsError as error:
            raise NotConnected(str(error), error) from None
        except Exception as error:
            # Whatever a user's function for contexts raises, or a process that ends: nothing was sent to this node, and
            # that is all that a request, or who keeps leases and sessions alive, has to know.
            raise NotConnected(f"{type(error).__name__}: {error}") from error
        self._belong(connection)
        self._connections[endpoint] = connection
        _log.debug("connected to %s, %s", endpoint, connection.identity)
        return connection

    def _belong(self, connection: Connection) -> None:
        """Belong to this node's cluster, or have nothing to do with it. Raises: NotConnected."""
        cluster = connection.identity.cluster if connection.identity is not None else None
        cluster_id = connection.welcomed.result().cluster_id
        # Asked once more: since this node was dialled another one may have welcomed this client.
        if self._cluster not in (None, cluster) or self._cluster_id not in (ANY_CLUSTER, cluster_id):
            reason = "the node belongs to another cluster than the one that was met first"
            connection.abort(reason)
            raise NotConnected(reason)
        self._cluster, self._cluster_id = cluster, cluster_id

    def _dialled(self, endpoint: str, task: "asyncio.Task[Connection]") -> None:
        del self._dialling[endpoint]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.debug("cannot connect to %s: %s", endpoint, error)
