import re
from pathlib import Path

import pytest
import yaml

from raftd.client import ClientConfig

DOCUMENT = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


def test_there_are_examples() -> None:
    """The pattern finds them: otherwise the tests below would be none."""
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_run(example: str, config_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each example of docs/client.md does what it says, alone, with nothing but a configuration file beside it."""
    monkeypatch.chdir(config_path.parent)
    exec(compile(example, "docs/client.md", "exec"), {"__name__": "example"})  # noqa: S102 - our own documentation


def test_the_configuration_file_is_one(tmp_path: Path) -> None:
    """The file shown is accepted as it stands."""
    shown = re.findall(r"^```yaml\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)[0]
    assert yaml.safe_load(shown)
    path = tmp_path / "raftctl.yaml"
    path.write_text(shown)
    assert len(ClientConfig.load(path).endpoints) == 3
