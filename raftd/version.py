"""Which raftd this is: the package's version, and the commit where that is known."""

import functools
from pathlib import Path

_PACKAGE = Path(__file__).parent


@functools.cache
def version() -> str:
    """Return `0.1.0`, or `0.1.0+1a2b3c4d5e6f` where the commit is known.

    A build writes the commit into `raftd/COMMIT`; in a checkout it is read from git's own files.
    """
    from importlib import metadata  # noqa: PLC0415 - costs 20 ms, which only those who ask shall wait for

    try:
        release = metadata.version("raftd")
    except metadata.PackageNotFoundError:
        release = "0"
    commit = _read(_PACKAGE / "COMMIT") or checkout_commit(_PACKAGE.parent)
    return f"{release}+{commit[:12]}" if commit else release


def checkout_commit(root: Path) -> str | None:
    """The commit that is checked out in `root`, in full; None where `root` is no git checkout."""
    git = root / ".git"
    if (elsewhere := _read(git)) is not None:  # one of several work trees of one repository: gitrepository-layout(5)
        git = root / elsewhere.removeprefix("gitdir: ")
    shared = git / (_read(git / "commondir") or ".")
    head = _read(git / "HEAD")
    if head is None or not head.startswith("ref: "):
        return head
    reference = head.removeprefix("ref: ")
    if loose := _read(shared / reference):
        return loose
    for line in (_read(shared / "packed-refs") or "").splitlines():
        commit, _, name = line.partition(" ")
        if name == reference:
            return commit
    return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except OSError:
        return None
