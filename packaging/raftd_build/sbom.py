"""The bill of materials: what is in a wheelhouse, in CycloneDX's JSON (https://cyclonedx.org/docs/1.5/json/)."""

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_string
from importlib.metadata import Distribution
from typing import Any, Final, Self

from raftd_build.source import Source

_FORMAT: Final = "1.5"
_NAMESPACE: Final = uuid.UUID("1f2c9b0e-8d7a-4a49-9c37-5a0d6b0f4e61")
_LICENSE_LENGTH_MAX: Final = 80


@dataclass(frozen=True, slots=True)
class Part:
    """One distribution: what it is called, under which terms, and which others it wants."""

    name: str
    version: str
    license: str | None
    needs: frozenset[str]
    """The normalised names of all that its metadata name, under whatever condition."""
    sha256: str

    @classmethod
    def of(cls, distribution: Distribution, sha256: str) -> Self:
        """Read a distribution's metadata."""
        requirements = distribution.requires or []
        return cls(
            distribution.metadata["Name"],
            distribution.version,
            _license(distribution),
            frozenset(_normal(re.split(r"[^\w.-]", requirement, maxsplit=1)[0]) for requirement in requirements),
            sha256,
        )

    @property
    def reference(self) -> str:
        """Its package URL, by which the document's other entries name it."""
        return f"pkg:pypi/{_normal(self.name)}@{self.version}"


def document(source: Source, parts: Sequence[Part]) -> str:
    """The whole document; the same parts make the same bytes."""
    (subject,) = (part for part in parts if part.name == "raftd")
    by_name = {_normal(part.name): part for part in parts}
    contents: dict[str, Any] = {
        "metadata": {
            "timestamp": datetime.fromtimestamp(source.epoch, UTC).isoformat(),
            "component": {
                **_component(subject, "application"),
                "properties": [{"name": "raftd:commit", "value": source.commit or "unknown"}],
            },
        },
        "components": [_component(part, "library") for part in parts if part is not subject],
        "dependencies": [
            {
                "ref": part.reference,
                "dependsOn": sorted(by_name[name].reference for name in part.needs if name in by_name),
            }
            for part in parts
        ],
    }
    serial = uuid.uuid5(_NAMESPACE, json.dumps(contents, sort_keys=True))
    head = {"bomFormat": "CycloneDX", "specVersion": _FORMAT, "serialNumber": f"urn:uuid:{serial}", "version": 1}
    return json.dumps({**head, **contents}, indent=2) + "\n"


def _component(part: Part, kind: str) -> Mapping[str, Any]:
    licenses = {"licenses": [{"license": {"name": part.license}}]} if part.license else {}
    return {
        "type": kind,
        "bom-ref": part.reference,
        "name": part.name,
        "version": part.version,
        **licenses,
        "hashes": [{"alg": "SHA-256", "content": part.sha256}],
        "purl": part.reference,
    }


def _license(distribution: Distribution) -> str | None:
    """What the metadata say in one of the three ways that there have been."""
    metadata = message_from_string(distribution.read_text("METADATA") or "")
    if expression := metadata.get("License-Expression"):
        return str(expression)
    named = str(metadata.get("License") or "")
    if named and "\n" not in named and len(named) <= _LICENSE_LENGTH_MAX:
        return named
    classifiers = [str(value) for value in metadata.get_all("Classifier") or []]
    return next((value.split(" :: ")[-1] for value in classifiers if value.startswith("License ::")), None)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
