"""The files of a package: a tree as it will lie on a host, and for each the mode that it has there."""

import gzip
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path, PurePosixPath
from typing import Final

from click.shell_completion import get_completion_class

from raftd.cli.raftctl import group as raftctl
from raftd.cli.raftd import group as raftd
from raftd_build import manual
from raftd_build.source import ROOT, Source
from raftd_build.tools import run_tool

MAINTAINER: Final = "raftd developers <raftd@example.org>"
_PROGRAMS: Final = ("raftd", "raftctl")
_COMPLETIONS: Final = {
    "bash": "usr/share/bash-completion/completions/{}",
    "zsh": "usr/share/zsh/vendor-completions/_{}",
    "fish": "usr/share/fish/vendor_completions.d/{}.fish",
}
_DOCUMENTS: Final = ("README.md", "ARCHITECTURE.md", "docs/*.md", "docs/img/*.png")
_DOCUMENTATION: Final = "usr/share/doc/raftd"
_BUILD_SECONDS_MAX: Final = 120


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a kind of package puts what is not at the same place everywhere."""

    library: str
    """The directory that the Python package lies in."""
    is_on_path: bool
    """Whether the system's Python looks there by itself."""
    units: str
    installer: str
    """Who is to be asked about the files, as Python's metadata have it: pip then leaves them alone."""


@dataclass(frozen=True, slots=True)
class Content:
    """One file of a package."""

    source: Path
    mode: int


def build_wheel(directory: Path, source: Source) -> Path:
    """Build raftd's wheel, without asking any registry for what builds it.

    Raises:
        BuildError: hatchling has refused.
    """
    directory.mkdir(parents=True, exist_ok=True)
    run_tool(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)],
        directory=ROOT,
        environment={"SOURCE_DATE_EPOCH": str(source.epoch)},
        seconds=_BUILD_SECONDS_MAX,
    )
    (wheel,) = directory.glob(f"raftd-{source.version}-*.whl")
    return wheel


class Stage:
    """A tree that is being filled, in `directory`."""

    def __init__(self, directory: Path, source: Source, layout: Layout) -> None:
        self._root = directory / "root"
        self._source = source
        self._layout = layout
        self._modes: dict[str, int] = {}
        self._add_library(build_wheel(directory, source))
        self._add_programs()
        self._add_systemd()
        self._add_manual()
        self._add_documentation()

    @property
    def contents(self) -> Mapping[PurePosixPath, Content]:
        """What goes where, in the order of the paths."""
        return {
            PurePosixPath("/") / name: Content(self._root / name, mode) for name, mode in sorted(self._modes.items())
        }

    def add(self, name: str, content: bytes, mode: int = 0o644) -> None:
        """Add a file."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self._modes[name] = mode

    def add_compressed(self, name: str, content: bytes) -> None:
        """Add a file in the form that policy wants: as small as gzip can, without a name or a date in it."""
        self.add(f"{name}.gz", gzip.compress(content, 9, mtime=0))

    def _add_library(self, wheel: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                # Python reads the metadata for versions and entry points; the record of files is the package manager's.
                if not name.endswith((".dist-info/RECORD", ".dist-info/licenses/LICENSE")):
                    self.add(f"{self._layout.library}/{name}", archive.read(name))
        installer = f"raftd-{self._source.version}.dist-info/INSTALLER"
        self.add(f"{self._layout.library}/{installer}", f"{self._layout.installer}\n".encode())

    def _add_programs(self) -> None:
        """Programs that no environment variable and no user's own directory of modules can change (-I)."""
        path = "" if self._layout.is_on_path else f'import sys\n\nsys.path.insert(0, "/{self._layout.library}")\n\n'
        for program in _PROGRAMS:
            main = f"#!/usr/bin/python3 -I\n{path}from raftd.cli.entry import {program}\n\n{program}()\n"
            self.add(f"usr/bin/{program}", main.encode(), 0o755)
        for shell, pattern in _COMPLETIONS.items():
            completion = get_completion_class(shell)
            assert completion is not None, shell
            for group, program in ((raftd, "raftd"), (raftctl, "raftctl")):
                complete = completion(group, {}, program, f"_{program.upper()}_COMPLETE")
                script = complete.source_template % complete.source_vars()
                self.add(pattern.format(program), script.encode())

    def _add_systemd(self) -> None:
        units = ROOT / "systemd"
        for path in _files(units, "*.service", "*.target", "*.timer"):
            self.add(f"{self._layout.units}/{path.name}", path.read_bytes())
        self.add("usr/lib/sysusers.d/raftd.conf", (units / "raftd.sysusers").read_bytes())
        self.add("usr/lib/tmpfiles.d/raftd.conf", (units / "raftd.tmpfiles").read_bytes())
        self.add("usr/lib/systemd/catalog/raftd.catalog", (units / "raftd.catalog").read_bytes())

    def _add_manual(self) -> None:
        for name, text in manual.pages(self._source).items():
            self.add_compressed(f"usr/share/man/man{name[-1]}/{name}", text.encode())

    def _add_documentation(self) -> None:
        for path in _files(ROOT, *_DOCUMENTS):
            self.add(f"{_DOCUMENTATION}/{path.relative_to(ROOT)}", path.read_bytes())
        for path in _files(ROOT / "systemd" / "examples", "**/*.conf"):
            self.add(f"{_DOCUMENTATION}/examples/{path.relative_to(ROOT / 'systemd' / 'examples')}", path.read_bytes())
        for path in _files(ROOT / "packaging" / "examples", "*.yaml"):
            self.add(f"{_DOCUMENTATION}/examples/{path.name}", path.read_bytes())
        self.add(f"{_DOCUMENTATION}/copyright", (ROOT / "packaging" / "copyright").read_bytes())
        self.add_compressed(f"{_DOCUMENTATION}/changelog", (ROOT / "CHANGELOG.md").read_bytes())


def debian_changelog(source: Source, version: str) -> str:
    """The package's own history, which has nothing to tell besides the program's."""
    commit = f"  * Built from commit {source.commit}.\n" if source.commit else ""
    return (
        f"raftd ({version}) stable; urgency=medium\n\n"
        f"  * Version {source.version}; changelog.gz tells what changed.\n{commit}\n"
        f" -- {MAINTAINER}  {formatdate(source.epoch)}\n"
    )


def _files(directory: Path, *patterns: str) -> Iterator[Path]:
    for pattern in patterns:
        yield from sorted(path for path in directory.glob(pattern) if path.is_file())
