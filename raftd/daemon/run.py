"""From a settings file to a running node: what `raftd run` does."""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Final

from raftd import events
from raftd.daemon import logs
from raftd.daemon.credentials import Credentials, wait_for_credentials
from raftd.daemon.descriptors import raise_limit
from raftd.daemon.listening import wait_for_addresses
from raftd.daemon.narrator import tell_failure
from raftd.daemon.notify import Notifier
from raftd.daemon.opening import Opened, open_storage
from raftd.daemon.patience import Interrupted
from raftd.daemon.service import Service
from raftd.errors import ExitCode, RaftdError, SettingsError
from raftd.event_loop import new_event_loop
from raftd.http.recent import RecentEvents
from raftd.settings import NodeSettings, Settings
from raftd.version import version

logger = logging.getLogger(__name__)

_GC_THRESHOLDS: Final = (50_000, 50, 100)
"""Requests make no cycles, so the collector finds next to nothing; seldom is often enough."""


def run(settings: Settings, node_id: int, log_format: str | None = None) -> ExitCode:
    """Run node `node_id` of `settings` until it is told to stop; `log_format` goes before that of the settings.

    Returns:
        The process's exit code. What ends the node is logged, as one line.

    Raises:
        SettingsError: the settings name no such node.
    """
    if sys.flags.optimize:
        raise SettingsError("python -O leaves out checks that data depends on; run raftd without it")
    node = settings.node(node_id)
    # It would end the process. So it waits until the service can answer it: the files may be others by then than those
    # that are read here, and whoever told the node so will not tell it again.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    handler = logs.configure(
        sys.stderr,
        log_format=logs.LogFormat(log_format or node.log.format),
        level=logging.getLevelNamesMapping()[node.log.level.upper()],
        node_id=node_id,
    )
    with closing(handler), closing(Notifier()) as notifier, _remembering() as recent:
        for warning in settings.warnings:
            logger.warning("%s", warning.partition("\n")[0])  # what follows is the place in the file, with a caret
        try:
            return _run(node, notifier, lambda: handler.dropped, recent)
        except RaftdError as error:
            tell_failure(error)
            notifier.status(f"failed: {error}")
            return error.exit_code


@contextmanager
def _remembering() -> Iterator[RecentEvents]:
    """What is logged from now on, for the status page; it begins before the data directory is read."""
    recent, top = RecentEvents(), logging.getLogger("raftd")
    top.addHandler(recent)
    try:
        yield recent
    finally:
        top.removeHandler(recent)


def _run(
    settings: NodeSettings, notifier: Notifier, log_lines_dropped: Callable[[], int], recent: RecentEvents
) -> ExitCode:
    try:
        credentials = wait_for_credentials(settings, notifier.status)
    except Interrupted:
        events.NODE_STOPPED.log(logger)
        return ExitCode.OK
    events.NODE_STARTED.log(logger, version=version(), node=settings.node_id, cluster=settings.cluster.name)
    gc.set_threshold(*_GC_THRESHOLDS)
    raise_limit()
    opened = open_storage(settings)
    if opened.directory.is_removed:
        _close(opened)
        events.NODE_REMOVED.log(logger)
        return ExitCode.REMOVED
    try:
        settings = wait_for_addresses(settings, notifier.status)
    except Interrupted:
        _close(opened)
        events.NODE_STOPPED.log(logger)
        return ExitCode.OK
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(_serve(settings, credentials, opened, notifier, log_lines_dropped, recent))


def _close(opened: Opened) -> None:
    opened.log.close()
    opened.directory.close()


async def _serve(  # noqa: PLR0917 - hands on what it is given
    settings: NodeSettings,
    credentials: Credentials,
    opened: Opened,
    notifier: Notifier,
    log_lines_dropped: Callable[[], int],
    recent: RecentEvents,
) -> ExitCode:
    return await Service(
        settings, credentials, opened, notifier=notifier, log_lines_dropped=log_lines_dropped, recent=recent
    ).run()
