"""Say what of raftd a host has, as JSON. Nothing is changed; what is not there is null."""

import contextlib
import grp
import hashlib
import json
import os
import platform
import pwd
import re
import stat
import struct
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

SETTINGS = Path("/etc/raftd/raftd.yaml")
CLIENT_SETTINGS = Path("/etc/raftd/raftctl.yaml")
FOUNDED = Path("/etc/raftd/founded")
PKI = Path("/etc/raftd/pki")
DATA = Path("/var/lib/raftd")
CURRENT = Path("/opt/raftd/current")
PREVIOUS = (Path("/opt/raftd/previous"), Path("/var/cache/raftd/previous.deb"))
ROOT = Path("/")
FILES = (
    "etc/raftd/*.yaml",
    "etc/systemd/system/raftd*.*",
    "etc/tmpfiles.d/raftd.conf",
    "usr/lib/systemd/catalog/raftd.catalog",
    "var/cache/raftd/*.deb",
)
DIRECTORIES = ("etc/raftd", "etc/raftd/pki", "var/cache/raftd")
USER = "raftd"
UNITS = ("raftd@{}.service", "raftd-certs@{}.timer", "raftd-backup@{}.timer")
ASK_SECONDS = 20
UNAVAILABLE, TLS, UNHEALTHY = 5, 7, 8
"""Exit codes of raftctl."""
WHY_NOT = {"is_tls": False, "is_denied": False}
"""Whether the operator was not let in: for certificates, or for what raftd.yaml says of access."""
DENIED = "grant this user no such right"
"""In what raftctl says of a node whose settings do not let the operator do it."""
IDENTITY = struct.Struct("<8sI16sQI")
"""Of a data directory; raftd/storage/data_directory.py describes it."""


def main() -> None:
    """Look, for a node of a cluster; the second argument is what time it is on the controller."""
    node, controller_seconds, cluster_id = sys.argv[1], float(sys.argv[2]), sys.argv[3]
    print(json.dumps(facts(node, controller_seconds, cluster_id)))


def facts(node: str, controller_seconds: float, cluster_id: str) -> dict[str, object]:
    """What there is of the node, as the playbooks ask for it."""
    settings = read(SETTINGS) or ""
    data = DATA / node
    has_data = (data / "identity").is_file()  # without it the directory is new, whatever a mount may have put there
    system = platform.freedesktop_os_release()
    founded, written_id = read(FOUNDED), found(r"^  id: (\S+)$", settings)
    statuses, unasked, is_refused = (
        status(int(node), {cluster_id, written_id} - {"", None}) if has_data else ([], None, False)
    )
    states = units(node)
    return {
        "system": f"{system['ID']} {system.get('VERSION_ID', '')}",
        "has_systemd": Path("/run/systemd/system").is_dir(),
        "clock_differs": round(time.time() - controller_seconds),
        "clock_is_kept": said("timedatectl", "show", "--property=NTPSynchronized", "--value") == "yes",
        "package": package(),
        "release": CURRENT.resolve().name if CURRENT.is_symlink() else None,
        "previous": previous(),
        "program": (said(program("raftd"), "--version") or "").removeprefix("raftd ") or None,
        "cluster_id": written_id,
        "cluster_name": found(r"^  name: (\S+)$", settings),
        "nodes": nodes(settings),
        "founded": founded,
        "recovering": recovering(data, cluster_id, written_id, founded),
        "has_data": has_data,
        "units": states,
        "is_active": states.get(UNITS[0].format(node), "").endswith((" active", " reloading")),
        "status": statuses,
        "unasked": unasked,
        "unread": unread(node, statuses, is_refused=is_refused),
        "files": {path.name: told for path, told in described(PKI, "*")}
        | {f"/{path.relative_to(ROOT)}": told for pattern in FILES for path, told in described(ROOT, pattern)},
        "directories": directories(),
        "account": account(),
    }


def nodes(settings: str) -> list[object]:
    """The lines of `nodes` in raftd.yaml, as the role writes them; others are not its own."""
    found = []
    for line in re.findall(r'^  - (\{"id".*\})$', settings, re.MULTILINE):
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def recovering(data: Path, cluster_id: str, written_id: str | None, founded: str | None) -> str | None:
    """The id of the new cluster that `raftd recover` has made of this one's data, until recover-quorum.yml is done.

    The data has it first, then raftd.yaml, and last /etc/raftd/founded. Where neither of these has the id that is asked
    about, the host belongs to another cluster.
    """
    try:
        fields = IDENTITY.unpack((data / "identity").read_bytes())
    except (OSError, struct.error):
        return None
    data_id = str(uuid.UUID(bytes=fields[2]))
    is_begun = data_id not in (cluster_id, founded) and cluster_id in (written_id, founded)
    return data_id if is_begun else None


