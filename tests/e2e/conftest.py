"""Clusters for the end-to-end tests, and the certificates that all of them share."""

import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import pytest

from raftd.pki import create_authorities, issue_node, issue_user
from raftd.settings import Document
from tests.e2e.cluster import CLUSTER_NAME, RAFTD, USER, Cluster, own_address

MakeCluster = Callable[..., Cluster]
_FAILED = pytest.StashKey[bool]()
_NODES_MAX = 5
_SHOWN_LOG_LINES = 200


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, None]:
    outcome = yield
    report = outcome.get_result()
    if call.when == "call":
        item.stash[_FAILED] = report.failed


@pytest.fixture(scope="session")
def pki() -> Iterator[Path]:
    """The certificates of five nodes and a user."""
    with tempfile.TemporaryDirectory(prefix="raftd-e2e-pki-") as name:
        directory = Path(name) / "pki"
        create_authorities(directory, CLUSTER_NAME)
        for node_id in range(1, _NODES_MAX + 1):
            issue_node(directory, node_id, [own_address()])
        issue_user(directory, USER)
        yield directory


@pytest.fixture
def make_cluster(pki: Path, request: pytest.FixtureRequest) -> Iterator[MakeCluster]:
    """Makes clusters that end with the test; what they have logged is shown when it fails, and has no tracebacks."""
    clusters: list[Cluster] = []
    # Not tmp_path, of which pytest keeps some: each node has 70 MB on disk.
    with tempfile.TemporaryDirectory(prefix="raftd-e2e-") as name:
        shared = pki

        def make(
            size: int = 3,
            *,
            changes: Callable[[int, Document], Document] | None = None,
            program: Sequence[str] = RAFTD,
            pki: Path = shared,
        ) -> Cluster:
            directory = Path(name) / f"cluster-{len(clusters) + 1}"
            directory.mkdir()
            cluster = Cluster(directory, pki, size, changes=changes, program=program)
            clusters.append(cluster)
            return cluster

        try:
            yield make
        finally:
            for cluster in clusters:
                cluster.close()
        logs = [each for cluster in clusters for each in cluster.logs()]
        if request.node.stash.get(_FAILED, True):
            for node_name, text in logs:
                print(f"--- {node_name}", *text.splitlines()[-_SHOWN_LOG_LINES:], sep="\n")
        for node_name, text in logs:
            assert "Traceback" not in text, f"{node_name} has logged a traceback:\n{text}"
