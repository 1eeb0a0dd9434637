"""Reading `raftd.yaml`."""

from pathlib import Path

from raftd.errors import InvariantViolation
from raftd.settings.checks import check
from raftd.settings.document import read_document
from raftd.settings.model import Settings
from raftd.settings.reader import read
from raftd.settings.schema import Document


def load(path: Path) -> Settings:
    """Read a `raftd.yaml`.

    The files that it names are not looked at: `raftd.pki.check_files` does that.

    Raises:
        SettingsError: with everything that is wrong, each with its place and line.
    """
    node, report = read_document(path)
    document, reading = read(Document, node, report)
    check(reading)
    report.raise_problems()
    if document is None:
        raise InvariantViolation(f"{path} could not be read, and yet no problem was noted")
    return Settings(path.absolute(), document, report.warnings)
