"""Wheels of raftd and of everything that it needs, for hosts without a way out.

    pip install --no-index --find-links wheelhouse -c wheelhouse/constraints.txt raftd

The wheels fit the Python that builds them and, if they are compiled, this machine's kind of processor.
"""

import hashlib
import shutil
import sys
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Final
from zipfile import Path as ZipPath

from raftd_build import sbom
from raftd_build.source import ROOT, Source
from raftd_build.stage import build_wheel
from raftd_build.tools import run_tool

_CONSTRAINTS: Final = ROOT / "packaging" / "constraints.txt"
_DOWNLOAD_SECONDS_MAX: Final = 600


def build_wheelhouse(target: Path, scratch: Path, source: Source) -> Path:
    """Fill `target`/wheelhouse, which is removed first, and return it.

    Besides the wheels it holds `constraints.txt` (`name==version`, nothing else), SHA256SUMS, and an SBOM.

    Raises:
        BuildError: pip could not get a wheel.
    """
    filled = scratch / "wheelhouse"
    wheel = build_wheel(filled, source)
    run_tool(
        [
            *(sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input"),
            *("--only-binary=:all:", "--constraint", str(_CONSTRAINTS), "--dest", str(filled), str(wheel)),
        ],
        seconds=_DOWNLOAD_SECONDS_MAX,
    )
    wheels = sorted(filled.glob("*.whl"))
    parts = [_part(path) for path in wheels]
    constraints = "".join(f"{part.name}=={part.version}\n" for part in parts if part.name != "raftd")
    (filled / "constraints.txt").write_text(constraints)
    (filled / "raftd.cdx.json").write_text(sbom.document(source, parts))
    sums = "".join(f"{part.sha256}  {path.name}\n" for part, path in zip(parts, wheels, strict=True))
    (filled / "SHA256SUMS").write_text(sums)
    house = target / "wheelhouse"
    shutil.rmtree(house, ignore_errors=True)
    shutil.copytree(filled, house)
    return house


def _part(wheel: Path) -> sbom.Part:
    (metadata,) = (path for path in ZipPath(wheel).iterdir() if path.name.endswith(".dist-info"))
    distribution = PathDistribution(metadata)
    return sbom.Part.of(distribution, hashlib.sha256(wheel.read_bytes()).hexdigest())
