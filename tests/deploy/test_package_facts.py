"""`deploy/roles/raftd/files/package_facts.py`: what is to be installed, and what is wrong with it."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy/roles/raftd/files/package_facts.py"
CONTROL = "Package: raftd\nVersion: 1.2.3-1\nArchitecture: all\n"
DATA = bytes(100)
COMPRESS: dict[str, Callable[[bytes], bytes]] = {"xz": lzma.compress, "gz": gzip.compress, "bz2": bz2.compress}


def facts(path: Path, kind: str) -> dict[str, Any]:
    """What it says, as the playbooks ask it."""
    ended = subprocess.run(
        [sys.executable, "-I", str(SCRIPT), str(path), kind], check=True, capture_output=True, text=True, timeout=30
    )
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def member(name: str, content: bytes) -> bytes:
    """A file of an ar(5) archive."""
    padding = b"\n" * (len(content) % 2)
    return f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content + padding


def deb(control: str, compression: str = "xz", data: str = "data.tar.zst") -> bytes:
    """A package as far as it matters here: what its data are is nobody's question."""
    archived = io.BytesIO()
    with tarfile.open(fileobj=archived, mode="w") as archive:
        entry = tarfile.TarInfo("./control")
        entry.size = len(control)
        archive.addfile(entry, io.BytesIO(control.encode()))
    packed = COMPRESS[compression](archived.getvalue())
    before = b"!<arch>\n" + member("debian-binary", b"2.0\n") + member(f"control.tar.{compression}", packed)
    return before + member(data, DATA)


@pytest.mark.parametrize("compression", COMPRESS)
def test_a_package_s_version_file_and_checksum(tmp_path: Path, compression: str) -> None:
    """What a .deb says of itself, however its control files are compressed."""
    path = tmp_path / "any.deb"
    path.write_bytes(deb(CONTROL, compression))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts(path, "deb") == {"version": "1.2.3-1", "file": "raftd_1.2.3-1_all.deb", "sha256": digest}


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        (deb(CONTROL.replace("raftd", "etcd")), "is the package etcd, not raftd"),
        (deb(CONTROL)[:100], "is cut off, or no Debian package that can be read here"),
        (deb(CONTROL)[: -len(DATA) - 100], "is cut off, or no Debian package that can be read here"),
        (deb(CONTROL)[: -len(DATA) - 60], "is cut off, or no Debian package that can be read here"),
        (deb(CONTROL)[: -len(DATA) - 20], "is cut off, or no Debian package that can be read here"),
        (deb(CONTROL)[:-20], "is cut off, or no Debian package that can be read here"),
        (deb(CONTROL, data="_other"), "is cut off, or no Debian package that can be read here"),
        (b"!<arch>\n", "is cut off, or no Debian package that can be read here"),
        (b"#!/bin/sh\n", "is no Debian package"),
        (b"", "is no Debian package"),
    ],
)
def test_what_is_no_package_of_raftd(tmp_path: Path, content: bytes, mistake: str) -> None:
    """Another package, one cut anywhere, and what is none are told of in one line that names the file."""
    path = tmp_path / "wrong.deb"
    path.write_bytes(content)
    assert facts(path, "deb") == {"mistake": f"{path} {mistake}"}


def test_a_package_that_is_not_there(tmp_path: Path) -> None:
    """The system's reason is told, not a traceback."""
    path = tmp_path / "absent"
    assert facts(path, "deb") == {"mistake": f"{path} cannot be read: No such file or directory"}
    assert facts(path, "wheelhouse") == {"mistake": f"{path} is no directory"}


def test_a_wheelhouse_s_version(tmp_path: Path) -> None:
    """It is that of the one wheel of raftd, if every wheel is what its checksum says."""
    wheel = tmp_path / "raftd-1.2.3-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    sums = tmp_path / "SHA256SUMS"
    sums.write_text(f"{hashlib.sha256(b'wheel').hexdigest()}  {wheel.name}\n")
    assert facts(tmp_path, "wheelhouse") == {"version": "1.2.3"}
    wheel.write_bytes(b"whee")
    assert facts(tmp_path, "wheelhouse") == {"mistake": f"{wheel} is not what SHA256SUMS says"}
    wheel.unlink()
    assert facts(tmp_path, "wheelhouse") == {"mistake": f"{tmp_path} should have one wheel of raftd, and has 0"}
