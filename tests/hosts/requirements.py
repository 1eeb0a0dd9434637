"""What a machine needs to run the lab, and what is done where it lacks some of it."""

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_PACKAGES: Final = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "ip": "iproute2",
    "ssh-keygen": "openssh-client",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}
"""By the program that is called, the Debian package that it comes from."""
_FILE_SYSTEMS: Final = ("overlay", "cgroup2")
_TRIAL_SECONDS: Final = 10


def lacking() -> list[str]:
    """Why the lab cannot run here, a reason each; none where it can."""
    reasons = [] if os.geteuid() == 0 else ["namespaces and mounts need root"]
    if not _is_debian():
        reasons.append("the hosts' file system is made from this machine's Debian sources, and this is no Debian")
    packages = {package for program, package in _PACKAGES.items() if shutil.which(program) is None}
    if packages:
        reasons.append(f"missing: apt-get install {' '.join(sorted(packages))}")
    known = Path("/proc/filesystems").read_text().split()
    reasons += [f"the kernel has no {name}" for name in _FILE_SYSTEMS if name not in known]
    return reasons or _trial()


def are_required(environment: Mapping[str, str] | None = None) -> bool:
    """Whether host tests have to fail, not to be skipped, where they cannot run."""
    environment = os.environ if environment is None else environment
    return environment.get("CI") == "true" or environment.get("RAFTD_HOSTS") == "required"


def _is_debian() -> bool:
    try:
        return platform.freedesktop_os_release()["ID"] == "debian"
    except OSError:
        return False


def _trial() -> list[str]:
    """Root of a container may still lack the right to make namespaces: only trying tells."""
    command = ["unshare", "--mount", "--net", "--ipc", "--pid", "--fork", "--mount-proc"]
    tried = subprocess.run(
        [*command, "mount", "-t", "cgroup2", "none", "/sys/fs/cgroup"],
        check=False,
        capture_output=True,
        text=True,
        timeout=_TRIAL_SECONDS,
    )
    return [] if tried.returncode == 0 else [f"no namespaces can be made here: {tried.stderr.strip()}"]
