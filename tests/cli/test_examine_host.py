import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from raftd.cli.examine import renewal
from raftd.cli.examine_host import SYNCS, examine_host, measure_sync
from raftd.cli.findings import Finding, Level
from raftd.settings import NodeSettings, Settings, load
from tests.daemon.process import document_of, write_files


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A node's files, with its data directory."""
    write_files(tmp_path, document_of())
    loaded = load(tmp_path / "raftd.yaml")
    loaded.node(1).data_directory.mkdir(mode=0o700, parents=True)
    loaded.path.chmod(0o644)
    return loaded


Examine = Callable[..., list[Finding]]


@pytest.fixture
def examine(settings: Settings) -> Examine:
    def findings(sync_seconds: float | None = 0.001) -> list[Finding]:
        return list(examine_host(settings, settings.node(1), sync_seconds))

    return findings


def bad(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level is Level.BAD]


def test_a_host_that_is_well(examine: Examine) -> None:
    """Its disk, four certificates, and two modes."""
    findings = examine()
    assert {finding.level for finding in findings} == {Level.OK}
    assert [finding.check for finding in findings] == ["disk", *["certificates"] * 4, "files", "files"]


@pytest.mark.parametrize(("seconds", "level"), [(100.0, Level.BAD), (0.03, Level.WARNING), (None, Level.UNKNOWN)])
def test_the_disk_that_was_measured(examine: Examine, seconds: float | None, level: Level) -> None:
    """Is judged as those that nodes tell of."""
    assert examine(seconds)[0].level is level


def test_files_that_are_open_to_others(examine: Examine, settings: Settings) -> None:
    """Data that others may read, settings that others may write, and a key that others may read."""
    node: NodeSettings = settings.node(1)
    for path, mode, found in (
        (node.data_directory, 0o750, f"{node.data_directory} is open to others (mode 0750)"),
        (settings.path, 0o666, f"{settings.path} is open to others (mode 0666)"),
        (node.client_tls.key, 0o644, f"{node.client_tls.key} is open to others (mode 0644)"),
    ):
        before = path.stat().st_mode & 0o777
        path.chmod(mode)
        (finding,) = bad(examine())
        assert finding.found.startswith(found)
        path.chmod(before)
    assert bad(examine()) == []


def test_each_authority_of_a_bundle_is_looked_at(examine: Examine, settings: Settings) -> None:
    """While one takes over from another, both count."""
    authority = settings.node(1).peer_tls.authority
    authority.write_bytes(authority.read_bytes() + settings.node(1).client_tls.authority.read_bytes())
    found = [finding.found for finding in examine() if finding.check == "certificates"]
    assert sum(str(authority) in each for each in found) == 2


def test_files_that_have_expired(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node's own are issued anew; an authority would be trusted by nobody then, so another one takes over."""
    monkeypatch.setattr("raftd.cli.examine_host.time", SimpleNamespace(time=lambda: 1e11))
    advice = [finding.advice for finding in examine() if finding.check == "certificates"]
    own, authority = renewal("node", "1"), renewal("authority", "")
    assert advice == [own, authority, own, authority]


def test_what_cannot_be_read_is_not_known(examine: Examine, settings: Settings) -> None:
    """And is no reason to stop looking."""
    settings.node(1).data_directory.rmdir()
    settings.node(1).peer_tls.certificate.unlink()
    findings = examine()
    assert [finding.level for finding in findings if finding.check == "files"] == [
        Level.BAD,
        Level.UNKNOWN,
        Level.OK,
    ]


def ticking(step: float) -> Iterator[float]:
    now = 0.0
    while True:
        yield now
        now += step


def test_the_disk_is_measured_without_a_trace(tmp_path: Path) -> None:
    """What is nearly the longest of so many; and nothing is left in the directory."""
    calls = ticking(0.001)
    seconds = measure_sync(tmp_path, lambda: next(calls))
    assert seconds == pytest.approx(0.001)
    assert next(calls) == pytest.approx((3 * SYNCS + 1) * 0.001)
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - the bare names are what matters


def test_a_slow_disk_is_not_measured_for_long(tmp_path: Path) -> None:
    """It ends when its time is over, with what it has."""
    calls = ticking(1.0)
    assert measure_sync(tmp_path, lambda: next(calls)) == 1.0
    assert next(calls) < 20


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    """It says so, and the command tells what to do."""
    with pytest.raises(OSError, match="No such file"):
        measure_sync(tmp_path / "absent")
