from pathlib import Path

from raftd.settings import Document
from raftd.settings.reference import reference
from raftd.settings.schema import paths


def test_the_committed_reference_is_the_schemas() -> None:
    """docs/settings.md says what the code does; python -m raftd.settings.reference writes it anew."""
    committed = Path(__file__).parents[2] / "docs" / "settings.md"
    assert committed.read_text(encoding="utf-8") == reference()


def test_every_key_has_its_row() -> None:
    """Nothing that a file can have is left out, and each row has five cells."""
    text = reference()
    for path in paths(Document):
        assert f"| `{path}` |" in text or f"| `{path}[]` |" in text
    assert {line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("|")} == {6}
