from dataclasses import fields
from typing import Any

import pytest

from raftd.settings import schema
from raftd.settings.document import resolved
from raftd.settings.kinds import Scalar

OWNERS = [
    schema.Document,
    schema.Cluster,
    schema.Node,
    schema.Listen,
    schema.Tls,
    schema.TlsTemplate,
    schema.AccessLine,
    schema.Timing,
    schema.Log,
    schema.Limits,
    schema.Reads,
    schema.Shutdown,
]
PLAIN = {"number", "ratio", "true or false"}
"""Kinds of which YAML makes something else than text."""


@pytest.mark.parametrize("owner", OWNERS)
def test_every_default_is_a_value_that_the_file_could_give(owner: type[Any]) -> None:
    """A default out of its own bounds would be refused if somebody wrote it out."""
    for name, specification in schema.specifications(owner).items():
        if schema.is_required(owner, name) or not isinstance(specification, schema.Key):
            continue
        default = schema.default_of(owner, name)
        if default is not None:
            text = specification.kind.show(default)
            scalar = resolved(text) if specification.kind.label in PLAIN else Scalar(text, "str")
            assert specification.kind.read(scalar) == default


@pytest.mark.parametrize("owner", OWNERS)
def test_every_field_is_specified_and_says_what_it_means(owner: type[Any]) -> None:
    """Names in the file are unique, and meanings are sentences."""
    specifications = schema.specifications(owner)
    assert list(specifications) == [field.name for field in fields(owner)]
    assert len({specification.name for specification in specifications.values()}) == len(specifications)
    for specification in specifications.values():
        assert specification.meaning.endswith(".")
        assert "|" not in specification.meaning


def test_classes_of_sections_and_tables_are_found() -> None:
    """A table's class is that of its lines."""
    assert schema.class_of(schema.Document, "timing") is schema.Timing
    assert schema.class_of(schema.Document, "nodes") is schema.Node


def test_paths_name_everything() -> None:
    """Down to the keys in lines of tables."""
    found = set(schema.paths(schema.Document))
    assert {"cluster", "cluster.name", "nodes", "nodes[].id", "tls.peer.key", "access[].allow"} <= found
