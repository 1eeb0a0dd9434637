"""Say what of raftd a host has, as JSON. Nothing is changed; what is not there is null."""

import grp
import hashlib
import json
import platform
import pwd
import re
import subprocess
import sys
import time
from pathlib import Path

SETTINGS = Path("/etc/raftd/raftd.yaml")
FOUNDED = Path("/etc/raftd/founded")
PKI = Path("/etc/raftd/pki")
DATA = Path("/var/lib/raftd")
CURRENT = Path("/opt/raftd/current")
PREVIOUS = (Path("/opt/raftd/previous"), Path("/var/cache/raftd/previous.deb"))
SYSTEM_FILES = ("etc/systemd/system/raftd*.*", "etc/tmpfiles.d/raftd.conf", "usr/lib/systemd/catalog/raftd.catalog")
ASK_SECONDS = 20


def main() -> None:
    """Look, for the node that is named first; the second is what time it is on the controller."""
    node, controller_seconds = sys.argv[1], float(sys.argv[2])
    settings = read(SETTINGS) or ""
    data = DATA / node
    has_data = data.is_dir() and any(data.iterdir())
    system = platform.freedesktop_os_release()
    facts = {
        "system": f"{system['ID']} {system.get('VERSION_ID', '')}",
        "has_systemd": Path("/run/systemd/system").is_dir(),
        "clock_differs": round(time.time() - controller_seconds),
        "clock_is_kept": said("timedatectl", "show", "--property=NTPSynchronized", "--value") == "yes",
        "package": said("dpkg-query", "--show", "--showformat=${Version}", "raftd"),
        "release": CURRENT.resolve().name if CURRENT.is_symlink() else None,
        "previous": previous(),
        "program": (said(program("raftd"), "--version") or "").removeprefix("raftd ") or None,
        "cluster_id": found(r"^  id: (\S+)$", settings),
        "cluster_name": found(r"^  name: (\S+)$", settings),
        "nodes": [json.loads(line) for line in re.findall(r'^  - (\{"id".*\})$', settings, re.MULTILINE)],
        "founded": read(FOUNDED),
        "has_data": has_data,
        "is_active": said("systemctl", "is-active", f"raftd@{node}") is not None,
        "status": status() if has_data else [],
        "files": {path.name: description(path) for path in sorted(PKI.glob("*"))}
        | {str(path): description(path) for pattern in SYSTEM_FILES for path in sorted(Path("/").glob(pattern))},
    }
    print(json.dumps(facts))


def status() -> list[dict[str, object]]:
    """What the nodes say that answer."""
    text = said(program("raftctl"), "--timeout", "3s", "status", "--output", "json", codes=(0, 8))
    return [row["status"] for row in json.loads(text or "[]") if "status" in row]


def previous() -> str | None:
    """The version that an upgrade has left here to go back to: a release, or a package."""
    for link in PREVIOUS:
        if link.is_symlink() and link.exists():
            name = link.resolve().name
            return name.split("_")[1] if name.endswith(".deb") else name
    return None


def program(name: str) -> str:
    """Where a program is."""
    return str(CURRENT / "bin" / name) if CURRENT.is_symlink() else name


def description(path: Path) -> str:
    """Owner, group, mode and checksum of a file."""
    about = path.lstat()
    owner, group = pwd.getpwuid(about.st_uid).pw_name, grp.getgrgid(about.st_gid).gr_name
    return f"{owner}:{group} {about.st_mode & 0o7777:04o} {hashlib.sha256(path.read_bytes()).hexdigest()}"


def said(*command: str, codes: tuple[int, ...] = (0,)) -> str | None:
    """What a program wrote that ended well."""
    try:
        ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=ASK_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout.strip() if ended.returncode in codes else None


def read(path: Path) -> str | None:
    """A file's text."""
    try:
        return path.read_text().strip()
    except OSError:
        return None


def found(pattern: str, text: str) -> str | None:
    """What the pattern's group has."""
    match = re.search(pattern, text, re.MULTILINE)
    return match[1].strip('"') if match else None


if __name__ == "__main__":
    main()
