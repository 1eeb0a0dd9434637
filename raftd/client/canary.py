"""A canary: writes at a steady rate and reads back, and says whether every acknowledged write is there exactly once.

Each of a few lanes has a key of its own and writes values that no other write has, one after the other. A put's answer
has the key's version, which counts the puts that were applied; so a write that was lost, or applied twice, shows with
the next answer. A write whose outcome is unknown may add one to what is expected, or not.

Writes are due by the clock, whether the cluster keeps up or not, and a latency counts from when its write was due: a
cluster that stands still for a second is not asked less in that second.
"""

import asyncio
import math
import secrets
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from raftd.client.asynchronous import AsyncClient
from raftd.client.errors import ClientError, Denied, InvalidRequest, OutcomeUnknown, TlsError, first_of_many
from raftd.client.load import percentile
from raftd.client.results import KeyValue

DEFAULT_KEY_PREFIX: Final = "raftd/canary/"
DEFAULT_RATE: Final = 50.0
RATE_MAX: Final = 10_000.0
_LANES_MAX: Final = 32
_WRITES_PER_LANE: Final = 5.0
"""A second: a lane waits for each answer, so at most so many are late because another one is."""
_COMPLAINTS_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class CanaryPlan:
    """How much is written, and where."""

    rate: float = DEFAULT_RATE
    """Writes a second, each followed by a read."""
    seconds: float | None = None
    """None: until told to stop."""
    key_prefix: str = DEFAULT_KEY_PREFIX

    def check(self) -> None:
        """Raises: InvalidRequest, when it makes no sense."""
        if not 0 < self.rate <= RATE_MAX:
            raise InvalidRequest(f"the rate is more than 0 and at most {RATE_MAX:g} writes a second")
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise InvalidRequest("seconds is more than 0")

    @property
    def lanes(self) -> int:
        """How many writes may be under way at a time."""
        return max(1, min(_LANES_MAX, math.ceil(self.rate / _WRITES_PER_LANE)))


@dataclass
class CanaryReport:
    """What came of it. Latencies are of acknowledged writes, in seconds."""

    seconds: float = 0.0
    tried: int = 0
    acknowledged: int = 0
    failed: int = 0
    """Certainly not written, after all that a client does to have them written."""
    unknown: int = 0
    """Written or not: no answer came in time."""
    reads_failed: int = 0
    missing: int = 0
    """Acknowledged writes that are not there, and writes that are there twice: there must be none."""
    unverified: int = 0
    """Keys that could not be read in the end."""
    complaints: list[str] = field(default_factory=list)
    """What `missing` counts, the first of them."""
    errors: dict[str, int] = field(default_factory=dict)
    """Why writes and reads failed, by the kind of error."""
    longest_stall_seconds: float = 0.0
    """The longest time between two acknowledgements."""
    p50_seconds: float = 0.0
    p99_seconds: float = 0.0
    max_seconds: float = 0.0


async def run_canary(client: AsyncClient, plan: CanaryPlan, stopping: asyncio.Event) -> CanaryReport:
    """Write until told to stop or the plan's time is over; then read everything once more, and clean up.

    Raises:
        ClientError: the plan makes no sense, or nothing could be written at all and never will be: a certificate that
            is not accepted, a user who may not.
    """
    plan.check()
    run = _Run(client, plan, stopping)
    with first_of_many():
        async with asyncio.TaskGroup() as tasks:
            for number in range(plan.lanes):
                tasks.create_task(_Lane(run, number).work())
    return run.report()


