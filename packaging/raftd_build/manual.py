"""Manual pages (man(7)), made from what the commands and the settings say of themselves."""

import inspect
import re
from collections.abc import Iterator
from typing import Final

import click

from raftd.cli.raftctl import group as raftctl
from raftd.cli.raftd import group as raftd
from raftd.errors import ExitCode
from raftd.settings.reference import Row, rows
from raftd_build.source import Source

_EXIT_CODES: Final = {
    ExitCode.OK: "It is done.",
    ExitCode.ERROR: "It failed; the message says why.",
    ExitCode.USAGE: "The command line was wrong.",
    ExitCode.NOT_FOUND: "There is no such key or lease.",
    ExitCode.COMPARE_FAILED: "A condition does not hold, or another has the lock. Nothing was written.",
    ExitCode.UNAVAILABLE: "No node could do it in time. It did not happen.",
    ExitCode.OUTCOME_UNKNOWN: "It may or may not have happened.",
    ExitCode.TLS: "A certificate, key or authority cannot be used or was not accepted.",
    ExitCode.UNHEALTHY: "The cluster answers, and something is wrong with it.",
    ExitCode.CORRUPTION: "Stored data is damaged; do not start the node again.",
    ExitCode.REMOVED: "The node is no member of its cluster any more.",
    ExitCode.CONFIGURATION: "The settings cannot be used.",
}
_SEE_ALSO: Final = ("raftd(8)", "raftctl(1)", "raftd.yaml(5)", "systemctl(1)", "journalctl(1)")
_FILES: Final = {
    "/etc/raftd/raftd.yaml": "The cluster's settings, the same on every node; see raftd.yaml(5).",
    "/etc/raftd/raftctl.yaml": "How raftctl reaches the cluster, for all users of this machine.",
    "~/.config/raftd/raftctl.yaml": "The same for one user; it counts more.",
    "/var/lib/raftd/N": "The data of node N. Nothing else may live there.",
}


def pages(source: Source) -> dict[str, str]:
    """All pages, by the names of their files."""
    return {
        "raftd.8": _command_page(source, raftd, "raftd", 8),
        "raftctl.1": _command_page(source, raftctl, "raftctl", 1),
        "raftd.yaml.5": _settings_page(source),
    }


def _command_page(source: Source, command: click.Command, name: str, section: int) -> str:
    context = click.Context(command, info_name=name)
    purpose = next(iter(_paragraphs(command))).split(". ")[0].rstrip(".")
    lines = [
        _title(source, name, section),
        ".SH NAME",
        f"{name} \\- {_text(purpose[0].lower() + purpose[1:])}",
        ".SH SYNOPSIS",
        f".B {name}",
        "[OPTIONS] COMMAND [ARGS]...",
        ".SH DESCRIPTION",
        *_description(command),
        ".SH OPTIONS",
        *_options(command, context),
        ".SH COMMANDS",
        *_commands(command, context),
        ".SH EXIT STATUS",
        *_terms({str(int(code)): meaning for code, meaning in _EXIT_CODES.items()}),
        ".SH FILES",
        *_terms(_FILES),
        *_see_also(f"{name}({section})"),
    ]
    return "\n".join(lines) + "\n"


def _settings_page(source: Source) -> str:
    lines = [
        _title(source, "raftd.yaml", 5),
        ".SH NAME",
        "raftd.yaml \\- the settings of a raftd cluster",
        ".SH DESCRIPTION",
        "One YAML file, the same on every node. Unknown keys and keys given twice are errors.",
        ".B raftd check\\-config",
        "says everything that is wrong with it at once.",
        "A duration is a number and one of ms, s, m, h, d; a size is a number and one of B, KiB, MiB, GiB.",
        "A path is relative to the file's directory, and {node} in it stands for the node's id.",
        "Each key says when a change of it counts: after a reload, a restart, or never.",
        ".SH KEYS",
        *_terms({row.key: _setting(row) for row in rows()}),
        *_see_also("raftd.yaml(5)"),
    ]
    return "\n".join(lines) + "\n"


def _setting(row: Row) -> str:
    default = row.default.strip("`")
    change = f"; {row.change}" if row.change else ""
    return f"{row.meaning} [{row.type}; {default if default == 'required' else f'default: {default}'}{change}]"


def _title(source: Source, name: str, section: int) -> str:
    return f'.TH "{name.upper()}" "{section}" "" "raftd {source.version}" "raftd"'


def _commands(command: click.Command, context: click.Context, path: str = "") -> Iterator[str]:
    """Each command in a subsection, and those of groups after them."""
    assert isinstance(command, click.Group)
    for name in command.list_commands(context):
        sub = command.get_command(context, name)
        assert sub is not None
        if sub.hidden:
            continue
        sub_context = click.Context(sub, info_name=name, parent=context)
        if isinstance(sub, click.Group):
            yield from _commands(sub, sub_context, f"{path}{name} ")
            continue
        usage = " ".join(sub.collect_usage_pieces(sub_context))
        yield f'.SS "{_text(f"{path}{name} {usage}")}"'
        yield from _description(sub)
        yield from _options(sub, sub_context)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    yield from _terms(dict(record for record in records if record is not None))


def _terms(terms: dict[str, str]) -> Iterator[str]:
    for term, meaning in terms.items():
        yield from (".TP", f".B {_text(term)}", _text(meaning))


def _see_also(page: str) -> list[str]:
    return [".SH SEE ALSO", ", ".join(other for other in _SEE_ALSO if other != page)]


def _paragraphs(command: click.Command) -> list[str]:
    return inspect.cleandoc(command.help or "").split("\n\n")


def _description(command: click.Command) -> Iterator[str]:
    for paragraph in _paragraphs(command):
        if paragraph.startswith("\b"):  # click's own mark of lines that stay as they are
            yield from (".PP", ".nf", *(_text(line) for line in paragraph.split("\n")[1:]), ".fi")
        else:
            yield from (".PP", _text(" ".join(paragraph.split())))


def _text(text: str) -> str:
    """`text`, of which roff takes no character for an instruction."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    escaped = escaped.replace("…", "...").replace("\N{MULTIPLICATION SIGN}", "x")
    return re.sub(r"^(?=[.'])", r"\\&", escaped)
