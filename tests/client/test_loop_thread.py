"""The thread of a blocking client: it wakes whoever waits, and ends with the client or the program."""

import asyncio
import contextlib
import errno
import gc
import os
import signal
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from raftd.client import Client, ClientError, LeaseNotFound, OutcomeUnknown
from raftd.client.loop_thread import LoopThread
from raftd.wire.client import encode_pong
from tests.client.fake import FakeCluster, Pki, Say, Silent

Trace = Callable[[FrameType, str, Any], Any]


@pytest.fixture
def client(cluster_in_thread: FakeCluster, pki: Pki) -> Iterator[Client]:
    with Client(cluster_in_thread.endpoints, tls=pki.user) as made:
        yield made


def test_close_wakes_those_who_wait(cluster_in_thread: FakeCluster, pki: Pki) -> None:
    """A thread in the middle of a call gets an error when another closes the client."""
    client = Client(cluster_in_thread.endpoints, tls=pki.user, timeout=60.0)
    client.put("a", "1")
    cluster_in_thread.nodes[0].plan.append(Silent())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.put, "a", "2")
        while cluster_in_thread.nodes[0].plan:
            threading.Event().wait(0.001)
        client.close()
        with pytest.raises(ClientError):
            waiting.result(10)


def test_close_does_not_hide_that_a_write_may_be_applied(cluster_in_thread: FakeCluster, pki: Pki) -> None:
    """A write without an answer that waits for the next round, which is far away, ends in OutcomeUnknown."""
    pausing = threading.Event()

    class LongPauses:
        def uniform(self, _low: float, _high: float) -> float:
            pausing.set()
            return 60.0

    def leave_without_an_answer(request_id: int) -> bytes:
        cluster_in_thread.leader = None
        return encode_pong(request_id)

    client = Client(cluster_in_thread.endpoints, tls=pki.user, timeout=60.0, jitter=LongPauses())
    client.put("a", "1")
    cluster_in_thread.nodes[0].plan.append(Say(leave_without_an_answer, apply=True))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.put, "a", "2")
        assert pausing.wait(10)
        client.close()
        with pytest.raises(OutcomeUnknown):
            waiting.result(10)


def test_a_call_that_comes_too_late_does_not_wait_for_ever(
    cluster_in_thread: FakeCluster, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is handed to the loop after its last round, just before it is closed, is never begun."""

    class LastRound:
        """A loop that takes what it does not come to any more."""

        def call_soon_threadsafe(self, _: object) -> None: ...

    client = Client(cluster_in_thread.endpoints, tls=pki.user, timeout=60.0)
    monkeypatch.setattr(client._thread, "_loop", LastRound())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.get, "a")
        while not client._thread._waiting:
            threading.Event().wait(0.001)
        client.close()
        with pytest.raises(ClientError, match="closed while"):
            waiting.result(10)


def test_a_call_that_meets_the_close(cluster_in_thread: FakeCluster, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the thread has ended whatever waits, and the loop takes nothing more, before the request is handed over."""
    client = Client(cluster_in_thread.endpoints, tls=pki.user, timeout=60.0)

    class Closing:
        """A loop that is closed just when something is handed to it."""

        def call_soon_threadsafe(self, _: object) -> None:
            client.close()
            raise RuntimeError("Event loop is closed")

        def is_closed(self) -> bool:
            return True

    monkeypatch.setattr(client._thread, "_loop", Closing())
    with pytest.raises(ClientError, match="the client is closed"):
        client.get("a")


def test_forgotten_clients_are_collected(cluster_in_thread: FakeCluster, pki: Pki) -> None:
    """A client that nobody refers to any more ends its thread."""
    threads = threading.active_count()
    client = Client(cluster_in_thread.endpoints, tls=pki.user)
    client.put("a", "1")
    gone = weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None
    assert threading.active_count() == threads


def test_not_in_its_own_thread(client: Client) -> None:
    """A call that would wait for itself is an error, not a deadlock."""

    async def call_back() -> None:
        client.get("a")

    with pytest.raises(ClientError, match="own thread"):
        client._run(call_back)


def test_inside_another_event_loop(client: Client) -> None:
    """The blocking client may be used where an event loop runs, if one accepts that it blocks it."""

    async def use() -> None:
        client.put("a", "1")

    asyncio.run(use())


def test_forked_children_are_told(client: Client) -> None:
    """In a forked child the thread does not exist: a call there is an error, and not a wait for ever."""
    process_id = client._thread._process_id
    client._thread._process_id = process_id + 1
    with pytest.raises(ClientError, match="fork"):
        client.get("a")
    client._thread._process_id = process_id


@pytest.mark.parametrize("ending", ["pass", "client.close()", "raise SystemExit(3)"])
def test_the_interpreter_ends_quietly(config_path: Path, cluster_in_thread: FakeCluster, ending: str) -> None:
    """A program that forgets to close ends without a word, a hang or a session left behind."""
    program = f"from raftd.client import Client\nclient = Client.from_config({str(config_path)!r})\n"
    program += f"client.put('a', '1')\n{ending}\n"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program], capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (3 if "3" in ending else 0, b"")
    assert cluster_in_thread.machine.session_count == 0


