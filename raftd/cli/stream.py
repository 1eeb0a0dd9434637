"""Rows that are printed as they come, however many there will be: pages of keys, changes of a watch.

With `-o json` each row is a line of its own (JSON lines), with `-o yaml` an item of one long list.
"""

import sys
from collections.abc import Mapping, Sequence

from raftd.cli.output import OutputFormat, column_widths, document, json_line, table, use_colour, write


class Stream:
    """Prints rows, some at a time; in a table the columns grow where they must, and never shrink.

    Args:
        columns: of a table.
        output_format: what `-o` says.
        widths: what to begin with; useful where rows come one by one.
    """

    def __init__(self, columns: Sequence[str], output_format: OutputFormat, widths: Sequence[int] = ()) -> None:
        self._columns = columns
        self._format = output_format
        self._widths = list(widths) or [0] * len(columns)
        self._is_begun = False

    def show(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Print these rows behind those before. Raises: as `raftd.cli.output.write`."""
        if not rows:
            return
        match self._format:
            case OutputFormat.TABLE:
                write(self._lines(rows))
            case OutputFormat.JSON:
                write("".join(map(json_line, rows)))
            case OutputFormat.YAML:
                write(document(list(rows), self._format))

    def _lines(self, rows: Sequence[Mapping[str, object]]) -> str:
        # The last column is not padded, so that it may have any width.
        self._widths = [*map(max, self._widths, column_widths(rows, self._columns[:-1])), 0]
        with_header, self._is_begun = not self._is_begun, True
        return table(
            rows,
            self._columns,
            coloured=use_colour(sys.stdout),
            with_header=with_header,
            widths_min=self._widths,
        )
