"""What is built: which version, of which commit, as of when."""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from raftd.version import checkout_commit
from raftd_build.tools import BuildError, run_tool

ROOT: Final = Path(__file__).parents[2]
_BEFORE_ANY_COMMIT: Final = 1_577_836_800
_GIT_SECONDS_MAX: Final = 30


@dataclass(frozen=True, slots=True)
class Source:
    """The source tree at one commit."""

    version: str
    commit: str | None
    epoch: int
    """Seconds since 1970: every file in a package is dated so, for two builds to be the same bytes."""
    floors: Mapping[str, str]
    """By a dependency's name in pyproject.toml, the lowest version that will do."""


def read_source(environment: Mapping[str, str] | None = None) -> Source:
    """The tree that this file is part of.

    The date is SOURCE_DATE_EPOCH if that is set (reproducible-builds.org), else the commit's.
    """
    environment = os.environ if environment is None else environment
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return Source(
        version=project["version"],
        commit=checkout_commit(ROOT),
        epoch=int(environment.get("SOURCE_DATE_EPOCH") or _commit_time() or _BEFORE_ANY_COMMIT),
        floors=dict(_floor(requirement) for requirement in project["dependencies"]),
    )


def _floor(requirement: str) -> tuple[str, str]:
    match = re.fullmatch(r"([\w.-]+)>=([\w.]+)", requirement)
    if match is None:
        raise ValueError(f"{requirement}: a package can only say `name>=version`")
    return match[1], match[2]


def _commit_time() -> str | None:
    try:
        return run_tool(["git", "-C", str(ROOT), "log", "-1", "--format=%ct"], seconds=_GIT_SECONDS_MAX).strip()
    except (FileNotFoundError, BuildError):
        return None
