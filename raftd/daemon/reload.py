"""Reading a node's files anew while it runs: all of them, tried out beside the event loop, and then in one step.

A file that cannot be used is refused with one line that names it, and nothing has changed then. What the settings say
that counts only at a start is named, and waits.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Protocol, TypeAlias

from raftd import events
from raftd.daemon.credentials import Credentials, read_credentials
from raftd.errors import RaftdError, SettingsError
from raftd.http.view import Configuration
from raftd.kv.access import AccessRules
from raftd.settings import NodeSettings, load
from raftd.settings.changes import compare
from raftd.wire.client import Refusal, RefusalCode

logger = logging.getLogger(__name__)

Outcome: TypeAlias = dict[str, object] | Refusal
"""What came of a reload: a document for whoever asked, or why nothing has changed."""

EXPIRY_WARNING_SECONDS: Final = 86_400.0
"""How often it is said that a certificate will expire soon."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A node's files: usable as a whole."""

    settings: NodeSettings
    credentials: Credentials
    rules: AccessRules
    """What the settings say of access. Made while a file can still be refused."""


class Supervisor(Protocol):
    """Who is told of a reload."""

    def reloading(self) -> None:
        """It begins."""

    def ready(self, status: str) -> None:
        """It has ended, well or not."""


def read_files(current: NodeSettings) -> Loaded:
    """Read a node's settings and what they name.

    Raises:
        SettingsError: the settings cannot be used, or are another cluster's.
        TlsError: certificates or keys cannot be used.
    """
    settings = load(current.whole.path).node(current.node_id)
    if forbidden := compare(current.whole.document, settings.whole.document, current.node_id).forbidden:
        raise SettingsError(
            f"{settings.whole.path}: {' and '.join(forbidden)} cannot change: this is another cluster's file"
        )
    return Loaded(settings, read_credentials(settings), settings.access_rules)


class Reloader:
    """Reloads a node when it is told to, one time after the other."""

    def __init__(
        self,
        started: Loaded,
        *,
        use: Callable[[Loaded, Configuration], None],
        supervisor: Supervisor,
        status_line: Callable[[], str],
        is_stopping: Callable[[], bool],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Name the parts.

        Args:
            started: what the node goes by from its start.
            use: makes the node go by something else; called for the start's too.
            supervisor: who is told that a reload begins and ends.
            status_line: what it is told with that.
            is_stopping: whether the node is going down, and nothing is reloaded any more.
            wall_clock: seconds since the epoch.
        """
        self._started = started
        self._loaded = started
        self._use = use
        self._supervisor = supervisor
        self._status_line = status_line
        self._is_stopping = is_stopping
        self._wall_clock = wall_clock
        self._asking: list[Callable[[Outcome], None]] = []
        self._reloading: asyncio.Task[None] | None = None
        self._warning: asyncio.TimerHandle | None = None
        self._configuration = Configuration(
            settings_hash=started.settings.fingerprint,
            certificates=started.credentials.statuses,
            reloaded_seconds=wall_clock(),
        )

    def start(self) -> None:
        """Let the node tell of what it has started with, and warn of certificates that expire soon, once a day."""
        self._use(self._started, self._configuration)
        self._warn_of_expiry()

    def request(self, done: Callable[[Outcome], None]) -> None:
        """Reload; `done` hears what came of it.

        Whoever asks while a reload runs gets another one after it, shared by all who have asked meanwhile: the files
        may have changed behind the one that runs.
        """
        self._asking.append(done)
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.get_running_loop().create_task(self._reload_all())
            # A task that somebody holds on to keeps its exception to itself.
            self._reloading.add_done_callback(lambda task: task.cancelled() or task.result())

    async def stop(self) -> None:
        """Reload no more."""
        if self._warning is not None:
            self._warning.cancel()
        if self._reloading is not None:
            self._reloading.cancel()
            await asyncio.gather(self._reloading, return_exceptions=True)

    async def _reload_all(self) -> None:
        while self._asking:
            asking, self._asking = self._asking, []
            outcome = await self._reload()
            for done in asking:
                done(outcome)

    async def _reload(self) -> Outcome:
        if self._is_stopping():
            return Refusal(RefusalCode.STOPPING, "this node is going down")
        self._supervisor.reloading()
        try:
            loaded = await asyncio.get_running_loop().run_in_executor(None, read_files, self._loaded.settings)
        except RaftdError as error:
            outcome: Outcome = self._refuse(_one_line(error))
        except Exception as error:  # noqa: BLE001 - nothing has changed yet, and no file may be able to end a node that runs
            outcome = self._refuse(f"{type(error).__name__}: {error}")
        else:
            outcome = self._take(loaded)
        if not self._is_stopping():
            self._supervisor.ready(self._status_line())
        return outcome

    def _refuse(self, reason: str) -> Refusal:
        count = self._configuration.reloads_refused + 1
        self._configuration = replace(self._configuration, is_refused=True, reloads_refused=count)
        self._use(self._loaded, self._configuration)
        events.SETTINGS_REFUSED.log(logger, reason=reason)
        return Refusal(RefusalCode.NOT_POSSIBLE, f"the old settings stay: {reason}")

    def _take(self, loaded: Loaded) -> Outcome:
        before, node_id = self._loaded, loaded.settings.node_id
        document = loaded.settings.whole.document
        waiting = compare(self._started.settings.whole.document, document, node_id).waiting
        changed = [
            *compare(before.settings.whole.document, document, node_id).reloaded,
            *loaded.credentials.differences(before.credentials),
        ]
        self._loaded = loaded
        self._configuration = Configuration(
            settings_hash=loaded.settings.fingerprint,
            waiting=waiting,
            certificates=loaded.credentials.statuses,
            reloaded_seconds=self._wall_clock(),
            reloads_done=self._configuration.reloads_done + 1,
            reloads_refused=self._configuration.reloads_refused,
        )
        self._use(loaded, self._configuration)
        events.SETTINGS_RELOADED.log(logger, changes=", ".join(changed) or "nothing is different")
        if waiting:
            events.SETTINGS_WAIT.log(logger, settings=", ".join(waiting))
        self._warn_of_expiry()
        return {
            "node_id": node_id,
            "changed": changed,
            "waiting": list(waiting),
            "settings_hash": loaded.settings.fingerprint,
        }

    def _warn_of_expiry(self) -> None:
        now = datetime.fromtimestamp(self._wall_clock(), UTC)
        for info in self._loaded.credentials.expiring(now):
            events.CERTIFICATE_EXPIRES.log(logger, file=info.path, expiry=f"{info.not_after:%Y-%m-%d %H:%M} UTC")
        if self._warning is not None:
            self._warning.cancel()
        self._warning = asyncio.get_running_loop().call_later(EXPIRY_WARNING_SECONDS, self._warn_of_expiry)


def _one_line(error: RaftdError) -> str:
    """All that is wrong, without the excerpts from the file."""
    if isinstance(error, SettingsError):
        return "; ".join(problem.partition("\n")[0] for problem in error.problems)
    return str(error)
