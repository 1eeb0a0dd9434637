"""Paths on a command line."""

from pathlib import Path
from typing import Any, Final

import click


class NamedPath(click.Path):
    """A path that says something: not the empty one, which would be the current directory.

    It is what a script has of a variable that is not set, and who gives it means no directory, least of all for keys.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Be click's `convert`."""
        if not str(value):
            self.fail("it is empty, and names nothing.", param, ctx)
        return super().convert(value, param, ctx)


PATH: Final = NamedPath(path_type=Path)
FILE: Final = NamedPath(path_type=Path, dir_okay=False)
DIRECTORY: Final = NamedPath(path_type=Path, file_okay=False)
FILE_OR_STREAM: Final = NamedPath(dir_okay=False, allow_dash=True)
"""Taken as text: `-` is standard input or output, and `./-` a file."""
