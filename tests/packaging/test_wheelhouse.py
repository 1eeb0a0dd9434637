"""What a host without a way out is given."""

import hashlib
import json
import re
import subprocess
import sys
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from raftd_build import sbom
from raftd_build.source import Source
from tests.packaging.conftest import ROOT, build

SOURCE = Source("1.2.3", "f" * 40, 1_800_000_000, {})


def part(name: str, *needs: str, version: str = "1") -> sbom.Part:
    return sbom.Part(name, version, "MIT", frozenset(needs), hashlib.sha256(name.encode()).hexdigest())


def test_the_bill_of_materials_names_all_parts_and_who_needs_them() -> None:
    """Each part is a component with its checksum; what is not there is nobody's dependency."""
    parts = [part("raftd", "pyyaml", "dev-tool", version="1.2.3"), part("PyYAML"), part("click_x", "raftd")]
    document = json.loads(sbom.document(SOURCE, parts))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    assert document["metadata"]["component"]["purl"] == "pkg:pypi/raftd@1.2.3"
    assert document["metadata"]["component"]["properties"] == [{"name": "raftd:commit", "value": "f" * 40}]
    assert {component["purl"]: component["hashes"][0]["content"] for component in document["components"]} == {
        "pkg:pypi/pyyaml@1": hashlib.sha256(b"PyYAML").hexdigest(),
        "pkg:pypi/click-x@1": hashlib.sha256(b"click_x").hexdigest(),
    }
    assert {each["ref"]: each["dependsOn"] for each in document["dependencies"]} == {
        "pkg:pypi/raftd@1.2.3": ["pkg:pypi/pyyaml@1"],
        "pkg:pypi/pyyaml@1": [],
        "pkg:pypi/click-x@1": ["pkg:pypi/raftd@1.2.3"],
    }
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", document["serialNumber"])


def test_the_same_parts_make_the_same_bill() -> None:
    """Nothing of the moment or of the machine is in it."""
    parts = [part("raftd", version="1.2.3"), part("click")]
    assert sbom.document(SOURCE, parts) == sbom.document(SOURCE, parts)
    assert sbom.document(SOURCE, parts) != sbom.document(SOURCE, [*parts, part("yarl")])


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("License-Expression: MIT OR Apache-2.0\nLicense: no\n", "MIT OR Apache-2.0"),
        ("License: BSD\n", "BSD"),
        ("Classifier: Topic :: Internet\nClassifier: License :: OSI Approved :: MIT License\n", "MIT License"),
        (f"License: {'long ' * 50}\n", None),
        ("", None),
    ],
)
def test_licences_are_found_in_each_of_their_places(metadata: str, expected: str | None, tmp_path: Path) -> None:
    """The newest way to tell a licence counts first; a licence's whole text is none of them."""
    directory = tmp_path / "x-1.dist-info"
    directory.mkdir()
    (directory / "METADATA").write_text(f"Metadata-Version: 2.1\nName: x\nVersion: 1\n{metadata}\n")
    assert sbom.Part.of(PathDistribution(directory), "").license == expected


def test_constraints_are_names_and_versions_only() -> None:
    """No line of the constraints says where anything is to be had."""
    for line in (ROOT / "packaging" / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"[\w.-]+==[\w.]+", line), line


def test_a_wheelhouse_is_enough(tmp_path: Path) -> None:
    """From the wheelhouse alone raftd can be installed and run; what is in it is summed up, and named in the bill."""
    house = build("wheelhouse", tmp_path)
    wheels = sorted(house.glob("*.whl"))
    sums = [f"{hashlib.sha256(wheel.read_bytes()).hexdigest()}  {wheel.name}" for wheel in wheels]
    assert (house / "SHA256SUMS").read_text().splitlines() == sums
    bill = json.loads((house / "raftd.cdx.json").read_text())
    assert len(bill["components"]) == len(wheels) - 1
    constraints = (house / "constraints.txt").read_text().splitlines()
    assert len(constraints) == len(wheels) - 1
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, timeout=60)
    subprocess.run(
        [
            *(str(venv / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", "--no-index"),
            *("--find-links", str(house), "--constraint", str(house / "constraints.txt"), "raftd"),
        ],
        check=True,
        timeout=100,
    )
    said = subprocess.run(
        [str(venv / "bin/raftd"), "--version"], check=True, capture_output=True, text=True, timeout=60
    )
    assert re.match(r"raftd \d+\.\d+\.\d+", said.stdout)
