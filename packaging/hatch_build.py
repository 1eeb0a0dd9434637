"""Bakes the commit into what is built: an installed raftd has no git to ask (raftd/version.py reads the file)."""

import os
import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CommitHook(BuildHookInterface[Any]):
    """Adds `raftd/COMMIT`, where the commit is known. An editable install asks git each time instead."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the file, and say where it goes."""
        root = Path(self.root)
        if version == "editable" or (root / "raftd" / "COMMIT").exists():
            return  # an unpacked source distribution brings the file along
        commit = runpy.run_path(str(root / "raftd" / "version.py"))["checkout_commit"](root)
        if commit is not None:
            written = root / "build" / "COMMIT"
            written.parent.mkdir(exist_ok=True)
            # Builds side by side write the same, and none may find half of it.
            mine = written.with_suffix(f".{os.getpid()}")
            mine.write_text(f"{commit}\n")
            mine.replace(written)
            build_data["force_include"][str(written)] = "raftd/COMMIT"
