"""The composition root: builds a node out of its parts, runs it, and takes it down in order.

The order of the start: settings, then the data directory and its log, so that a damaged or foreign one is refused
before anyone can connect; then the ports; then READY, which says "recovered and listening" and never waits for a
quorum, for the first of three nodes could not have one.

The order of the end: refuse new work, hand leadership over, wait for the answers that are owed, close the ports, then
the log. Whatever breaks this order, a kill included, loses nothing that was acknowledged.
"""

import asyncio
import contextlib
import gc
import logging
import os
import random
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final

from raftd import events
from raftd.consensus import Limits as ConsensusLimits
from raftd.consensus import Membership, Raft, Ready
from raftd.consensus.types import LogIndex, NodeId, Role, Term
from raftd.daemon.credentials import Credentials
from raftd.daemon.descriptors import connections_allowed
from raftd.daemon.disk_space import DiskSpace
from raftd.daemon.drain import drain
from raftd.daemon.garbage import GarbagePauses
from raftd.daemon.narrator import Narrator, tell_failure
from raftd.daemon.notify import Notifier
from raftd.daemon.opening import Opened, bootstrap_membership
from raftd.daemon.proving import Proving
from raftd.daemon.reload import Loaded, Reloader
from raftd.daemon.revocation import Revocation
from raftd.errors import ExitCode, RaftdError, StorageError
from raftd.http.durations import RequestKind, RequestOutcome
from raftd.http.metrics import Metrics
from raftd.http.pulse import Pulse
from raftd.http.recent import RecentEvents
from raftd.http.server import HttpServer
from raftd.http.view import Configuration
from raftd.net.acceptor import AcceptorLimits
from raftd.net.client_listener import ClientListener
from raftd.net.peer_link import PeerAddress
from raftd.net.peer_links import PeerLinks
from raftd.net.peer_listener import PEER_LIMITS, PeerListener
from raftd.net.tls import TlsFiles
from raftd.node.addresses import replicated_addresses
from raftd.node.admission import AdmissionLimits
from raftd.node.background import BackgroundThread
from raftd.node.backups import BackupFacts, Backups
from raftd.node.command_durations import CommandDurations
from raftd.node.diagnostics import Diagnostics
from raftd.node.driver import Driver, DriverObservers
from raftd.node.gateway import Gateway
from raftd.node.latency import latencies_of
from raftd.node.lease_keeper import LeaseKeeper
from raftd.node.requests import Requests
from raftd.node.round_trips import RoundTrips
from raftd.node.snapshots import SnapshotLimits, SnapshotMaker
from raftd.node.tracing import SyncLog, Traces
from raftd.node.transfers import SnapshotInstaller, SnapshotSender, TransferLimits
from raftd.node.view import StaticFacts, View
from raftd.node.watches import Watches
from raftd.settings.model import NodeSettings
from raftd.storage.backup_note import BackupNote
from raftd.storage.writer import QUEUE_BYTES_MAX, LogWriter, SyncRecord
from raftd.version import version
from raftd.wire.handshake import PEER_VERSION_MAX, PEER_VERSION_MIN, ConnectionRole, Listener
from raftd.wire.limits import CLIENT_FRAME_BYTES_MAX, PEER_FRAME_BYTES_MAX

logger = logging.getLogger(__name__)

_STATUS_SECONDS: Final = 1.0
"""How often the supervisor's status line is written."""
_CLOSE_SECONDS: Final = 20.0
"""What a stop may take after it has drained: its connections are closed, and what is queued for the log is written."""
_HANG_SECONDS: Final = 10.0
"""A log write this old means that the disk hangs; the watchdog is not fed any longer."""


