"""Say what package a file is, as JSON: runs on the controller, which need not be a Debian.

A .deb is an ar(5) archive of control.tar.*, which has a file `control`, and data.tar.*; see deb(5). A wheelhouse is a
directory with the wheel of raftd and the checksums of all wheels.
"""

import hashlib
import io
import json
import re
import sys
import tarfile
from pathlib import Path

AR_MAGIC = b"!<arch>\n"
AR_HEADER_BYTES = 60
AR_HEADER_END = b"`\n"
CONTROLS = ("control.tar.gz", "control.tar.xz", "control.tar.bz2", "control.tar")


class WrongPackageError(Exception):
    """What is wrong with it."""


def main() -> None:
    """Look at the file or directory that is named first."""
    path = Path(sys.argv[1])
    try:
        facts = of_wheelhouse(path) if sys.argv[2] == "wheelhouse" else of_deb(path)
    except WrongPackageError as error:
        facts = {"mistake": str(error)}
    except OSError as error:
        facts = {"mistake": f"{path} cannot be read: {error.strerror}"}
    print(json.dumps(facts))


def of_deb(path: Path) -> dict[str, str]:
    """Name, version and checksum of a .deb."""
    content = path.read_bytes()
    fields = dict(re.findall(r"^(\S+): (.*)$", _control(path, content), re.MULTILINE))
    if fields.get("Package") != "raftd":
        raise WrongPackageError(f"{path} is the package {fields.get('Package')}, not raftd")
    return {
        "version": fields["Version"],
        "file": f"raftd_{fields['Version']}_{fields['Architecture']}.deb",
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _control(path: Path, content: bytes) -> str:
    if not content.startswith(AR_MAGIC):
        raise WrongPackageError(f"{path} is no Debian package")
    members = _members(content)
    control = next((members[name] for name in CONTROLS if name in members), None)
    if control is not None and any(name.startswith("data.tar") for name in members):
        with tarfile.open(fileobj=io.BytesIO(control)) as archive:
            for entry in archive:
                file = archive.extractfile(entry)
                if entry.name.removeprefix("./") == "control" and file is not None:
                    return file.read().decode()
    raise WrongPackageError(f"{path} is cut off, or no Debian package that can be read here")


def _members(content: bytes) -> dict[str, bytes]:
    """The files of an ar(5) archive; none of one that is not whole.

    A package whose end is missing would be refused by apt, but on a host, and after that was changed.
    """
    members = {}
    place = len(AR_MAGIC)
    while place < len(content):
        header = content[place : place + AR_HEADER_BYTES]
        if not header.endswith(AR_HEADER_END):
            return {}
        name, size = header[:16].decode("ascii", "replace").strip().rstrip("/"), int(header[48:58])
        place += AR_HEADER_BYTES
        if place + size > len(content):
            return {}
        members[name] = content[place : place + size]
        place += size + size % 2
    return members


def of_wheelhouse(path: Path) -> dict[str, str]:
    """The version of raftd in a wheelhouse whose wheels are all as they were made."""
    if not path.is_dir():
        raise WrongPackageError(f"{path} is no directory")
    wheels = sorted(wheel.name for wheel in path.glob("raftd-*.whl"))
    if len(wheels) != 1:
        raise WrongPackageError(f"{path} should have one wheel of raftd, and has {len(wheels)}")
    sums = (path / "SHA256SUMS").read_text().splitlines()
    for line in sums:
        digest, _, name = line.partition("  ")
        if hashlib.sha256((path / name).read_bytes()).hexdigest() != digest:
            raise WrongPackageError(f"{path / name} is not what SHA256SUMS says")
    return {"version": wheels[0].split("-")[1]}


if __name__ == "__main__":
    main()
