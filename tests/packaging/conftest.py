"""Packages of this tree, built once for all that look at them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD_SECONDS_MAX = 100


def build(what: str, directory: Path) -> Path:
    """Build as the Makefile does; returns what was built."""
    ended = subprocess.run(
        [sys.executable, "-m", "raftd_build", what, "--directory", str(directory)],
        cwd=ROOT / "packaging",
        check=False,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS_MAX,
    )
    assert ended.returncode == 0, ended.stderr
    return Path(ended.stdout.strip())


@pytest.fixture(scope="session")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("deb", tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="session")
def rpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("rpm", tmp_path_factory.mktemp("rpm"))


@pytest.fixture(scope="session")
def installed(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package's files, unpacked."""
    root = tmp_path_factory.mktemp("installed")
    subprocess.run(["dpkg-deb", "--extract", str(deb), str(root)], check=True, timeout=60)
    return root
