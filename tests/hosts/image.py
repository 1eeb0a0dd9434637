"""The file system that all hosts start from: a small Debian of this machine's release.

It is made once, and kept outside of the tree. A host's own changes lie in a layer above it, so nothing writes to it.
Its name holds a hash of what it was made from; what has another name is of an older list, and may be deleted any time.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

BUILD_SECONDS_MAX: Final = 900
_SYSTEM: Final = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "libpam-systemd",
    "openssh-server",
    "iproute2",
    "iputils-ping",
    "nftables",
    "procps",
    "sudo",
    "curl",
    "ca-certificates",
    "bash-completion",
)
_RAFTD_NEEDS: Final = (
    "python3-aiohttp",
    "python3-click",
    "python3-cryptography",
    "python3-prometheus-client",
    "python3-uvloop",
    "python3-yaml",
)
"""Hosts have no way out, so what a package depends on has to be there before."""
_ANSIBLE_NEEDS: Final = ("python3", "python3-apt", "python3-packaging", "python3-venv")
_TESTS_NEED: Final = ("rpm",)
"""No host of this kind would have it: the other package's scripts are run by it."""
_EMPTIED: Final = ("etc/machine-id", "etc/resolv.conf")
_REMOVED: Final = ("var/cache/apt/archives/*.deb", "etc/ssh/ssh_host_*", "var/lib/dbus/machine-id")
_MASKED: Final = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dev-hugepages.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "man-db.timer",
    "systemd-modules-load.service",
)
"""Units that would only cost time, or cannot work in a container."""


def cache_directory(environment: Mapping[str, str] | None = None) -> Path:
    """Where images are kept: RAFTD_HOSTS_CACHE, or the user's cache."""
    environment = os.environ if environment is None else environment
    if own := environment.get("RAFTD_HOSTS_CACHE"):
        return Path(own)
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "raftd-hosts"


def image() -> Path:
    """The image's directory; made now if it is not there, which takes less than a minute and needs Debian's mirrors.

    Raises:
        subprocess.CalledProcessError: mmdebstrap failed; it has said why on standard error.
        subprocess.TimeoutExpired: it took longer than BUILD_SECONDS_MAX.
    """
    cache = cache_directory().resolve()
    cache.mkdir(parents=True, exist_ok=True)
    made = cache / f"{_suite()}-{_recipe_hash()}"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.is_dir():
            unfinished = made.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            _bootstrap(unfinished)
            _prepare(unfinished)
            unfinished.rename(made)
    return made


def _suite() -> str:
    return platform.freedesktop_os_release()["VERSION_CODENAME"]


def _recipe_hash() -> str:
    recipe = (_SYSTEM, _RAFTD_NEEDS, _ANSIBLE_NEEDS, _TESTS_NEED, _EMPTIED, _REMOVED, _MASKED)
    return hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]


def _bootstrap(root: Path) -> None:
    sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    debian = [str(path) for path in sources if path.is_file() and "debian" in path.read_text(errors="replace")]
    command = [
        *("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--components=main"),
        f"--include={','.join(_SYSTEM + _RAFTD_NEEDS + _ANSIBLE_NEEDS + _TESTS_NEED)}",
        *(_suite(), str(root), *debian),
    ]
    build = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        code = build.wait(BUILD_SECONDS_MAX)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(build.pid, signal.SIGKILL)
        build.wait()
        raise
    if code:
        raise subprocess.CalledProcessError(code, command)


def _prepare(root: Path) -> None:
    """Make a template of a system: without an identity, without names from outside, without work of its own."""
    root.chmod(0o755)
    for pattern in _REMOVED:
        for path in root.glob(pattern):
            path.unlink()
    for name in _EMPTIED:
        (root / name).write_text("")
    for unit in _MASKED:
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