def test_a_signal_that_another_thread_is_given(cluster_in_thread: FakeCluster, pki: Pki) -> None:
    """It interrupts no wait of the main thread, whose the handler is; that is the same as one just before the wait."""

    class CalledError(Exception):
        pass

    def call(_number: int, _frame: FrameType | None) -> None:
        raise CalledError

    def give() -> None:
        while cluster_in_thread.nodes[0].plan:
            threading.Event().wait(0.001)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        over.wait()

    over, thread = threading.Event(), threading.Thread(target=give)
    before = signal.signal(signal.SIGUSR1, call)
    try:
        with Client(cluster_in_thread.endpoints, tls=pki.user, timeout=60.0) as client:
            client.put("a", "1")
            cluster_in_thread.nodes[0].plan.append(Silent())
            thread.start()
            with pytest.raises(CalledError):
                client.put("a", "2")
    finally:
        signal.signal(signal.SIGUSR1, before)
        over.set()
        thread.join()


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (OSError(errno.EMFILE, "Too many open files"), ClientError, "no event loop can be made: .*Too many open files"),
        (MemoryError("no more"), MemoryError, "no more"),
    ],
)
def test_no_event_loop(
    pki: Pki, monkeypatch: pytest.MonkeyPatch, error: Exception, raised: type[Exception], message: str
) -> None:
    """Where none can be made, so that nothing of the client has begun, the one who makes the client is told why."""

    def fail() -> None:
        raise error

    made: Future[Client] = Future()

    def make() -> None:
        try:
            made.set_result(Client(["127.0.0.1:1"], tls=pki.user))
        except Exception as failure:  # noqa: BLE001 - which one is what is tested
            made.set_exception(failure)

    monkeypatch.setattr(asyncio.events, "new_event_loop", fail)
    threading.Thread(target=make, daemon=True).start()  # which may wait for ever
    with pytest.raises(raised, match=message):
        made.result(10)


def test_a_signal_while_a_client_is_made() -> None:
    """It comes out, and the thread ends as soon as it has made the client that nobody wants any more."""
    ends: list[str] = []

    class Served:
        """A client that nobody stops but a timer."""

        async def __aenter__(self) -> None:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_later(10, task.cancel)

        async def __aexit__(self, kind: object, _error: object, _trace: object) -> None:
            ends.append("stopped" if kind is None else "forgotten")

    def call(_number: int, _frame: FrameType | None) -> None:
        called.set()
        raise SignalledError

    def make() -> Any:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        called.wait(10)
        return Served()

    called = threading.Event()
    before = signal.signal(signal.SIGUSR1, call)
    try:
        with pytest.raises(SignalledError):
            LoopThread(make)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ends == ["stopped"]


def test_ctrl_c(config_path: Path, cluster_in_thread: FakeCluster) -> None:
    """Ctrl-C in a call that waits is a KeyboardInterrupt at once; the call is given up, and the program can go on."""
    cluster_in_thread.leader = None
    program = (
        "from raftd.client import Client, ClientConfig\n"
        f"config = ClientConfig.load({str(config_path)!r})\n"
        "client = Client(config.endpoints, tls=config.tls, timeout=60.0)\n"
        "print('waiting', flush=True)\n"
        "try:\n    client.get('a')\nexcept KeyboardInterrupt:\n    print('interrupted', flush=True)\n"
        f"print(client.status({cluster_in_thread.endpoints[0]!r}), flush=True)\n"
        "import asyncio\n"
        "async def names(): return {task.get_coro().__name__ for task in asyncio.all_tasks()}\n"
        "print('get' in client._run(names))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        while not any(node.requests for node in cluster_in_thread.nodes):
            threading.Event().wait(0.001)
        os.kill(process.pid, signal.SIGINT)
        rest, stderr = process.communicate(timeout=30)
    assert (rest, stderr) == ("interrupted\n{'node_id': 1}\nFalse\n", "")


STEPS_WITHOUT_SIGNALS = 2
"""How many bytecodes at the end of a call only return: Python runs handlers of signals after calls and jumps."""


class SignalledError(RuntimeError):
    """What a handler of a signal may raise: click's own is of this kind."""


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SignalledError])
def test_ctrl_c_between_any_two_steps(client: Client, interrupt: type[BaseException]) -> None:
    """Wherever a signal comes in a call, nothing is left that nobody awaits, and the client goes on."""
    client.put("a", "1")
    steps = _count_steps(lambda: client.get("a"))
    assert steps > 50
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(1, steps + 1):
            with pytest.raises(interrupt):
                _count_steps(lambda: client.get("a"), interrupt, step)
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
    found = client.get("a")
    assert found is not None
    assert found.value == b"1"

    async def given_up() -> list[str]:
        return [task.get_name() for task in asyncio.all_tasks() if task.cancelling()]

    assert client._run(given_up) == []


