from pathlib import Path

import pytest

from raftd import pki


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A certificate directory of the cluster `demo` with node 1 and the user admin."""
    directory = tmp_path / "pki"
    pki.create_authorities(directory, "demo")
    pki.issue_node(directory, 1, ["localhost", "127.0.0.1", "::1"])
    pki.issue_user(directory, "admin")
    return directory