class Service:
    """One running node."""

    def __init__(
        self,
        settings: NodeSettings,
        credentials: Credentials,
        opened: Opened,
        *,
        notifier: Notifier,
        log_lines_dropped: Callable[[], int],
        recent: RecentEvents,
    ) -> None:
        self._settings = settings
        """As of the latest reload: once the node runs, only for what a reload may change."""
        self._recent = recent
        self._opened = opened
        self._notifier = notifier
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[ExitCode] = self._loop.create_future()
        self._hurry = asyncio.Event()
        self._loop.set_exception_handler(self._on_exception)
        self._metrics = Metrics()
        self._client_addresses = {NodeId(node.id): str(node.client_address) for node in settings.nodes}
        tls_peer = TlsFiles(settings.peer_tls.authority, settings.peer_tls.certificate, settings.peer_tls.key)
        tls_client = TlsFiles(settings.client_tls.authority, settings.client_tls.certificate, settings.client_tls.key)
        self._links = self._make_links(tls_peer)
        self._syncs = SyncLog()
        self._writer = self._make_writer()
        self._disk_space = DiskSpace(opened.directory.path)
        self._background = BackgroundThread(self._loop.call_soon_threadsafe)
        self._machine = opened.machine
        self._requests = Requests(self._machine, clock=time.monotonic, latencies=latencies_of(self._metrics))
        raft = self._make_raft()
        self._watches = Watches(self._machine, self._requests, self._loop.time)
        self._keeper = LeaseKeeper(raft, self._machine, self._loop.time)
        self._driver = Driver(
            raft=raft,
            machine=self._machine,
            requests=self._requests,
            watches=self._watches,
            keeper=self._keeper,
            writer=self._writer,
            network=self._links,
            scheduler=self._loop,
            stopwatch=time.monotonic,
            tick_seconds=settings.timing.tick_seconds,
            observers=DriverObservers(
                apply=self._metrics.apply_seconds.observe,
                command=CommandDurations(self._metrics.command_seconds).observe,
                tick_delay=self._on_tick,
            ),
            round_trips=RoundTrips(self._metrics.round_trip),
        )
        self._narrator = self._make_narrator(raft)
        self._view = self._make_view(log_lines_dropped)
        self._reloader = Reloader(
            Loaded(settings, credentials, settings.access_rules),
            use=self._use,
            supervisor=notifier,
            status_line=self._status_line,
            is_stopping=lambda: self._gateway.is_draining,
        )
        self._gateway = self._make_gateway()
        self._maker, self._sender, self._installer = self._make_snapshots()
        self._clients = self._make_client_listener(tls_client)
        self._peers = self._make_peer_listener(tls_peer)
        self._revocation = Revocation(
            clients=self._clients, peers=self._peers, links=self._links, credentials=credentials
        )
        self._pulse = self._make_pulse()
        self._complete_view(self._make_backups())
        self._http = self._make_http()

    async def run(self) -> ExitCode:
        """Listen, serve, and stop in order."""
        settings = self._settings
        self._peers.start(settings.peer_listen.host, settings.peer_listen.port)
        self._clients.start(settings.client_listen.host, settings.client_listen.port)
        await self._http.start()
        self._dial(self._driver.raft.membership)
        proving = Proving(self._opened.directory, self._background, self._loop, self._fail)
        self._driver.start(self._gateway, self._on_leadership, self._on_membership, proving.note)
        self._disk_space.start()
        self._reloader.start()
        self._revocation.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._on_signal, number)
        self._loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        events.NODE_READY.log(
            logger,
            index=self._driver.raft.last_index,
            client=settings.client_listen,
            peer=settings.peer_listen,
            http=settings.http_listen,
        )
        # What stands now stands for ever: let the collector not walk through it again and again.
        gc.collect()
        gc.freeze()
        self._notifier.ready(self._status_line())
        reporter = self._begin(self._report())
        observers = {generation: each.observe for generation, each in self._metrics.garbage_seconds.items()}
        with GarbagePauses(observers):
            code = await self._ended
        reporter.cancel()
        await self._stop()
        return ExitCode.REMOVED if self._driver.raft.is_removed else code

    def _complete_view(self, backups: Backups) -> None:
        self._view.attach(
            gateway=self._gateway,
            clients=self._clients,
            peers=self._peers,
            maker=self._maker,
            sender=self._sender,
            installer=self._installer,
            backups=backups,
            pulse=self._pulse,
            diagnostics=Diagnostics(lambda: self._settings.plain, self._metrics, self._recent).document,
        )
        self._metrics.attach(self._view)

    def _make_writer(self) -> LogWriter[Ready]:
        return LogWriter(
            self._opened.log,
            on_stored=self._on_stored,
            on_failure=self._on_writer_failure,
            clock=time.monotonic,  # uvloop's own counts whole milliseconds
            on_sync=self._on_sync,
            # The gateway stops at one `pending_bytes_max`, besides what the turn under way adds.
            queue_bytes_max=max(QUEUE_BYTES_MAX, 4 * self._settings.limits.pending_bytes_max),
        )

    def _make_view(self, log_lines_dropped: Callable[[], int]) -> View:
        settings = self._settings
        return View(
            facts=StaticFacts(
                settings.cluster.name,
                version(),
                settings.timing.tick_seconds,
                self._client_addresses,
                settings.members,
                str(settings.cluster.id),
            ),
            driver=self._driver,
            machine=self._machine,
            requests=self._requests,
            watches=self._watches,
            keeper=self._keeper,
            links=self._links,
            storing_seconds=self._storing_seconds,
            syncs=self._syncs,
            disk=self._writer,
            disk_space=self._disk_space,
            now=self._loop.time,
            log_lines_dropped=log_lines_dropped,
        )

    def _make_links(self, files: TlsFiles) -> PeerLinks:
        return PeerLinks(
            files=files,
            cluster=self._settings.cluster.name,
            cluster_id=self._settings.cluster.id.bytes,
            node_id=NodeId(self._settings.node_id),
            jitter=random.SystemRandom(),
            on_up=self._peer_up,
            on_down=self._peer_down,
        )

    def _make_pulse(self) -> Pulse:
        metrics = self._metrics
        writes = metrics.request_seconds[RequestKind.WRITE, RequestOutcome.OK]
        return Pulse(self._view.status, writes=writes, syncs=metrics.log_sync_seconds, now=self._loop.time)

    def _make_http(self) -> HttpServer:
        host, port = self._settings.http_listen.host, self._settings.http_listen.port
        return HttpServer(self._view, self._metrics, host, port, pulse=self._pulse, events=self._recent)

    def _make_client_listener(self, files: TlsFiles) -> ClientListener:
        return ClientListener(
            files=files,
            cluster=self._settings.cluster.name,
            listener=Listener(
                ConnectionRole.CLIENT,
                self._settings.cluster.id.bytes,
                NodeId(self._settings.node_id),
                CLIENT_FRAME_BYTES_MAX,
                self._settings.limits.requests_in_flight_max,
            ),
            handler=self._gateway,
            limits=self._client_limits(),
        )

    def _client_limits(self) -> AcceptorLimits:
        wanted, allowed = self._settings.limits.connections_max, connections_allowed()
        if allowed < wanted:
            logger.warning(
                "limits.connections: only %d of %d are accepted, since this process may have no more files open "
                "(LimitNOFILE, ulimit -n)",
                *(allowed, wanted),
            )
        return AcceptorLimits(connections_max=min(wanted, allowed))

    def _make_peer_listener(self, files: TlsFiles) -> PeerListener:
        return PeerListener(
            files=files,
            cluster=self._settings.cluster.name,
            listener=Listener(
                ConnectionRole.PEER,
                self._settings.cluster.id.bytes,
                NodeId(self._settings.node_id),
                PEER_FRAME_BYTES_MAX,
                0,
                PEER_VERSION_MIN,
                PEER_VERSION_MAX,
            ),
            handler=self._driver,
            # Whoever has a peer's certificate: a node that joins does not know the members yet, nor they it (thesis
            # §4.1); what it says is consensus' to judge.
            is_peer=lambda _: True,
            on_connected=self._links.hint,
            limits=PEER_LIMITS,
        )

    def _make_raft(self) -> Raft:
        timing = self._settings.timing
        opened = self._opened
        raft = Raft(
            node_id=NodeId(self._settings.node_id),
            membership=bootstrap_membership(self._settings),
            hard_state=opened.recovered.hard_state,
            entries=opened.recovered.entries,
            random=random.SystemRandom(),
            limits=ConsensusLimits(
                election_timeout_ticks=round(timing.election_timeout_seconds / timing.tick_seconds),
                heartbeat_ticks=round(timing.heartbeat_seconds / timing.tick_seconds),
                lease_reads=self._settings.reads.lease,
                clock_drift=self._settings.reads.clock_drift,
                no_lead=self._settings.no_lead,
            ),
            snapshot=opened.snapshot,
            unproven=not opened.directory.is_proven,
        )
        # Consensus has a list of its own; this one would keep each entry for life, whatever is compacted.
        opened.recovered.entries.clear()
        return raft

    def _make_narrator(self, raft: Raft) -> Narrator:
        timing = self._settings.timing
        return Narrator(
            raft,
            tick_seconds=timing.tick_seconds,
            election_timeout_seconds=timing.election_timeout_seconds,
            busy_since=lambda: self._writer.busy_since,
            now=self._loop.time,
        )

    def _make_gateway(self) -> Gateway:
        limits = self._settings.limits
        return Gateway(
            leadership=self._driver.raft,
            machine=self._machine,
            requests=self._requests,
            watches=self._watches,
            keeper=self._keeper,
            disk=self._writer,
            documents=self._view,
            rules=self._settings.access_rules,
            client_addresses=self._client_addresses,
            traces=Traces(
                NodeId(self._settings.node_id), self._driver.tracer, self._syncs, self._view.client_addresses
            ),
            wake=self._driver.wake,
            limits=AdmissionLimits(
                limits.requests_in_flight_max,
                limits.pending_bytes_max,
                limits.keys_max,
                limits.bytes_max,
            ),
            reload=self._reloader.request,
        )

    def _make_snapshots(self) -> tuple[SnapshotMaker, SnapshotSender, SnapshotInstaller]:
        """Build what makes, sends and installs snapshots, and give it to the driver."""
        raft, driver = self._driver.raft, self._driver
        limits = self._settings.limits
        maker = SnapshotMaker(
            raft=raft,
            machine=self._machine,
            store=self._opened.snapshots,
            compactor=self._writer,
            background=self._background,
            scheduler=self._loop,
            limits=SnapshotLimits(limits.snapshot_log_bytes, limits.log_tail_entries),
            log_bytes=raft.size_bytes(LogIndex(raft.base_index + 1), LogIndex(raft.last_index + 1)),
        )
        sender = SnapshotSender(
            raft=raft,
            store=self._opened.snapshots,
            background=self._background,
            scheduler=self._loop,
            send=driver.send_message,
            wake=driver.wake,
            limits=TransferLimits(),
        )
        installer = SnapshotInstaller(
            raft=raft,
            machine=self._machine,
            store=self._opened.snapshots,
            maker=maker,
            background=self._background,
            scheduler=self._loop,
            wake=driver.wake,
        )
        driver.attach(maker, sender, installer)
        return maker, sender, installer

    def _make_backups(self) -> Backups:
        """Build what hands out backups, and give it to the gateway."""
        settings = self._settings
        backups = Backups(
            facts=BackupFacts(settings.cluster.name, settings.cluster.id.bytes, NodeId(settings.node_id)),
            machine=self._machine,
            maker=self._maker,
            store=self._opened.snapshots,
            note=BackupNote(self._opened.directory),
            requests=self._requests,
            background=self._background,
            scheduler=self._loop,
            wake=self._driver.wake,
        )
        self._gateway.attach(backups)
        return backups

    # What happens while it runs.

    def _on_stored(self, readies: list[Ready]) -> None:
        # Called in the writer's thread. The loop is closed only after that thread has ended.
        self._loop.call_soon_threadsafe(self._driver.stored, readies)

    def _on_writer_failure(self, error: BaseException) -> None:
        # Called in the writer's thread.
        self._loop.call_soon_threadsafe(lambda: self._fail(error, self._driver.raft.stored_index))

    def _on_tick(self, late_seconds: float) -> None:
        self._metrics.tick_delay_seconds.observe(late_seconds)
        self._narrator.tick(late_seconds)

    def _on_sync(self, record: SyncRecord) -> None:
        self._metrics.log_write_seconds.observe(record.write_seconds)
        self._metrics.log_sync_seconds.observe(record.sync_seconds)
        self._syncs.note(record)

    def _peer_up(self, peer: NodeId) -> None:
        self._driver.peer_up(peer)

    def _peer_down(self, peer: NodeId) -> None:
        self._driver.peer_down(peer)

    def _on_leadership(self, role: Role, term: Term, leader_id: NodeId | None) -> None:
        self._narrator.leadership(role, term, leader_id)
        self._dial(self._driver.raft.membership)

    def _on_membership(self, membership: Membership) -> None:
        self._narrator.membership(membership)
        self._dial(membership)

    def _dial(self, membership: Membership) -> None:
        """Keep a link to each member and to the leader; and to all whom the settings name, while none is known.

        A node that catches up goes by memberships of the past, and who leads now, and has to be answered, may not be in
        them. Where such a leader is, only the settings can say; and where a candidate is that was added while this node
        was away, and that the others cannot elect without it. Who has been removed has to hear of it from the leader
        (`raftd.consensus.replication`, *Farewell*), whose link stays until that is done.
        """
        known = {NodeId(node.id): node.peer_address for node in self._settings.nodes}
        for node_id in membership.members:
            addresses = replicated_addresses(membership, node_id)
            if addresses is not None:
                known[node_id] = addresses.peer
        wanted = set(membership.members)
        leader_id = self._driver.raft.leader_id
        if self._settings.node_id not in wanted or leader_id is None:
            wanted.update(known)
        if leader_id is not None:
            wanted.add(leader_id)
        self._links.set_peers(
            (PeerAddress(node_id, known[node_id].host, known[node_id].port) for node_id in wanted if node_id in known),
            leaving=self._driver.raft.progress.keys(),
        )

    def _on_signal(self, number: int) -> None:
        if self._gateway.is_draining:
            # Told twice: somebody is impatient, and nothing acknowledged is lost by obeying.
            self._hurry.set()
            self._end(ExitCode.OK)
            return
        events.NODE_DRAINING.log(logger, signal=signal.Signals(number).name)
        seconds = self._settings.shutdown.drain_timeout_seconds + _CLOSE_SECONDS
        self._notifier.stopping("stopping: handing over what is under way", seconds)
        self._gateway.drain()
        self._draining = self._begin(self._drain())

    def _on_hangup(self) -> None:
        self._reloader.request(lambda _: None)

    def _use(self, loaded: Loaded, configuration: Configuration) -> None:
        """Go by what was read from the files, of which everything is usable: nothing in here can fail."""
        settings, credentials = loaded.settings, loaded.credentials
        self._settings = settings
        self._client_addresses = {NodeId(node.id): str(node.client_address) for node in settings.nodes}
        self._view.use(
            replace(self._view.facts, client_addresses=self._client_addresses, members=settings.members), configuration
        )
        logging.getLogger().setLevel(logging.getLevelNamesMapping()[settings.log.level.upper()])
        self._gateway.use(rules=loaded.rules, client_addresses=self._client_addresses)
        self._clients.use(context=credentials.client_listening, limits=self._client_limits())
        self._peers.use(context=credentials.peer_listening)
        self._links.use(context=credentials.peer_dialling)
        self._revocation.use(credentials)

    async def _drain(self) -> None:
        await drain(self._driver, self._settings.shutdown.drain_timeout_seconds)
        self._end(ExitCode.OK)

    def _end(self, code: ExitCode) -> None:
        if not self._ended.done():
            self._ended.set_result(code)

    def _fail(self, error: BaseException, stored_index: LogIndex | None = None) -> None:
        """End the process at once: nothing that is still in it may reach a client or a peer."""
        reason = tell_failure(error, stored_index)
        if not isinstance(error, RaftdError):
            logger.critical("this is a bug in raftd", exc_info=error)
        self._notifier.status(f"failed: {reason}")
        code = error.exit_code if isinstance(error, RaftdError) else ExitCode.ERROR
        logging.shutdown()
        os._exit(code)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task, for whoever holds on to it. What it raises is a bug, of which nobody else would hear."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self._fail(error)

        task = self._loop.create_task(work)
        task.add_done_callback(ended)
        return task

    def _on_exception(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Whatever nobody caught: of the network's doings it is one connection's trouble, of anything else a bug."""
        error = context.get("exception")
        # What a certificate's names raise is reported here too, besides to whoever accepts (`raftd.net.tls`).
        is_certificate = isinstance(error, UnicodeDecodeError) and "transport" in context
        if isinstance(error, OSError) or is_certificate or error is None:  # ssl.SSLError and TimeoutError are OSErrors
            logger.info("%s: %s", context.get("message", "in the event loop"), error or "no exception")
            return
        self._fail(error)

    # What is told to the supervisor.

    def _storing_seconds(self) -> float:
        busy_since = self._writer.busy_since
        return 0.0 if busy_since is None else time.monotonic() - busy_since

    def _status_line(self) -> str:
        status = self._view.status()
        leader = "no leader" if status.leader_id is None else f"leader {status.leader_id}"
        return (
            f"{status.role.value} in term {status.current_term}, {leader}, "
            f"commit {status.commit_index}, applied {status.last_applied}, {status.keys} keys"
        )

    async def _report(self) -> None:
        """Feed the watchdog while all is well, and keep links, the status line and the page's plots true."""
        interval = min(self._notifier.watchdog_interval_seconds or _STATUS_SECONDS, _STATUS_SECONDS)
        while True:
            await asyncio.sleep(interval)
            self._pulse.beat()
            if self._driver.raft.is_removed:
                self._end(ExitCode.REMOVED)
            # A farewell ends without a word.
            self._dial(self._driver.raft.membership)
            if self._storing_seconds() < _HANG_SECONDS:
                self._notifier.feed_watchdog()
            if not self._gateway.is_draining:
                self._notifier.status(self._status_line())

    async def _stop(self) -> None:
        self._disk_space.stop()
        await asyncio.gather(self._reloader.stop(), self._revocation.stop())
        self._driver.stop()
        # Looked at here, since it may have been told to stop at the same time, as whoever removes it may well do.
        if self._driver.raft.is_removed:
            events.NODE_REMOVED.log(logger)
            # Without the mark it would begin again, and hear of it only from a leader that still knows it.
            with contextlib.suppress(StorageError):
                await self._loop.run_in_executor(None, self._opened.directory.note_removal)
        closing = asyncio.gather(self._clients.stop(), self._peers.stop(), self._links.stop(), self._http.stop())
        hurried = self._loop.create_task(self._hurry.wait())
        # A good-bye that the other side does not answer takes seconds; whoever hurries does without.
        await asyncio.wait((closing, hurried), return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not closing.done():
            closing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await closing
        self._maker.abandon()
        await self._loop.run_in_executor(None, self._background.close)
        await self._loop.run_in_executor(None, self._writer.close)
        self._opened.log.close()
        self._opened.directory.close()
        events.NODE_STOPPED.log(logger)
