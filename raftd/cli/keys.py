"""`raftctl get | set | del`."""

import sys

import click

from raftd.cli.explain import explanation_record, explanation_text
from raftd.cli.listing import Selection, record_of, show_keys
from raftd.cli.output import (
    OutputFormat,
    complain,
    format_option,
    is_terminal,
    printable,
    show_record,
    show_rows,
    warn,
    write,
    write_bytes,
)
from raftd.cli.parameters import (
    LEASE,
    Span,
    fenced_option,
    given_value,
    if_revision_option,
    if_value_option,
    key_argument,
    keys_only_option,
    limit_option,
    prefix_option,
    previous_option,
    revision_option,
    span_of,
    stale_option,
    to_option,
    value_argument,
)
from raftd.cli.sparkline import bars_for
from raftd.cli.target import Target, pass_target
from raftd.client import Client, ClientError, Explanation, Fence, KeyValue
from raftd.errors import ExitCode


@click.command("get", short_help="Print the value of a key, or many.")
@key_argument
@click.option("--raw", is_flag=True, help="The value's bytes and nothing else, no line end either.")
@prefix_option
@to_option
@keys_only_option
@click.option("--count", is_flag=True, help="Only how many keys there are.")
@limit_option
@revision_option
@stale_option
@format_option
@pass_target
def get_command(
    target: Target,
    key: bytes,
    to: bytes | None,
    limit: int | None,
    revision: int | None,
    output_format: OutputFormat,
    *,
    raw: bool,
    is_prefix: bool,
    keys_only: bool,
    count: bool,
    stale: bool,
) -> int:
    """Print the value of KEY, and a line end. On a terminal, what is not printable text is escaped.

    With --prefix or --to it is a table of all keys that there are, as of `raftctl list --values`. Exit code 3 if there
    is none.

    \b
    Example:
      raftctl get greeting
      raftctl get greeting -o json
      raftctl get --raw picture > picture.png
      raftctl get config/ --prefix
    """
    span = span_of(key, to, is_prefix=is_prefix)
    if raw and output_format is not OutputFormat.TABLE:
        raise click.UsageError("--raw is a form of its own; leave out -o")
    if span is None and (keys_only or count or limit is not None):
        raise click.UsageError("--keys-only, --count and --limit are for many keys; add --prefix or --to")
    if span is not None and raw:
        raise click.UsageError("--raw is for a single key")
    if count and (keys_only or limit is not None or revision is not None):
        raise click.UsageError("--count counts all keys that there are now")
    with target.client() as client:
        if span is None:
            return _show_value(_find(client, key, revision, stale=stale), key, output_format, raw=raw)
        if count:
            number = client.count(**span.arguments, stale=stale)
            write(f"{number}\n") if output_format is OutputFormat.TABLE else show_record(
                {"count": number}, output_format
            )
            return ExitCode.OK
        selection = Selection(span, limit, keys_only, revision, stale=stale)
        if show_keys(client, selection, output_format, bare=keys_only):
            return ExitCode.OK
    warn("raftctl", "there is no such key")
    return ExitCode.NOT_FOUND


def _find(client: Client, key: bytes, revision: int | None, *, stale: bool) -> KeyValue | None:
    if revision is None or not key:  # an empty key is refused in the words of those who know what a key is
        return client.get(key, stale=stale)
    items = client.range(key, key + b"\x00", limit=1, revision=revision, stale=stale).items
    return items[0] if items else None


def _show_value(found: KeyValue | None, key: bytes, output_format: OutputFormat, *, raw: bool) -> int:
    if found is None:
        complain(f"raftctl: there is no key {printable(key)}\n")  # warn() would escape it once more
        return ExitCode.NOT_FOUND
    if output_format is not OutputFormat.TABLE:
        show_record(record_of(found), output_format)
    elif raw:
        write_bytes(found.value)
    elif is_terminal(sys.stdout):
        write(printable(found.value) + "\n")
    else:
        write_bytes(found.value + b"\n")
    return ExitCode.OK


