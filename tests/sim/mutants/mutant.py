"""A bug that can be put back in."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mutant:
    """One bug."""

    name: str
    what: str
    path: str
    """Below the package."""
    old: str
    new: str
    focus: str = ""
    """The group of faults (`tests.sim.plan.FOCUSES`) that finds it, and is in few seeds: only these are tried."""

    def apply(self, package: Path) -> None:
        """Change the source of a copy of the package.

        Raises:
            LookupError: the text to replace is not there exactly once.
        """
        path = package / self.path
        source = path.read_text()
        count = source.count(self.old)
        if count != 1:
            raise LookupError(f"mutant {self.name} does not apply: {self.path} holds its text {count} times, not once")
        path.write_text(source.replace(self.old, self.new))
