"""Certificates, authorities and grants change while the cluster runs, and nobody who may go on notices."""

import asyncio
import dataclasses
import shutil
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from raftd.client import AsyncClient, ClientError, ClientTls, Denied, NotPossible, TlsError, Unavailable
from raftd.pki import (
    AuthorityName,
    authority_files,
    create_authorities,
    describe,
    describe_all,
    issue_node,
    issue_user,
    node_files,
    renew,
    user_files,
)
from raftd.pki.rotation import reissue, trust_both, trust_new
from raftd.settings import AccessLine, render
from tests.e2e.cluster import USER, Cluster, own_address, until, until_found
from tests.e2e.conftest import MakeCluster
from tests.e2e.test_membership import raftctl
from tests.e2e.workload import check_exactly_once, more_writes, writing

pytestmark = pytest.mark.e2e

PORTS: Final[tuple[AuthorityName, ...]] = ("peer", "client")


@pytest.fixture
def own_pki(pki: Path, tmp_path: Path) -> Path:
    """A copy of the certificates that a test may change."""
    return Path(shutil.copytree(pki, tmp_path / "own-pki"))


def tls_of(pki: Path, user: str = USER) -> ClientTls:
    files = user_files(pki, user)
    return ClientTls(authority_files(pki, "client").certificate, files.certificate, files.key)


async def reload_all(cluster: Cluster) -> None:
    """What `raftctl reload` does."""
    async with cluster.client() as client:
        for node in cluster.nodes.values():
            await client.reload(node.endpoint)


async def links_stand(cluster: Cluster) -> None:
    """Wait until each node reaches each other one."""

    async def find() -> bool:
        statuses = (await cluster.statuses()).values()
        return len(statuses) == len(cluster.nodes) and all(
            peer["connected"] for status in statuses for peer in status["peers"]
        )

    await until_found(find, "all links stand")


async def check_served(cluster: Cluster, pki: Path) -> None:
    """Each port serves the certificate that is in the directory, and each node trusts the authorities there."""
    for row in await raftctl(cluster, "cert", "status"):
        assert row["fingerprint"] == describe(pki / f"node-{row['node']}.{row['port']}.crt").fingerprint, row
        trusted = [each.fingerprint for each in describe_all(pki / f"{row['port']}-ca.crt")]
        assert row["trusted_fingerprints"] == trusted
        assert row["issuer"] in trusted


@pytest.mark.timeout(120)
def test_certificates_and_authorities_rotate_under_load(
    make_cluster: MakeCluster, own_pki: Path, tmp_path: Path
) -> None:
    """Leaves, then both authorities in three steps: no write fails, and who was left behind is cut off."""

    async def scenario() -> None:
        cluster = make_cluster(pki=own_pki)
        await cluster.start()
        await cluster.leader()
        stale = Path(shutil.copytree(own_pki, tmp_path / "stale-pki"))
        async with (
            writing(cluster) as writers,
            AsyncClient(cluster.endpoints, tls=tls_of(stale), timeout=5.0) as left_behind,
        ):
            await left_behind.put("left behind", "1")
            for node_id in cluster.nodes:
                for port in PORTS:
                    renew(own_pki, node_files(own_pki, node_id, port), port)
            await reload_all(cluster)
            await more_writes(writers, 200)
            for step in (trust_both, reissue):
                for port in PORTS:
                    step(own_pki, port)
                await reload_all(cluster)
                await more_writes(writers, 200)
            term = await cluster.term()
            # Its node was told nothing, and it trusts the old authority only; on what stands it goes on.
            await left_behind.put("left behind", "2")
            for port in PORTS:
                trust_new(own_pki, port)
            await reload_all(cluster)
            await until_found(lambda: fails(left_behind), "who was left behind is cut off")
            await more_writes(writers, 500)
            await links_stand(cluster)
            await check_served(cluster, own_pki)
            assert await cluster.term() == term, "a rotation costs no leader its lead"
        await check_exactly_once(cluster, writers, other_writes=2)

    asyncio.run(scenario())