def status(node: int, clusters: set[str | None]) -> tuple[list[dict[str, Any]], dict[str, object] | None, bool]:
    """What the nodes say that answer; why none could be asked, where it is not that none is there; and a third thing.

    That is whether this very node, or all that are there, let the operator not in: then it has read something wrong.
    Nodes of other clusters than `clusters` have nothing to say here, of which there is at least one, if any is known.
    """
    command = (program("raftctl"), "--config", str(CLIENT_SETTINGS), "--timeout", "3s", "status", "--output", "json")
    ended = ran(*command)
    if ended is None:
        return [], {"code": None, "error": f"{command[0]} cannot be run, or takes too long", **WHY_NOT}, False
    rows: list[dict[str, Any]] = []
    with contextlib.suppress(ValueError):
        rows = json.loads(ended.stdout or "[]")
    if ended.returncode in (0, UNHEALTHY):
        answers = [row["status"] for row in rows if "status" in row]
        own = [answer for answer in answers if answer["cluster_id"] in clusters or not clusters]
        if own or not answers:
            words = " ".join(str(row.get("health")) for row in rows if row.get("node") == node and "status" not in row)
            return own, None, DENIED in words or "certificate" in words
        endpoint = next(row["endpoint"] for row in rows if "status" in row)
        strange = f"{endpoint} answers for another cluster, {answers[0]['cluster_id']}"
        return [], {"code": ended.returncode, "error": strange, **WHY_NOT}, False
    # Of nodes that are down, and others that do not accept a certificate, the exit code is that of nobody being there.
    reasons = [str(row.get("health")) for row in rows] + ended.stderr.strip().splitlines()[-1:]
    refused = [reason for reason in reasons if ended.returncode == TLS or "certificate" in reason]
    denied = [reason for reason in reasons if DENIED in reason]
    if ended.returncode == UNAVAILABLE and not refused and not denied:
        return [], None, False
    error = (refused or denied or reasons or ["it says nothing"])[0]
    why = {"code": ended.returncode, "error": error, "is_tls": bool(refused), "is_denied": bool(denied)}
    return [], why, bool(refused or denied)


def unread(node: str, statuses: list[dict[str, Any]], *, is_refused: bool) -> list[str]:
    """The node's files that have changed since it read them last, or may have where the operator is not let in.

    Told by the time of the change, which nobody sets back, and the time of the node's last reload, or start.
    """
    own = next((each for each in statuses if each["node_id"] == int(node)), None)
    if own is None and not is_refused:
        return []
    read_seconds = own["configuration"]["reloaded_seconds"] if own is not None else 0.0
    changed = []
    for path in (SETTINGS, *sorted(PKI.glob("*-ca.crt")), *sorted(PKI.glob(f"node-{node}.*"))):
        with contextlib.suppress(OSError):
            if changed_seconds(path) > read_seconds:
                changed.append(path.name)
    return changed


def changed_seconds(path: Path) -> float:
    """When a file was written, or took its name, last, since the epoch."""
    return path.stat().st_ctime


def units(node: str) -> dict[str, str]:
    """The node's units, each with how it starts at boot and what it does now: `enabled active`."""
    names = [name.format(node) for name in UNITS]
    told = said("systemctl", "show", "--property=Id,UnitFileState,ActiveState", *names) or ""
    shown = [dict(line.split("=", 1) for line in unit.splitlines()) for unit in told.split("\n\n") if unit]
    return {unit["Id"]: f"{unit['UnitFileState']} {unit['ActiveState']}" for unit in shown}


def directories() -> dict[str, str]:
    """Owner, group and mode of the directories that are there; a link is none, wherever it leads."""
    found = {}
    for name in DIRECTORIES:
        with contextlib.suppress(OSError):
            about = (ROOT / name).lstat()
            if stat.S_ISDIR(about.st_mode):
                found[f"/{name}"] = f"{owners(about)} {about.st_mode & 0o7777:04o}"
    return found


def account() -> str | None:
    """The node's user, as passwd(5) has it, but with the name of its group instead of numbers."""
    with contextlib.suppress(KeyError):
        user = pwd.getpwnam(USER)
        return f"{grp.getgrgid(user.pw_gid).gr_name}:{user.pw_gecos}:{user.pw_dir}:{user.pw_shell}"
    return None


def package() -> str | None:
    """The version of the package, if it is installed, and whole: dpkg knows that of a removed one, too."""
    told = said("dpkg-query", "--show", "--showformat=${db:Status-Abbrev}|${Version}", "raftd") or ""
    state, _, version = told.partition("|")
    # Wanted, status, error (dpkg-query(1)); one that is held is wanted in another way, and as installed as any.
    return version if state[1:].strip() == "i" else None


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


def described(place: Path, pattern: str) -> list[tuple[Path, str]]:
    """Owner, group, mode and checksum of the regular files there; a link is none, wherever it leads."""
    found = []
    for path in sorted(place.glob(pattern)):
        with contextlib.suppress(OSError):  # it is gone meanwhile
            about = path.lstat()
            if stat.S_ISREG(about.st_mode):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                found.append((path, f"{owners(about)} {about.st_mode & 0o7777:04o} {digest}"))
    return found


def owners(about: os.stat_result) -> str:
    """Whose a file is, `user:group`; the number of one that has no name."""
    user, group = str(about.st_uid), str(about.st_gid)
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(about.st_uid).pw_name
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(about.st_gid).gr_name
    return f"{user}:{group}"


def said(*command: str) -> str | None:
    """What a program wrote that ended well."""
    ended = ran(*command)
    return ended.stdout.strip() if ended is not None and ended.returncode == 0 else None


def ran(*command: str) -> subprocess.CompletedProcess[str] | None:
    """How a program ended that can be run here, and ends in time."""
    try:
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=ASK_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None


def read(path: Path) -> str | None:
    """A file's text."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def found(pattern: str, text: str) -> str | None:
    """What the pattern's group has."""
    match = re.search(pattern, text, re.MULTILINE)
    return match[1].strip('"') if match else None


if __name__ == "__main__":
    main()