@click.command("set", short_help="Set a key to a value.")
@key_argument
@value_argument
@if_revision_option
@if_value_option
@click.option("--if-absent", is_flag=True, help="Only if there is no such key.")
@click.option("--lease", type=LEASE, metavar="ID", help="The key ends with this lease; see `raftctl lease`.")
@fenced_option
@previous_option
@click.option("--explain", is_flag=True, help="Show where the time of this write went.")
@format_option
@pass_target
def set_command(
    target: Target,
    key: bytes,
    value: bytes,
    if_revision: int | None,
    if_value: bytes | None,
    lease: int | None,
    fence: Fence | None,
    output_format: OutputFormat,
    *,
    if_absent: bool,
    previous: bool,
    explain: bool,
) -> int:
    """Set KEY to VALUE, exactly once; VALUE `-` is read from standard input, byte for byte.

    Exit code 4 if a condition does not hold, 6 if no answer came and the write may or may not have happened.

    \b
    Example:
      raftctl set greeting hello
      raftctl set motd - < /etc/motd
      raftctl set leader me --if-absent
      raftctl set leader you --if-value me --previous
      raftctl set greeting hello --explain
    """
    if if_absent:
        if if_revision is not None or if_value is not None:
            raise click.UsageError("--if-absent excludes --if-revision and --if-value")
        if_revision = 0
    value = given_value(value)
    explanations: list[Explanation | None] = []
    with target.client() as client:
        result = client.put(
            key,
            value,
            expected_revision=if_revision,
            expected_value=if_value,
            lease=lease,
            fence=fence,
            previous=previous,
            explain=explanations.append if explain else None,
        )
    record: dict[str, object] = {"key": key, "revision": result.revision, "version": result.version}
    if previous:
        record["previous"] = _previous(result.previous, output_format)
    is_table = output_format is OutputFormat.TABLE
    if explain and not is_table:
        record["explanation"] = explanation_record(explanations[0])
    show_record(record, output_format)
    if explain and is_table:
        write(explanation_text(explanations[0], bars_for(sys.stdout)))
    return ExitCode.OK


@click.command("del", short_help="Delete a key, or many.")
@key_argument
@prefix_option
@to_option
@click.option("--yes", is_flag=True, help="Really: for many keys with an empty KEY or an empty --to.")
@if_revision_option
@if_value_option
@fenced_option
@previous_option
@format_option
@pass_target
def del_command(
    target: Target,
    key: bytes,
    to: bytes | None,
    if_revision: int | None,
    if_value: bytes | None,
    fence: Fence | None,
    output_format: OutputFormat,
    *,
    is_prefix: bool,
    yes: bool,
    previous: bool,
) -> int:
    """Delete KEY, exactly once. Exit code 3 if there was none, 4 if a condition does not hold.

    With --prefix or --to, many are deleted: up to 10,000 in one step, more in several. An empty KEY or --to, which is
    all keys, or all on one side, needs --yes.

    \b
    Example:
      raftctl del greeting
      raftctl del leader --if-value me
      raftctl del config/ --prefix
      raftctl del a --to c
    """
    span = span_of(key, to, is_prefix=is_prefix)
    if span is not None:
        if if_revision is not None or if_value is not None:
            raise click.UsageError("--if-revision and --if-value are for a single key")
        # As `"$LOW"` and `"$HIGH"` are in a script whose variables are not set.
        if not yes and (not key or to == b""):
            raise click.UsageError(f"that would delete {_extent(key, to)}; if it is meant, say --yes")
        with target.client() as client:
            return _delete_range(client, span, fence, output_format, previous=previous)
    with target.client() as client:
        result = client.delete(
            key, expected_revision=if_revision, expected_value=if_value, fence=fence, previous=previous
        )
    record: dict[str, object] = {"key": key, "deleted": result.deleted, "revision": result.revision}
    if previous:
        record["previous"] = _previous(result.previous, output_format)
    show_record(record, output_format)
    return ExitCode.OK if result.deleted else ExitCode.NOT_FOUND


def _extent(key: bytes, to: bytes | None) -> str:
    if key:
        return f"every key from {printable(key)} to the end"
    return f"every key before {printable(to)}" if to else "every key"


def _delete_range(
    client: Client, span: Span, fence: Fence | None, output_format: OutputFormat, *, previous: bool
) -> int:
    deleted, revision, more, shown = 0, 0, True, list[KeyValue]()
    while more:
        try:
            step = client.delete_range(**span.arguments, fence=fence, previous=previous)
        except ClientError:
            if deleted:
                warn("raftctl", f"{deleted} keys were deleted before that, and others may be left:")
            raise
        except KeyboardInterrupt:
            warn("raftctl", f"{deleted} keys were deleted, and perhaps the next few; others may be left")
            raise
        deleted, revision, more = deleted + step.deleted, step.revision, step.more
        shown += step.previous
    record: dict[str, object] = {"deleted": deleted, "revision": revision}
    if output_format is not OutputFormat.TABLE and previous:
        record["previous"] = [record_of(item) for item in shown]
    show_record(record, output_format)
    if output_format is OutputFormat.TABLE and shown:
        write("\n")
        show_rows([record_of(item) for item in shown], ("key", "modify_revision", "version", "value"), output_format)
    return ExitCode.OK if deleted else ExitCode.NOT_FOUND


def _previous(item: KeyValue | None, output_format: OutputFormat) -> object:
    if item is None:
        return None
    return item.value if output_format is OutputFormat.TABLE else record_of(item)
