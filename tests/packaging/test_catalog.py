import re
import shutil
import subprocess
from pathlib import Path

import pytest

from raftd import events
from raftd_build.catalog import catalog

COMMITTED = Path(__file__).parents[2] / "systemd" / "raftd.catalog"
LINE_LENGTH_MAX = 120


def test_the_catalogue_is_that_of_the_events() -> None:
    """systemd/raftd.catalog says what raftd/events.py says: `make catalog` was not forgotten."""
    assert COMMITTED.read_text() == catalog()


def test_every_event_is_explained_under_its_own_id() -> None:
    """Each event has an entry, and no entry is of something else."""
    assert re.findall(r"^-- (\w+)$", catalog(), re.MULTILINE) == [event.message_id for event in events.CATALOGUE]


@pytest.mark.parametrize("event", events.CATALOGUE, ids=lambda event: event.name)
def test_advice(event: events.Event) -> None:
    """Each advice says something in whole sentences, and names no field that the event does not have."""
    advice = event.advice.strip()
    assert advice[0].isupper()
    assert advice[-1] in ".?!"
    assert all(len(line) <= LINE_LENGTH_MAX for line in advice.splitlines())
    known = {"RAFTD_NODE"} | {f"RAFTD_{name.upper()}" for name in event.fields}
    assert set(re.findall(r"@(\w+)@", advice)) <= known


def test_the_journal_takes_it(tmp_path: Path) -> None:
    """The journal's own tool finds all entries in the file."""
    if shutil.which("journalctl") is None:
        pytest.skip("journalctl is not installed")
    place = tmp_path / "usr/lib/systemd/catalog/raftd.catalog"
    place.parent.mkdir(parents=True)
    place.write_text(catalog())
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    subprocess.run(["journalctl", "--update-catalog", f"--root={tmp_path}"], check=True, timeout=60)
    listed = subprocess.run(
        ["journalctl", "--list-catalog", f"--root={tmp_path}"], check=True, capture_output=True, text=True, timeout=60
    )
    assert set(re.findall(r"^(\w{32}) raftd: ", listed.stdout, re.MULTILINE)) == {
        event.message_id for event in events.CATALOGUE
    }