class _Run:
    """What all lanes share."""

    def __init__(self, client: AsyncClient, plan: CanaryPlan, stopping: asyncio.Event) -> None:
        self.client = client
        self.plan = plan
        self.stopping = stopping
        self.name = f"{plan.key_prefix}{secrets.token_hex(6)}"
        self.time: Callable[[], float] = asyncio.get_running_loop().time
        self.started_at = self._heard_at = self.time()
        self.ends_at = self.started_at + (plan.seconds if plan.seconds is not None else math.inf)
        self.counts = CanaryReport()
        self._latencies = array("d")

    def acknowledged(self, due: float) -> None:
        now = self.time()
        self.counts.acknowledged += 1
        self._latencies.append(now - due)
        self._note_stall(now)

    def failed(self, error: ClientError) -> None:
        """Note why a request failed; raises it, if that is how all of them would end."""
        if isinstance(error, Denied | InvalidRequest | TlsError) and not self.counts.acknowledged:
            raise error
        self.note(error)

    def note(self, error: ClientError) -> None:
        name = type(error).__name__
        self.counts.errors[name] = self.counts.errors.get(name, 0) + 1

    def complain(self, text: str, count: int = 1) -> None:
        self.counts.missing += count
        if len(self.counts.complaints) < _COMPLAINTS_MAX:
            self.counts.complaints.append(text)

    def ended(self) -> None:
        """No more writes: whatever was waited for until now was a stall too."""
        self._note_stall(self.time())

    def report(self) -> CanaryReport:
        ordered = sorted(self._latencies)
        self.counts.p50_seconds = percentile(ordered, 0.5)
        self.counts.p99_seconds = percentile(ordered, 0.99)
        self.counts.max_seconds = ordered[-1] if ordered else 0.0
        return self.counts

    def _note_stall(self, now: float) -> None:
        self.counts.longest_stall_seconds = max(self.counts.longest_stall_seconds, now - self._heard_at)
        self.counts.seconds = now - self.started_at
        self._heard_at = now


class _Lane:
    """One key, written by one task.

    Invariant: the key's version is between `_version` and that and the number of values in `_perhaps`, and its value is
    `_value` or one of `_perhaps`.
    """

    def __init__(self, run: _Run, number: int) -> None:
        self._run = run
        self._key = f"{run.name}/{number}"
        self._number = number
        self._version = 0
        """Puts that were applied for certain."""
        self._value = b""
        self._perhaps: list[bytes] = []
        """What was written with unknown outcome since the last answer."""

    async def work(self) -> None:
        """Write and read back until the end; raises: as `run_canary`."""
        run = self._run
        for place in count(self._number, run.plan.lanes):
            due = run.started_at + place / run.plan.rate
            if not await self._is_due(due):
                break
            await self._write(f"{self._key} {place}".encode(), due)
            await self._read_back()
        run.ended()
        await self._verify()

    async def _is_due(self, due: float) -> bool:
        """Wait until the next write is due; False: there is none any more."""
        run = self._run
        due = min(due, run.ends_at)
        wait = due - run.time()
        if wait > 0:
            try:
                async with asyncio.timeout(wait):
                    await run.stopping.wait()
            except TimeoutError:
                pass
        return not run.stopping.is_set() and due < run.ends_at

    async def _write(self, value: bytes, due: float) -> None:
        run = self._run
        run.counts.tried += 1
        try:
            result = await run.client.put(self._key, value)
        except OutcomeUnknown as error:
            run.counts.unknown += 1
            run.failed(error)
            self._perhaps.append(value)
        except ClientError as error:
            run.counts.failed += 1
            run.failed(error)
        else:
            self._check_version(result.version - 1)
            self._version, self._value, self._perhaps = result.version, value, []
            run.acknowledged(due)

    async def _read_back(self) -> None:
        if not self._value:
            return
        try:
            found = await self._run.client.get(self._key)
        except ClientError as error:
            self._run.counts.reads_failed += 1
            self._run.failed(error)
        else:
            self._check(found)

    async def _verify(self) -> None:
        """Read for the last time, and leave nothing behind."""
        if not (self._value or self._perhaps):
            return
        try:
            self._check(await self._run.client.get(self._key))
            await self._run.client.delete(self._key)
        except ClientError as error:
            self._run.counts.unverified += 1
            self._run.note(error)

    def _check(self, found: KeyValue | None) -> None:
        version, value = (0, b"") if found is None else (found.version, found.value)
        if self._check_version(version) and value != self._value and value not in self._perhaps:
            self._run.complain(f"{self._key} has {value!r}, and {self._value!r} was acknowledged")

    def _check_version(self, version: int) -> bool:
        """Whether as many puts were applied as can be; complains once of each that is lost or too many."""
        low, high = self._version, self._version + len(self._perhaps)
        if low <= version <= high:
            return True
        lost = low - version if version < low else version - high
        what = "acknowledged writes are missing" if version < low else "writes were applied twice"
        self._run.complain(f"{self._key}: {lost} {what} (version {version}, expected {low} to {high})", lost)
        self._version = version
        return False
