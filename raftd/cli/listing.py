"""`raftctl list`, and what other commands need to show many keys."""

from collections.abc import Iterator
from dataclasses import dataclass

import click

from raftd.cli.output import OutputFormat, complain, format_option, printable, write
from raftd.cli.parameters import (
    Span,
    keys_only_option,
    limit_option,
    prefix_argument,
    revision_option,
    span_of,
    stale_option,
    to_option,
)
from raftd.cli.stream import Stream
from raftd.cli.target import Target, pass_target
from raftd.client import Client, KeyValue, Page
from raftd.errors import ExitCode


@dataclass(frozen=True, slots=True)
class Selection:
    """Which keys are wanted, and what of them."""

    span: Span
    limit: int | None = None
    """None: all."""
    keys_only: bool = False
    revision: int | None = None
    """None: the present one."""
    page: str | None = None
    """Where to go on; see `Page.next_page`."""
    stale: bool = False


def pages(client: Client, selection: Selection) -> Iterator[Page]:
    """All pages of a selection, at one revision. Raises: ClientError."""
    left, page, revision = selection.limit, selection.page, selection.revision
    while True:
        found = client.range(
            **selection.span.arguments,
            limit=left,
            keys_only=selection.keys_only,
            revision=revision,
            page=page,
            stale=selection.stale,
        )
        yield found
        left = None if left is None else left - len(found.items)
        if found.next_page is None or left == 0:
            return
        page, revision = found.next_page, None


def show_keys(client: Client, selection: Selection, output_format: OutputFormat, *, bare: bool = False) -> int:
    """Print a selection page by page, and return how many keys it has.

    Args:
        client: to ask.
        selection: what for; values are shown if they are asked for.
        output_format: what `-o` says.
        bare: only the keys.

    Raises:
        ClientError: it could not be read.
        click.exceptions.Exit, click.ClickException: as `raftd.cli.output.write`.
    """
    values = not selection.keys_only
    columns = ("key", "revision", "version", "lease", "user", *(("value",) if values else ()))
    stream = Stream(columns, output_format)
    shown, next_page = 0, None
    for page in pages(client, selection):
        shown, next_page = shown + len(page.items), page.next_page
        if not bare:
            stream.show([_row(item, output_format, values=values) for item in page.items])
        elif output_format is OutputFormat.TABLE:
            write("".join(printable(item.key) + "\n" for item in page.items))
        else:
            stream.show([{"key": item.key} for item in page.items])
    if next_page is not None:
        complain(f"raftctl: there are more keys; `raftctl list` goes on with --page {next_page}\n")
    return shown


def record_of(item: KeyValue) -> dict[str, object]:
    """What JSON and YAML have of a key."""
    return {
        "key": item.key,
        "value": item.value,
        "create_revision": item.create_revision,
        "modify_revision": item.modify_revision,
        "version": item.version,
        "lease": item.lease or None,
        "user": item.user,
    }


def _row(item: KeyValue, output_format: OutputFormat, *, values: bool) -> dict[str, object]:
    record = record_of(item)
    if not values:
        del record["value"]
    if output_format is OutputFormat.TABLE:
        record["revision"] = item.modify_revision
    return record


@click.command("list", short_help="List keys.")
@prefix_argument
@to_option
@click.option("--values", is_flag=True, help="With their values.")
@keys_only_option
@limit_option
@revision_option
@click.option("--page", metavar="TOKEN", help="Go on where an earlier list with --limit and this range ended.")
@stale_option
@format_option
@pass_target
def list_command(
    target: Target,
    prefix: bytes,
    to: bytes | None,
    limit: int | None,
    revision: int | None,
    page: str | None,
    output_format: OutputFormat,
    *,
    values: bool,
    keys_only: bool,
    stale: bool,
) -> int:
    """List the keys that begin with PREFIX, or all, in byte order and as they were at one moment.

    REVISION is when a key was last written, USER who did it. With -o json each key is a line.

    \b
    Example:
      raftctl list config/
      raftctl list config/ --values -o json
      raftctl list a --to c --limit 100
    """
    if keys_only and values:
        raise click.UsageError("--keys-only and --values exclude each other")
    span = span_of(prefix, to, is_prefix=to is None) or Span()
    selection = Selection(span, limit, not values, revision, page, stale)
    with target.client() as client:
        show_keys(client, selection, output_format, bare=keys_only)
    return ExitCode.OK
