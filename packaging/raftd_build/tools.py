"""Programs that do a part of a build."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class BuildError(Exception):
    """A tool has failed; the message is what it said."""


def run_tool(
    command: Sequence[str],
    *,
    seconds: float,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a tool to its end, quietly unless it fails, and return what it wrote.

    Args:
        command: The program and its arguments.
        seconds: How long it may take.
        directory: Where it runs.
        environment: What it finds in its environment besides this process's own.

    Raises:
        BuildError: it did not end with 0.
        subprocess.TimeoutExpired: it took too long.
    """
    ended = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=directory,
        env={**os.environ, **(environment or {})},
        timeout=seconds,
    )
    if ended.returncode:
        raise BuildError(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    return ended.stdout
