import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from raftd.client import Client, ClientError, CompareFailed, OutcomeUnknown, TlsError, Unavailable
from raftd.client.tls import ClientTls
from tests.client.fake import FakeCluster, Pki, Silent


@pytest.fixture
def client(cluster_in_thread: FakeCluster, pki: Pki) -> Iterator[Client]:
    with Client(cluster_in_thread.endpoints, tls=pki.user) as made:
        yield made


def test_the_same_surface(client: Client, cluster_in_thread: FakeCluster) -> None:
    """Everything that the asynchronous client does, blocking."""
    endpoint = cluster_in_thread.endpoints[1]
    assert client.put("a", "1").version == 1
    found = client.get("a")
    assert found is not None
    assert found.value == b"1"
    assert client.get("a", stale=True) == found
    with pytest.raises(CompareFailed):
        client.put("a", "2", expected_revision=0)
    assert client.delete("a", expected_revision=found.modify_revision).deleted
    assert client.status(endpoint) == {"node_id": 2}
    assert client.log(endpoint) == {"entries": []}
    assert client.ping(endpoint) >= 0


def test_many_threads_share_one_client(client: Client, cluster_in_thread: FakeCluster) -> None:
    """Threads that add to one counter by compare-and-swap lose nothing, over one connection and session."""
    client.put("counter", "0")

    def add(times: int) -> None:
        while times:
            found = client.get("counter")
            assert found is not None
            try:
                client.put("counter", str(int(found.value) + 1), expected_revision=found.modify_revision)
            except CompareFailed:
                continue
            times -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, [25] * 8))
    found = client.get("counter")
    assert found is not None
    assert found.value == b"200"
    assert cluster_in_thread.machine.session_count == 1
    assert sum(node.accepted_total for node in cluster_in_thread.nodes) <= 2


def test_the_deadline_holds(cluster_in_thread: FakeCluster, pki: Pki) -> None:
    """A blocking call ends when its time is over, too."""
    with Client(cluster_in_thread.endpoints, tls=pki.user, timeout=0.2) as client:
        client.put("a", "1")
        cluster_in_thread.nodes[0].plan.append(Silent())
        with pytest.raises(OutcomeUnknown):
            client.put("a", "2")
        cluster_in_thread.leader = None
        with pytest.raises(Unavailable):
            client.get("a")


def test_errors_of_making_one(pki: Pki, tmp_path: Path) -> None:
    """What is wrong with the arguments is raised where the client is made, and no thread is left."""
    threads = threading.active_count()
    with pytest.raises(TlsError):
        Client(["127.0.0.1:1"], tls=ClientTls(pki.user.cacert, pki.user.cert, tmp_path / "none"))
    assert threading.active_count() == threads


def test_close(cluster_in_thread: FakeCluster, pki: Pki) -> None:
    """A closed client says so; its thread, its connections and its session are gone; closing twice is allowed."""
    threads = threading.active_count()
    client = Client(cluster_in_thread.endpoints, tls=pki.user)
    client.put("a", "1")
    client.close()
    client.close()
    with pytest.raises(ClientError, match="closed"):
        client.get("a")
    assert threading.active_count() == threads
    assert cluster_in_thread.machine.session_count == 0


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
        client._run(call_back())


def test_inside_another_event_loop(client: Client) -> None:
    """The blocking client may be used where an event loop runs, if one accepts that it blocks it."""

    async def use() -> None:
        client.put("a", "1")

    asyncio.run(use())


def test_forked_children_are_told(client: Client) -> None:
    """In a forked child the thread does not exist: a call there is an error, and not a wait for ever."""
    process_id = client._loop_thread._process_id
    client._loop_thread._process_id = process_id + 1
    with pytest.raises(ClientError, match="fork"):
        client.get("a")
    client._loop_thread._process_id = process_id


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
        "print('get' in client._run(names()))\n"
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