async def fails(client: AsyncClient) -> bool:
    try:
        await client.get("left behind")
    except (TlsError, Unavailable):
        return True
    return False


def expired(pki: Path, _: Path) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=800)
    issue_node(pki, 1, [own_address()], overwrite=True, now=long_ago)


def of_another_cluster(pki: Path, elsewhere: Path) -> None:
    create_authorities(elsewhere, "other")
    issue_node(elsewhere, 1, [own_address()])
    for port in PORTS:
        for name in ("certificate", "key"):
            shutil.copy(getattr(node_files(elsewhere, 1, port), name), getattr(node_files(pki, 1, port), name))


def of_a_stranger(pki: Path, elsewhere: Path) -> None:
    create_authorities(elsewhere, "e2e")
    issue_node(elsewhere, 1, [own_address()])
    for name in ("certificate", "key"):
        shutil.copy(getattr(node_files(elsewhere, 1, "peer"), name), getattr(node_files(pki, 1, "peer"), name))


def half_replaced(pki: Path, _: Path) -> None:
    shutil.copy(node_files(pki, 2, "client").key, node_files(pki, 1, "client").key)


def damaged(pki: Path, _: Path) -> None:
    path = authority_files(pki, "client").certificate
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize("spoil", [expired, of_another_cluster, of_a_stranger, half_replaced, damaged])
def test_bad_certificates_are_refused_and_the_node_goes_on(
    make_cluster: MakeCluster, own_pki: Path, tmp_path: Path, spoil: Callable[[Path, Path], None]
) -> None:
    """By a request and by a signal: one line that names a file; old and new clients are served as before."""

    async def scenario() -> None:
        cluster = make_cluster(1, pki=own_pki)
        await cluster.start()
        (node,) = cluster.nodes.values()
        tls = tls_of(Path(shutil.copytree(own_pki, tmp_path / "good-pki")))
        async with AsyncClient([node.endpoint], tls=tls) as client:
            await client.put("key", "1")
            spoil(own_pki, tmp_path / "elsewhere")
            with pytest.raises(NotPossible) as refused:
                await client.reload(node.endpoint)
            assert "\n" not in str(refused.value)
            assert str(own_pki) in str(refused.value)
            node.signal(signal.SIGHUP)
            await until(lambda: node.recent_log.count("the reload was refused") == 2, "the signal is answered")
            await client.put("key", "2")
            async with AsyncClient([node.endpoint], tls=tls) as another:
                found = await another.get("key")
                assert found is not None
                assert found.value == b"2"
        (complaint, *_) = (line for line in node.recent_log.splitlines() if "the reload was refused" in line)
        assert str(own_pki) in complaint

    asyncio.run(scenario())


def grant(cluster: Cluster, *lines: AccessLine) -> None:
    document = dataclasses.replace(cluster.document, access=(*cluster.document.access, *lines))
    for node in cluster.nodes.values():
        node.settings.write_text(render(document))


def test_grants_count_at_once_on_connections_that_stand(make_cluster: MakeCluster, own_pki: Path) -> None:
    """What is given works with the next request, and what is taken away does not, on every node."""
    issue_user(own_pki, "bob")

    async def outcome(client: AsyncClient) -> str:
        try:
            await client.put("bob/key", "value")
        except ClientError as error:
            return type(error).__name__
        return "ok"

    async def scenario() -> None:
        cluster = make_cluster(pki=own_pki)
        await cluster.start()
        await cluster.leader()
        async with AsyncClient(cluster.endpoints, tls=tls_of(own_pki, "bob")) as bob:
            assert await outcome(bob) == Denied.__name__
            for _ in range(2):
                grant(cluster, AccessLine("bob", "bob/", ("read", "write")))
                await reload_all(cluster)
                assert await outcome(bob) == "ok"
                grant(cluster)
                await reload_all(cluster)
                assert await outcome(bob) == Denied.__name__
                with pytest.raises(Denied):
                    await bob.get("bob/key", stale=True)

    asyncio.run(scenario())
