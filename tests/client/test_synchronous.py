import threading
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
