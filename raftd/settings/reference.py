"""The reference of all settings, made from the schema: `python -m raftd.settings.reference > docs/settings.md`."""

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, assert_never

from raftd.settings import schema
from raftd.settings.kinds import Kind
from raftd.settings.schema import Document

_HEAD = """\
# Settings

<!-- Made from raftd/settings/schema.py by `python -m raftd.settings.reference`; a test compares the two. -->

`raftd.yaml` is the same file on every node; `raftd run --config FILE --node N` picks node N out of it, and
`raftd check-config` says what is wrong with it, everything at once. Unknown keys and keys given twice are errors.

- A **duration** is a number and one of the units `ms`, `s`, `m`, `h`, `d`; a **size** a number and one of `B`, `KiB`,
  `MiB`, `GiB`. Neither has a default unit: a bare number is refused.
- A **path** is relative to the directory of the file. `{node}` in it is replaced by the node's id; where a value begins
  with it, or stands inside `{ }`, YAML wants quotes around it.
- An **address** is `host`, `host:port` or `"[IPv6]:port"`, the last in quotes.
- What has **reload** in the column `change` counts as soon as the node is told to reload (`systemctl reload raftd@N`,
  `raftctl reload`), and everything else when it starts the next time; a reload says what waits for that. A node's own
  addresses and `no_lead` wait for its restart too. With another name or id of the cluster a reload is refused.

"""


class Row(NamedTuple):
    """One setting: its place, what it takes, what holds without it, when a change counts, and what it is for."""

    key: str
    type: str
    default: str
    change: str
    meaning: str


def reference() -> str:
    """The whole of `docs/settings.md`."""
    table = [
        "| key | type | default | change | meaning |",
        "|---|---|---|---|---|",
        *(f"| `{row.key}` | {row.type} | {row.default} | {row.change} | {row.meaning} |" for row in rows()),
    ]
    end = "The client's file, `raftctl.yaml`, is described in [client.md](client.md)."
    return _HEAD + "\n".join(table) + f"\n\n{end}\n"


def rows() -> Iterator[Row]:
    """Every setting, in the order of the schema."""
    yield from _rows(Document, "")


def _rows(owner: type[Any], path: str, table: schema.Table | None = None) -> Iterator[Row]:
    for field_name, specification in schema.specifications(owner).items():
        key = f"{path}{specification.name}"
        default = "required"
        if not schema.is_required(owner, field_name):
            default = _default(specification, schema.default_of(owner, field_name))
        match specification:
            case schema.Key(kind=kind):
                yield Row(key, _type(kind), default, (table or specification).change.value, specification.meaning)
            case schema.Words(kind=kind):
                type_text = f"list: {_type(kind)}"
                yield Row(key, type_text, default, (table or specification).change.value, specification.meaning)
            case schema.Section():
                yield Row(key, "mapping", default, "", specification.meaning)
                yield from _rows(schema.class_of(owner, field_name), f"{key}.")
            case schema.Table():
                yield Row(f"{key}[]", "list of mappings", default, specification.change.value, specification.meaning)
                yield from _rows(schema.class_of(owner, field_name), f"{key}[].", specification)
            case _:
                assert_never(specification)


def _default(specification: schema.Specification, value: object) -> str:
    if isinstance(specification, schema.Key) and value is not None:
        return f"`{specification.kind.show(value)}`"
    return "as below" if isinstance(specification, schema.Section) else "none"


def _type(kind: Kind[Any]) -> str:
    return f"{kind.label}: {kind.bounds}" if kind.bounds else kind.label


if __name__ == "__main__":
    sys.stdout.write(reference())
