"""`raftctl export`: all keys, or those that begin alike, into a file."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import click

from raftd.cli.dump import Entry, Header, Writer
from raftd.cli.listing import Selection, pages
from raftd.cli.named_path import FILE
from raftd.cli.new_file import new_file
from raftd.cli.output import complain, write_bytes
from raftd.cli.parameters import Span, prefix_argument, stale_option
from raftd.cli.progress import Progress
from raftd.cli.target import Target, pass_target
from raftd.client import Client, ClientError, Compacted
from raftd.errors import ExitCode


@click.command("export", short_help="Write keys and values into a file.")
@prefix_argument
@click.option(
    "--file",
    type=FILE,
    help="Write into this file, which appears when it is complete, instead of standard output.",
)
@click.option("--leased", is_flag=True, help="With the keys that end with a lease, which are left out otherwise.")
@stale_option
@pass_target
def export_command(target: Target, prefix: bytes, file: Path | None, *, leased: bool, stale: bool) -> int:
    """Write the keys that begin with PREFIX, or all, with their values, as they were at one moment, as JSON lines.

    The last line says how many there are, so that `raftctl import` knows a file that was cut. Who reads the file reads
    all values; with --file it is made for you alone.

    \b
    Example:
      raftctl export > everything.jsonl
      raftctl export config/ --file config.jsonl
    """
    selection = Selection(Span(prefix=prefix), stale=stale)
    with target.client() as client:
        if file is None:
            exported, left_out = _export(client, selection, write_bytes, leased=leased)
        else:
            with new_file(file) as stream:
                exported, left_out = _export(client, selection, stream.write, leased=leased)
    ending = f"; {left_out} with a lease were left out" if left_out else ""
    complain(f"raftctl: exported {exported} keys{ending}\n")
    return ExitCode.OK


def _export(client: Client, selection: Selection, write: Callable[[bytes], object], *, leased: bool) -> tuple[int, int]:
    """Write all lines; returns how many keys were written, and how many left out."""
    writer = Writer()
    exported = left_out = 0
    progress: Progress | None = None
    with contextlib.ExitStack() as stack:
        try:
            for page in pages(client, selection):
                lines = []
                if progress is None:
                    progress = stack.enter_context(Progress("export", page.count))
                    lines.append(writer.header(Header(page.revision, selection.span.prefix or b"", page.count)))
                chosen = [item for item in page.items if leased or not item.lease]
                lines += [writer.entry(Entry(item.key, item.value, item.lease)) for item in chosen]
                write(b"".join(lines))
                exported, left_out = exported + len(chosen), left_out + len(page.items) - len(chosen)
                progress.advance(len(page.items))
        except Compacted as error:
            raise ClientError(
                "so much was written meanwhile that the state at the beginning is held no longer: export again, or in "
                f"parts, by a PREFIX ({error})"
            ) from None
        write(writer.end())
    return exported, left_out
