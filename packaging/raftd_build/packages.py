"""The .deb and the .rpm, from one staged tree, by nfpm: neither needs the other distribution's tools, or root."""

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from raftd_build.source import ROOT, Source
from raftd_build.stage import MAINTAINER, Layout, Stage, debian_changelog
from raftd_build.tools import run_tool

REVISION: Final = "1"
_PACK_SECONDS_MAX: Final = 120
_DEB: Final = Layout("usr/lib/python3/dist-packages", is_on_path=True, units="lib/systemd/system", installer="debian")
_RPM: Final = Layout("usr/lib/raftd", is_on_path=False, units="usr/lib/systemd/system", installer="rpm")
"""Fedora has a directory of modules for each version of Python, so that there a package that fits all has its own."""
_DEB_NAMES: Final = {
    "aiohttp": "python3-aiohttp",
    "click": "python3-click",
    "cryptography": "python3-cryptography",
    "prometheus-client": "python3-prometheus-client",
    "PyYAML": "python3-yaml",
    "uvloop": "python3-uvloop",
}
_RPM_NAMES: Final = {**_DEB_NAMES, "prometheus-client": "python3-prometheus_client", "PyYAML": "python3-pyyaml"}
_PYTHON_FLOOR: Final = "3.11"
_DEB_SCRIPTS: Final = {"postinstall": "postinst", "preremove": "prerm", "postremove": "postrm"}
_RPM_SCRIPTS: Final = {"postinstall": "post", "preremove": "preun", "postremove": "postun"}
_SYNOPSIS: Final = "Raft-replicated key-value daemon"
_LONG_DESCRIPTION: Final = """\
raftd keeps keys and values on three or five machines that agree by Raft on
every write: who is the leader, where is the service, how is it configured.
A write that was acknowledged is on the disks of a majority.
This package holds the daemon, the command raftctl and the Python client."""


def build_deb(target: Path, scratch: Path, source: Source) -> Path:
    """Build the Debian package into `target`, and return its path; `scratch` is an empty directory for the work.

    Raises:
        BuildError: a tool failed.
    """
    version = f"{source.version}-{REVISION}"
    stage = Stage(scratch, source, _DEB)
    stage.add_compressed("usr/share/doc/raftd/changelog.Debian", debian_changelog(source, version).encode())
    stage.add("usr/share/lintian/overrides/raftd", (ROOT / "packaging/deb/lintian-overrides").read_bytes())
    depends = [f"python3 (>= {_PYTHON_FLOOR})", "systemd (>= 252)"]
    depends += [f"{_DEB_NAMES[name]} (>= {floor})" for name, floor in source.floors.items()]
    return _pack(
        target / f"raftd_{version}_all.deb",
        scratch,
        stage,
        {
            **_facts(source, depends),
            "arch": "all",
            "section": "database",
            "priority": "optional",
            "scripts": {kind: str(ROOT / "packaging/deb" / name) for kind, name in _DEB_SCRIPTS.items()},
            "deb": {"compression": "xz"},
        },
    )


def build_rpm(target: Path, scratch: Path, source: Source) -> Path:
    """Build the RPM package, as `build_deb` does the other."""
    stage = Stage(scratch, source, _RPM)
    depends = [f"python3 >= {_PYTHON_FLOOR}", "systemd >= 252"]
    depends += [f"{_RPM_NAMES[name]} >= {floor}" for name, floor in source.floors.items()]
    return _pack(
        target / f"raftd-{source.version}-{REVISION}.noarch.rpm",
        scratch,
        stage,
        {
            **_facts(source, depends),
            "arch": "noarch",
            "scripts": {kind: str(ROOT / "packaging/rpm" / name) for kind, name in _RPM_SCRIPTS.items()},
            "rpm": {"summary": _SYNOPSIS, "buildhost": "localhost", "compression": "xz"},
        },
    )


def _facts(source: Source, depends: list[str]) -> dict[str, Any]:
    return {
        "name": "raftd",
        "platform": "linux",
        "version": source.version,
        "version_schema": "none",
        "release": REVISION,
        "maintainer": MAINTAINER,
        "license": "Apache-2.0",
        "description": f"{_SYNOPSIS}\n{_LONG_DESCRIPTION}",
        "depends": depends,
        "mtime": datetime.fromtimestamp(source.epoch, UTC).isoformat(),
    }


def _pack(package: Path, scratch: Path, stage: Stage, facts: Mapping[str, Any]) -> Path:
    contents = [
        {
            "src": str(content.source),
            "dst": str(path),
            "file_info": {"mode": content.mode, "mtime": facts["mtime"], "owner": "root", "group": "root"},
        }
        for path, content in stage.contents.items()
    ]
    # JSON is YAML, and needs no library that would have a style of its own.
    description = scratch / "nfpm.yaml"
    description.write_text(json.dumps({**facts, "contents": contents}, indent=1))
    package.parent.mkdir(parents=True, exist_ok=True)
    kind = package.suffix.removeprefix(".")
    nfpm = str(Path(sys.executable).with_name("nfpm"))
    run_tool(
        [nfpm, "package", "--config", str(description), "--packager", kind, "--target", str(package)],
        seconds=_PACK_SECONDS_MAX,
    )
    return package