@pytest.mark.parametrize(
    "kind", ["lock", "election", "double barrier", "lease", "acquire", "campaign", "enter", "grant"]
)
def test_ctrl_c_as_something_is_won(client: Client, kind: str) -> None:
    """Wherever a signal comes before the caller has a lock or lease, none is kept alive, and the object can have it."""
    lock, election, barrier = client.lock("l", ttl=600), client.election("e", ttl=600), client.double_barrier("d", 1)
    held = client.lease(600)
    calls: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "lock": (lock.__enter__, lambda: lock.__exit__(None, None, None)),
        "election": (election.__enter__, lambda: election.__exit__(None, None, None)),
        "double barrier": (barrier.__enter__, lambda: barrier.__exit__(None, None, None)),
        "lease": (held.__enter__, lambda: held.__exit__(None, None, None)),
        "acquire": (lock.acquire, lock.release),
        "campaign": (election.campaign, election.resign),
        "enter": (barrier.enter, barrier.leave),
        "grant": (
            lambda: client.grant_lease(600, keep_alive=True),
            lambda: client.revoke_lease(client.leases()[0].id),
        ),
    }
    take, give_back = calls[kind]
    kept = client._client._leases._kept
    for before_the_end in range(STEPS_WITHOUT_SIGNALS, 40):
        steps = _count_steps(take)
        assert len(kept) == 1
        give_back()
        with pytest.raises(KeyboardInterrupt):
            _count_steps(take, KeyboardInterrupt, steps - before_the_end)
        for _ in range(10_000):
            if not kept:
                break
            threading.Event().wait(0.001)
        assert not kept, before_the_end
        # One that was being granted is nobody's either, and ends by itself; here it would take too long.
        for lease_id in [each.id for each in client.leases()]:
            with contextlib.suppress(LeaseNotFound):
                client.revoke_lease(lease_id)


def test_what_was_won_is_given_back_before_the_client_closes(client: Client, cluster_in_thread: FakeCluster) -> None:
    """Ctrl-C as a lock is won, and closing at once: no place is left in the queue."""
    lock = client.lock("l", ttl=600)
    steps = _count_steps(lock.acquire)
    lock.release()
    with pytest.raises(KeyboardInterrupt):
        _count_steps(lock.acquire, KeyboardInterrupt, steps - STEPS_WITHOUT_SIGNALS)
    client.close()
    assert cluster_in_thread.machine.key_count == 0


def _count_steps(
    call: Callable[[], object], interrupt: type[BaseException] = KeyboardInterrupt, interrupt_at: int = 0
) -> int:
    """How many bytecodes of the blocking client this thread runs in a call, which may be interrupted at one."""
    steps = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Trace | None:
        nonlocal steps
        if not frame.f_globals["__name__"].startswith("raftd.client."):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            steps += 1
            if steps == interrupt_at:
                raise interrupt
        return trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(None)
    return steps


def test_what_was_given_up_gives_back_what_it_holds(config_path: Path, cluster_in_thread: FakeCluster) -> None:
    """Ctrl-C while waiting for a lock, and closing at once: no place is left in the queue."""
    program = (
        "from raftd.client import Client\n"
        f"with Client.from_config({str(config_path)!r}) as client:\n"
        "    client.lock('l', ttl=600).acquire()\n"
        "    print('waiting', flush=True)\n"
        "    client.lock('l', ttl=600).acquire()\n"
    )
    machine = cluster_in_thread.machine
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"waiting\n"
        while machine.key_count < 2:
            threading.Event().wait(0.001)
        os.kill(process.pid, signal.SIGINT)
        process.communicate(timeout=30)
    assert machine.key_count == 1
