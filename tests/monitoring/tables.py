"""What a live test has seen, as a table in Markdown: printed, and kept where RAFTD_TABLES names a directory."""

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

DIRECTORY: Final = os.environ.get("RAFTD_TABLES")
"""Without it none are kept."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The table; what would end a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def tell(name: str, head: Sequence[str], rows: Iterable[Sequence[str]], directory: str | None = DIRECTORY) -> None:
    """Print the table under its name, and write it to `name.md`."""
    text = table(head, rows)
    sys.stdout.write(f"{name}:\n\n{text}\n")
    if directory is not None:
        Path(directory).mkdir(parents=True, exist_ok=True)
        (Path(directory) / f"{name}.md").write_text(text)
