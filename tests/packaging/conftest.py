"""Packages of this tree, built once for all that look at them."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD_SECONDS_MAX = 100
NEWER_VERSION = "99.0.0"


def build(what: str, directory: Path, tree: Path = ROOT, environment: Mapping[str, str] | None = None) -> Path:
    """Build as the Makefile does, with `environment` over this process's own; returns what was built."""
    ended = subprocess.run(
        [sys.executable, "-m", "raftd_build", what, "--directory", str(directory)],
        cwd=tree / "packaging",
        check=False,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS_MAX,
        env={**os.environ, **(environment or {})},
    )
    assert ended.returncode == 0, ended.stderr
    return Path(ended.stdout.strip())


def copy_tree(tree: Path) -> Path:
    """Copy what packages are built from to `tree`, which is not there yet, without its history; returns `tree`."""
    ignored = shutil.ignore_patterns(".*", "build", "dist", "tests", "__pycache__", "raftd-demo")
    shutil.copytree(ROOT, tree, ignore=ignored)
    return tree


def build_newer(directory: Path, what: str = "deb") -> Path:
    """Build what the next version would be, from a copy of the tree with a higher version number."""
    tree = copy_tree(directory / "tree")
    project = tree / "pyproject.toml"
    newer = re.sub(r'(?m)^version = ".*"$', f'version = "{NEWER_VERSION}"', project.read_text())
    project.write_text(newer)
    return build(what, directory, tree)


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
