"""What the blocking client gives out; each recipe's own test has its blocking form."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from raftd.client import Change, Client, ClientError, LeaseNotFound, Put, version
from tests.client.fake import FakeCluster, Pki


@pytest.fixture
def client(cluster_in_thread: FakeCluster, pki: Pki) -> Iterator[Client]:
    with Client(cluster_in_thread.endpoints, tls=pki.user) as made:
        yield made


def test_a_watch_is_an_iterator(client: Client) -> None:
    """Changes come in order, the revision follows what was taken, and closing in another thread ends the loop."""
    with client.watch(prefix="k") as watch:
        assert watch.revision == 0
        client.transaction().then(Put("k1", "1"), Put("k2", "2")).commit()
        client.put("k3", "3")
        first = next(watch)
        assert isinstance(first, Change)
        assert (first.key, watch.revision) == (b"k1", 0)
        assert [next(watch).revision for _ in range(2)] == [1, 2]
        assert watch.revision == 2
        threading.Timer(0.05, watch.close).start()
        assert list(watch) == []
    assert list(watch) == []


def test_a_watch_that_was_not_entered(client: Client) -> None:
    """It begins with the first item that is asked for."""
    client.put("a", "1")
    watch = client.watch("a", revision=1)
    assert watch.revision == 0
    assert next(iter(watch)).revision == 1
    watch.close()


def test_a_watch_outlives_its_client_s_name(cluster_in_thread: FakeCluster, pki: Pki) -> None:
    """Whoever has a watch, lock or lease keeps the thread that serves it."""
    watch = Client(cluster_in_thread.endpoints, tls=pki.user).watch("a")
    with watch, Client(cluster_in_thread.endpoints, tls=pki.user) as client:
        client.put("a", "1")
        assert next(watch).revision == 1


def test_waiting_threads_do_not_hold_up_others(client: Client) -> None:
    """One that waits for a change, and one that waits for a loss, leave the client to all others."""
    with ThreadPoolExecutor(2) as pool, client.lease(ttl=30) as lease, client.watch("a") as watch:
        change = pool.submit(next, watch)
        lost = pool.submit(lease.wait_lost)
        for number in range(5):
            client.put("b", f"{number}")
        client.put("a", "1", lease=lease.id)
        assert change.result(5).revision == 6
        assert lease.revoke() == 1
        assert lost.result(5)
        with pytest.raises(LeaseNotFound):
            lease.keep_alive()


def test_a_lease(client: Client) -> None:
    """As the asynchronous one, blocking."""
    lease = client.grant_lease(30)
    lease.keep_alive()
    assert (lease.ttl, lease.lost, lease.wait_lost(0.01)) == (30, False, False)
    assert 20 < lease.remaining() <= 27
    assert client.keep_lease_alive(lease.id) == 30
    assert client.lease_info(lease.id).ttl == 30
    assert [one.id for one in client.leases()] == [lease.id]
    assert client.revoke_lease(lease.id) == 0
    with client.lease(ttl=5) as lease:
        client.put("a", "1", lease=lease.id)
    assert client.get("a") is None


def test_a_transaction_blocks_when_it_is_committed(client: Client) -> None:
    """Building one sends nothing."""
    transaction = client.transaction().when(version("a") == 0).then(Put("a", "1"))
    assert client.count() == 0
    assert transaction.commit().succeeded
    assert not transaction.commit().succeeded
    nested = client.transaction().then(client.transaction().then(Put("b", "1")))
    assert nested.commit().succeeded


BLOCKS = pytest.mark.parametrize("kind", ["lock", "election", "double barrier", "lease", "watch"])


def block_of(client: Client, kind: str) -> contextlib.AbstractContextManager[object]:
    blocks: dict[str, Callable[[], contextlib.AbstractContextManager[object]]] = {
        "lock": lambda: client.lock("l"),
        "election": lambda: client.election("e"),
        "double barrier": lambda: client.double_barrier("d", 1),
        "lease": lambda: client.lease(30),
        "watch": lambda: client.watch("w"),
    }
    return blocks[kind]()


@BLOCKS
def test_an_error_of_a_block(client: Client, kind: str) -> None:
    """It comes out also where the end of the block fails."""
    with pytest.raises(KeyError), block_of(client, kind):  # noqa: PT012 - the block is what is tested
        client.close()
        raise KeyError


@BLOCKS
def test_the_end_of_a_block(client: Client, kind: str) -> None:
    """A block that ends by itself raises what its end does."""
    with pytest.raises(ClientError, match="closed"), block_of(client, kind):
        client.close()


def test_after_closing(cluster_in_thread: FakeCluster, pki: Pki) -> None:
    """Whatever was given out says that the client is closed; iterators end so too."""
    client = Client(cluster_in_thread.endpoints, tls=pki.user)
    lease, watch, items = client.grant_lease(30), client.watch("a"), client.items()
    client.close()
    for call in (lease.revoke, watch.__enter__, watch.close, client.lock("l").acquire, lambda: next(items)):
        with pytest.raises(ClientError, match="closed"):
            call()
    assert client.lock("l").lost
