"""From settings to a file that a person likes to read and `load` reads back to the same settings."""

import re
import textwrap
from collections.abc import Iterator
from typing import Any, assert_never

import yaml

from raftd.settings import schema
from raftd.settings.document import resolved
from raftd.settings.kinds import Kind, Misfit
from raftd.settings.schema import Document

COMMENT_CHARACTERS_MAX = 100
INDENT = "  "

# Characters that mean nothing to YAML in a plain scalar, in a block and inside [ ] alike.
_PLAIN = re.compile(r"[A-Za-z0-9/.][A-Za-z0-9/._@:+-]*", re.ASCII)


def render(document: Document) -> str:
    """The text of a `raftd.yaml`; what has its default is left out."""
    lines = ["# One file for all nodes of the cluster; raftd run --node N picks its own. See docs/settings.md."]
    lines += _mapping(document, "", is_commented=True)
    return "\n".join(lines) + "\n"


def _mapping(instance: Any, indent: str, *, is_commented: bool) -> Iterator[str]:
    owner = type(instance)
    for field_name, specification in schema.specifications(owner).items():
        value = getattr(instance, field_name)
        if not schema.is_required(owner, field_name) and value == schema.default_of(owner, field_name):
            continue
        if is_commented:
            yield ""
            yield from textwrap.wrap(
                specification.meaning, COMMENT_CHARACTERS_MAX, initial_indent="# ", subsequent_indent="# "
            )
        name = f"{indent}{specification.name}:"
        match specification:
            case schema.Key(kind=kind):
                yield f"{name} {_scalar(kind, value)}"
            case schema.Words(kind=kind):
                yield f"{name} [{', '.join(_scalar(kind, item) for item in value)}]"
            case schema.Section():
                yield name
                yield from _mapping(value, indent + INDENT, is_commented=False)
            case schema.Table():
                yield name if value else f"{name} []"
                for item in value:
                    first, *rest = _mapping(item, indent + INDENT * 2, is_commented=False)
                    yield f"{indent}{INDENT}- {first.lstrip()}"
                    yield from rest
            case _:
                assert_never(specification)


def _scalar(kind: Kind[Any], value: object) -> str:
    text = kind.show(value)
    if _PLAIN.fullmatch(text.replace("{node}", "0")) and not text.startswith("{") and not text.endswith(":"):
        try:
            if kind.read(resolved(text)) == value:
                return text
        except Misfit:
            pass  # YAML takes it for something else, as it does with the user "no"
    return str(yaml.safe_dump(text, default_style='"', width=1 << 30)).strip()
