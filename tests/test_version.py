import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from raftd.version import checkout_commit, version


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x@x"]
    command = ["git", "-C", str(root), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_version_is_the_package_s() -> None:
    """The version is the installed package's, with the commit where that is known."""
    release, _, commit = version().partition("+")
    assert release == metadata.version("raftd")
    assert commit == "" or len(commit) == 12


def test_the_commit_of_a_checkout(tmp_path: Path) -> None:
    """The commit is git's own answer: on a branch, packed, and detached; in a further work tree too."""
    main, other = tmp_path / "main", tmp_path / "other"
    main.mkdir()
    try:
        git(main, "init", "-q")
    except FileNotFoundError:
        pytest.skip("git is not installed")
    git(main, "commit", "-q", "--allow-empty", "-m", "one")
    git(main, "worktree", "add", "-q", "-b", "branch", str(other))
    git(other, "commit", "-q", "--allow-empty", "-m", "two")
    commits = {tree: git(tree, "rev-parse", "HEAD") for tree in (main, other)}
    assert commits == {tree: checkout_commit(tree) for tree in commits}
    git(main, "pack-refs", "--all")
    assert commits == {tree: checkout_commit(tree) for tree in commits}
    for tree in commits:
        git(tree, "checkout", "-q", "--detach")
    assert commits == {tree: checkout_commit(tree) for tree in commits}


def test_no_checkout_has_no_commit(tmp_path: Path) -> None:
    """An installed package is no checkout, and an empty one has no commit."""
    assert checkout_commit(tmp_path) is None
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    assert checkout_commit(tmp_path) is None
