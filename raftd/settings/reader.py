"""From YAML nodes to the classes of the schema; every mistake is noted, and reading goes on."""

import difflib
import json
from dataclasses import dataclass, field
from typing import Any, TypeVar, assert_never

import yaml

from raftd.encoding.text import is_utf8
from raftd.settings import schema
from raftd.settings.document import place_of, scalar_of, type_of
from raftd.settings.kinds import Kind, Misfit
from raftd.settings.report import Place, Report

T = TypeVar("T")

VALUE_CHARACTERS_SHOWN_MAX = 60


@dataclass(slots=True)
class Reading:
    """What was read of one document, for checks that look at several values: some of it may be broken."""

    report: Report
    owner: type[Any]
    """The class of the whole document."""
    values: dict[str, object] = field(default_factory=dict)
    """What could be read, by its dotted path, such as `nodes[0].peer_address`."""
    places: dict[str, Place] = field(default_factory=dict)
    """Where everything stands that the file gives, broken or not."""

    def value(self, path: str, default: Any) -> Any:
        """A value; `default` when the file does not give it, None when what it gives is broken."""
        return self.values.get(path) if path in self.places else default


def read(owner: type[T], node: yaml.Node, report: Report) -> tuple[T | None, Reading]:
    """Read a whole document into a class of the schema; None when something in it is broken."""
    reading = Reading(report, owner)
    return _read_mapping(owner, node, "", reading), reading


def _read_mapping(owner: type[T], node: yaml.Node, path: str, reading: Reading) -> T | None:
    specifications = schema.specifications(owner)
    field_names = {specification.name: name for name, specification in specifications.items()}
    if not isinstance(node, yaml.MappingNode) or type_of(node) != "map":
        expected = f"a mapping with the keys {', '.join(field_names)}"
        reading.report.problem(place_of(node), f"{path or 'the file'} {_found(node)} where {expected} is expected")
        return None
    values: dict[str, object] = {}
    is_broken = False
    given: dict[str, Place] = {}
    for key_node, value_node in node.value:
        place = place_of(key_node)
        key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else ""
        if key in given:
            reading.report.problem(place, f"{_below(path, key)} is given twice; first on line {given[key].line + 1}")
            is_broken = True
            continue
        if key not in field_names:
            reading.report.problem(place, _unknown_key(path, key, field_names, reading.owner))
            is_broken = True
            continue
        given[key] = place
        name = field_names[key]
        value = _read_value(owner, name, value_node, _below(path, key), reading)
        is_broken = is_broken or value is None
        values[name] = value
    for name, specification in specifications.items():
        if specification.name not in given and schema.is_required(owner, name):
            place = Place(node.start_mark.line, node.start_mark.column)
            reading.report.problem(place, f"{_below(path, specification.name)} is missing: {specification.meaning}")
            is_broken = True
    return None if is_broken else owner(**values)


def _read_value(owner: type[Any], name: str, node: yaml.Node, path: str, reading: Reading) -> object:
    """One value, or None when it is broken; no value that a file can give is None."""
    reading.places[path] = place_of(node)
    specification = schema.specifications(owner)[name]
    value: object
    match specification:
        case schema.Key(kind=kind):
            value = _read_scalar(kind, node, path, reading.report)
        case schema.Section():
            value = _read_mapping(schema.class_of(owner, name), node, path, reading)
        case schema.Words(kind=kind):
            items = _items(specification, node, path, reading.report)
            value = _whole([_read_scalar(kind, item, path, reading.report) for item in items or ()], items)
        case schema.Table():
            items = _items(specification, node, path, reading.report)
            line_class = schema.class_of(owner, name)
            lines: list[object] = []
            for position, item in enumerate(items or ()):
                reading.places[f"{path}[{position}]"] = place_of(item)
                lines.append(_read_mapping(line_class, item, f"{path}[{position}]", reading))
            value = _whole(lines, items)
        case _:
            assert_never(specification)
    if value is not None:
        reading.values[path] = value
    return value


def _read_scalar(kind: Kind[Any], node: yaml.Node, path: str, report: Report) -> object:
    if not isinstance(node, yaml.ScalarNode):
        hint = ""
        if kind.label == "path":
            hint = "; a value that begins with {node} must be in quotes"
        elif kind.label == "address":
            hint = '; an IPv6 address must be in quotes: "[::1]:7400"'
        report.problem(place_of(node), f"{path} {_found(node)} where one {kind.label} is expected{hint}")
        return None
    scalar = scalar_of(node)
    if not is_utf8(scalar.text):
        # Not shown either: a terminal could not write it any more than a file.
        report.problem(
            place_of(node), f"{path} has half of a surrogate pair (\\ud800 to \\udfff), which is no character"
        )
        return None
    try:
        return kind.read(scalar)
    except Misfit as misfit:
        shown = "" if scalar.yaml_type == "null" else f" {_shortened(scalar.text)}"
        report.problem(place_of(node), f"{path}{shown} {misfit}")
        return None


def _items(
    specification: schema.Words | schema.Table, node: yaml.Node, path: str, report: Report
) -> list[yaml.Node] | None:
    if not isinstance(node, yaml.SequenceNode) or type_of(node) != "seq":
        report.problem(place_of(node), f"{path} {_found(node)} where a list is expected")
        return None
    items: list[yaml.Node] = node.value
    if not specification.length_min <= len(items) <= specification.length_max:
        bounds = f"{specification.length_min} to {specification.length_max}"
        report.problem(place_of(node), f"{path} has {len(items)} items; {bounds} are allowed")
        return None
    return items


def _whole(values: list[object], items: list[yaml.Node] | None) -> tuple[object, ...] | None:
    return None if items is None or any(value is None for value in values) else tuple(values)


def _found(node: yaml.Node) -> str:
    if type_of(node).startswith(("!", "python/")):
        return f"has the tag {type_of(node)}"
    match node:
        case yaml.MappingNode():
            return "is a mapping"
        case yaml.SequenceNode():
            return "is a list"
        case yaml.ScalarNode() if type_of(node) == "null":
            return "has no value"
        case _:
            return f"is {_shortened(str(node.value))}"


def _unknown_key(path: str, key: str, known: dict[str, str], root: type[Any]) -> str:
    if key == "<<":
        return f"{_below(path, key)}: merge keys are not read here; write the keys out"
    where = f" in {path}" if path else ""
    message = f"unknown key {_shortened(key)}{where}"
    elsewhere = [other for other in schema.paths(root) if other.rpartition(".")[2] == key]
    if elsewhere:
        return f"{message}; did you mean {' or '.join(elsewhere)}?"
    near = difflib.get_close_matches(key.lower().replace("-", "_"), known, 1)
    if near:
        return f'{message}; did you mean "{near[0]}"?'
    return f"{message}; known here: {', '.join(known)}"


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _shortened(text: str) -> str:
    text = text if len(text) <= VALUE_CHARACTERS_SHOWN_MAX else f"{text[:VALUE_CHARACTERS_SHOWN_MAX]}…"
    return json.dumps(text, ensure_ascii=False)
