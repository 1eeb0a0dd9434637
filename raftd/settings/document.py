"""From a file to YAML nodes with their places, without ever building an object that the file names.

Bounded: the file's size, and how deeply it nests. Aliases are nodes that occur more than once; nothing expands them,
and a reader that follows a schema goes only as deep as the schema does, so neither bombs nor cycles matter.
"""

import re
from pathlib import Path

import yaml

from raftd.errors import SettingsError
from raftd.regular_file import open_regular
from raftd.settings.kinds import Scalar
from raftd.settings.report import LINE_END, Place, Report

FILE_BYTES_MAX = 1 << 20
DEPTH_MAX = 20

_STANDARD_TAG = "tag:yaml.org,2002:"


class _TooDeepError(yaml.MarkedYAMLError):
    """The document nests deeper than any settings do."""


class _Loader(yaml.SafeLoader):
    """PyYAML's composer with a bound on nesting, because it recurses."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        """Compose one node. Raises: _TooDeepError."""
        self._depth += 1
        if self._depth > DEPTH_MAX:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # PyYAML's stubs lack it
            raise _TooDeepError(problem=f"nested more than {DEPTH_MAX} deep", problem_mark=mark)
        node: yaml.Node | None = super().compose_node(parent, index)  # type: ignore[arg-type]  # int or node, untyped
        self._depth -= 1
        return node


def read_document(path: Path) -> tuple[yaml.Node, Report]:
    """The one YAML document of a file, and a report to note further problems in.

    Raises:
        SettingsError: the file cannot be read, is too large, empty, not UTF-8, not YAML, or more than one document.
    """
    text = _read_text(path)
    report = Report(path, text)
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line, mark.column) if mark is not None else Place(0, 0)
        report.problem(place, _syntax_message(error, text, place))
        report.raise_problems()
    except yaml.reader.ReaderError as error:
        report.problem(
            _place_of(text, int(error.position)),
            f"the character U+{int(error.character):04X} is not allowed in YAML",
        )
        report.raise_problems()
    finally:
        if loader is not None:
            loader.dispose()
    if node is None:
        raise SettingsError(f"{path}: the file is empty; docs/settings.md says what belongs into it")
    return node, report


def place_of(node: yaml.Node) -> Place:
    """Where a node stands."""
    return Place.between(node.start_mark, node.end_mark)


def scalar_of(node: yaml.ScalarNode) -> Scalar:
    """A scalar node as text and type."""
    return Scalar(str(node.value), type_of(node))


def type_of(node: yaml.Node) -> str:
    """What YAML takes a node for: `map`, `seq`, or a scalar's type; a foreign tag is given whole."""
    return str(node.tag).removeprefix(_STANDARD_TAG)


def resolved(text: str) -> Scalar:
    """A plain scalar as YAML would read it."""
    resolver = yaml.resolver.Resolver()
    tag = resolver.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]  # PyYAML's stubs lack it
    return Scalar(text, str(tag).removeprefix(_STANDARD_TAG))


def _read_text(path: Path) -> str:
    try:
        with open_regular(path) as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise SettingsError(f"{path}: is over {FILE_BYTES_MAX >> 20} MiB; that is not a settings file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Both count from behind the byte order mark, if there is one.
        before, wrong = error.object[: error.start].decode(), error.object[error.start]
        place = _place_of(before, len(before))
        raise SettingsError(f"{path}:{place.line + 1}:{place.column + 1}: is not UTF-8: byte 0x{wrong:02x}") from error


def _place_of(text: str, position: int) -> Place:
    lines = LINE_END.split(text[:position])
    return Place(len(lines) - 1, len(lines[-1]))


def _syntax_message(error: yaml.MarkedYAMLError, text: str, place: Place) -> str:
    lines = LINE_END.split(text)
    line = lines[place.line] if place.line < len(lines) else ""
    above = lines[place.line - 1] if 0 < place.line <= len(lines) else ""
    problem = (error.problem or "").strip()
    if "\t" in line[: place.column + 1]:
        return "not valid YAML: a tab; indent with spaces"
    if "but found another document" in problem:
        return "a second document begins here; one file is one document"
    hint = ""
    if re.search(r":\s*\[[^\]]*:[^\]]*\]", line):
        hint = '; an IPv6 address must be in quotes: "[::1]:7400"'
    elif "{node}" in line:
        hint = "; a path with {node} must be in quotes where it begins with it or stands inside { }"
    elif any(re.match(r"\s*(- +)?[A-Za-z_]+:[^\s/]", candidate) for candidate in (line, above)):
        hint = "; a space is missing after the colon"
    context = f" {error.context.strip()}" if error.context else ""
    return f"not valid YAML{context}: {problem}{hint}"
