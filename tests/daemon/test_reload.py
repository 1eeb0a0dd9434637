import asyncio
import logging
import os
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from raftd import pki
from raftd.daemon import reload as reload_module
from raftd.daemon.credentials import read_credentials
from raftd.daemon.reload import Loaded, Outcome, Reloader
from raftd.http.view import Configuration
from raftd.kv.access import AccessRules
from raftd.settings import load
from raftd.settings.model import NodeSettings
from raftd.wire.client import Refusal, RefusalCode


@dataclass
class Node:
    """What a reload does to a node and its supervisor."""

    used: list[tuple[Loaded, Configuration]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    is_stopping: bool = False
    now: float = field(default_factory=lambda: datetime.now(UTC).timestamp())

    def use(self, loaded: Loaded, configuration: Configuration) -> None:
        self.used.append((loaded, configuration))

    def reloading(self) -> None:
        self.told.append("reloading")

    def ready(self, status: str) -> None:
        self.told.append(f"ready: {status}")

    @property
    def configuration(self) -> Configuration:
        return self.used[-1][1]

    def reloader(self, settings: Path) -> Reloader:
        node = load(settings).node(1)
        reloader = Reloader(
            Loaded(node, read_credentials(node), node.access_rules),
            use=self.use,
            supervisor=self,
            status_line=lambda: "leader",
            is_stopping=lambda: self.is_stopping,
            wall_clock=lambda: self.now,
        )
        reloader.start()
        return reloader


async def ask(reloader: Reloader) -> Outcome:
    done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    reloader.request(done.set_result)
    return await done


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario

    asyncio.run(bounded())


def edit(settings: Path, old: str, new: str) -> None:
    text = settings.read_text()
    assert old in text
    settings.write_text(text.replace(old, new, 1))


def events_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [event.name for record in caplog.records if (event := getattr(record, "event", None)) is not None]


def test_what_is_different_counts_and_is_named(settings: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Settings and certificates, in the answer, to the supervisor, in the log, and to whoever scrapes."""

    async def scenario() -> None:
        node = Node()
        reloader = node.reloader(settings)
        started = node.configuration
        edit(settings, "read, write, admin", "read, admin")
        pki.issue_node(settings.parent / "pki", 1, ["localhost"], overwrite=True)
        node.now += 100
        outcome = await ask(reloader)
        assert isinstance(outcome, dict)
        assert outcome["changed"] == ["access", "the peer certificate", "the client certificate"]
        assert outcome["waiting"] == []
        loaded, configuration = node.used[-1]
        assert loaded.settings.access[0].allow == ("read", "admin")
        assert not loaded.rules.of("admin").writes_any
        assert configuration.settings_hash == outcome["settings_hash"] != started.settings_hash
        assert configuration.reloaded_seconds == started.reloaded_seconds + 100
        assert (configuration.reloads_done, configuration.reloads_refused, configuration.is_refused) == (1, 0, False)
        assert node.told == ["reloading", "ready: leader"]
        await reloader.stop()

    with caplog.at_level(logging.INFO, "raftd"):
        run(scenario())
    assert events_of(caplog) == ["settings_reloaded"]
    assert caplog.records[0].getMessage() == "reloaded: access, the peer certificate, the client certificate"


def test_rules_that_cannot_be_made_are_refused(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While they are read: once they are used, a mistake would end a node that runs."""

    def broken(_: NodeSettings) -> AccessRules:
        raise ValueError("no such rule")

    async def scenario() -> None:
        node = Node()
        reloader = node.reloader(settings)
        monkeypatch.setattr(NodeSettings, "access_rules", property(broken))
        refusal = await ask(reloader)
        assert isinstance(refusal, Refusal)
        assert refusal.message == "the old settings stay: ValueError: no such rule"
        assert node.configuration.is_refused
        await reloader.stop()

    run(scenario())


def copy_half(settings: Path, name: str) -> None:
    """Bring one file of a pair that was renewed, and not yet the other."""
    directory = settings.parent / "pki"
    kept = {path: path.read_bytes() for path in directory.iterdir() if path.name != name}
    pki.issue_node(directory, 1, ["localhost"], overwrite=True)
    for path, data in kept.items():
        path.write_bytes(data)


def truncate(path: Path) -> None:
    """As a copy leaves it that was cut in the middle."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def become_fifo(path: Path) -> None:
    """Whoever opens it waits for somebody to write."""
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda settings: edit(settings, "cluster:", "colour: blue\ncluster:"), "raftd.yaml"),
        (lambda settings: edit(settings, "name: test", "name: other"), "cluster.name"),
        (lambda settings: settings.unlink(), "raftd.yaml"),
        (lambda settings: (settings.parent / "pki/node-1.client.key").unlink(), "node-1.client.key"),
        (lambda settings: (settings.parent / "pki/peer-ca.crt").write_text("-----BEGIN"), "peer-ca.crt"),
        (become_fifo, "raftd.yaml"),
        (lambda settings: become_fifo(settings.parent / "pki/node-1.peer.crt"), "node-1.peer.crt"),
        (lambda settings: become_fifo(settings.parent / "pki/client-ca.crt"), "client-ca.crt"),
        (lambda settings: become_fifo(settings.parent / "pki/node-1.client.key"), "node-1.client.key"),
        (lambda settings: copy_half(settings, "node-1.peer.crt"), "node-1.peer.key"),
        (lambda settings: copy_half(settings, "node-1.client.key"), "node-1.client.key"),
        (lambda settings: truncate(settings.parent / "pki/node-1.client.crt"), "node-1.client.crt"),
        (lambda settings: truncate(settings.parent / "pki/node-1.peer.key"), "node-1.peer.key"),
        (
            lambda settings: pki.issue_node(
                settings.parent / "pki", 1, ["h"], overwrite=True, now=datetime.now(UTC) - timedelta(days=800)
            ),
            "node-1.peer.crt expired",
        ),
        (lambda settings: edit(settings, "  - id: 1", "  - id: 2"), "there is no node 1"),
    ],
)
def test_a_bad_file_is_refused_with_a_line_and_nothing_changes(
    settings: Path, spoil: Any, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever asked is told, so are the log and the supervisor; the next reload is as good as the files are then."""

    async def scenario() -> None:
        node = Node()
        reloader = node.reloader(settings)
        good = {path: path.read_bytes() for path in [settings, *(settings.parent / "pki").iterdir()]}
        before = node.used[-1]
        spoil(settings)
        outcome = await ask(reloader)
        assert isinstance(outcome, Refusal)
        assert outcome.code is RefusalCode.NOT_POSSIBLE
        assert named in outcome.message
        assert "\n" not in outcome.message
        assert node.used[-1][0] is before[0]
        assert (node.configuration.is_refused, node.configuration.reloads_refused) == (True, 1)
        assert node.configuration.settings_hash == before[1].settings_hash
        assert node.configuration.reloaded_seconds == before[1].reloaded_seconds
        assert node.told == ["reloading", "ready: leader"]
        for path, data in good.items():
            path.unlink(missing_ok=True)
            path.write_bytes(data)
            path.chmod(0o600)
        assert isinstance(await ask(reloader), dict)
        assert (node.configuration.is_refused, node.configuration.reloads_done) == (False, 1)
        await reloader.stop()

    with caplog.at_level(logging.INFO, "raftd"):
        run(scenario())
    assert events_of(caplog) == ["settings_refused", "settings_reloaded"]


def test_what_needs_a_restart_waits_for_it(settings: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said each time, by comparison with what the node has started with, until the file is as it was."""

    async def scenario() -> None:
        node = Node()
        reloader = node.reloader(settings)
        edit(settings, "segment_size: 4MiB", "segment_size: 8MiB")
        for changed in ([], ["log.level"]):
            outcome = await ask(reloader)
            assert isinstance(outcome, dict)
            assert (outcome["changed"], outcome["waiting"]) == (changed, ["limits.segment_size"])
            assert node.configuration.waiting == ("limits.segment_size",)
            if not changed:
                edit(settings, "cluster:", "log: {level: warning}\ncluster:")
        edit(settings, "segment_size: 8MiB", "segment_size: 4MiB")
        await ask(reloader)
        assert node.configuration.waiting == ()
        await reloader.stop()

    with caplog.at_level(logging.INFO, "raftd"):
        run(scenario())
    assert events_of(caplog).count("settings_wait") == 2


def test_who_asks_meanwhile_gets_the_newest_files(settings: Path) -> None:
    """All who ask while a reload runs share one more, and each is answered once."""

    async def scenario() -> None:
        node = Node()
        reloader = node.reloader(settings)
        outcomes: list[Outcome] = []
        reloader.request(outcomes.append)
        await asyncio.sleep(0)
        for _ in range(20):
            reloader.request(outcomes.append)
        await ask(reloader)
        assert len(outcomes) == 21
        assert node.configuration.reloads_done == 2
        await reloader.stop()

    run(scenario())


def test_a_node_that_stops_reloads_no_more(settings: Path) -> None:
    """And says nothing more to its supervisor that could be taken for being ready."""

    async def scenario() -> None:
        node = Node()
        reloader = node.reloader(settings)
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        reloader.request(done.set_result)
        await asyncio.sleep(0)
        node.is_stopping = True
        await done
        assert node.told == ["reloading"]
        outcome = await ask(reloader)
        assert isinstance(outcome, Refusal)
        assert outcome.code is RefusalCode.STOPPING
        await reloader.stop()

    run(scenario())


def test_a_bug_in_reading_ends_no_node(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a file makes a library do, it is a refusal: nothing has changed by then."""

    def fail(_: object) -> Loaded:
        raise RecursionError("deep")

    async def scenario() -> None:
        node = Node()
        reloader = node.reloader(settings)
        monkeypatch.setattr(reload_module, "read_files", fail)
        outcome = await ask(reloader)
        assert isinstance(outcome, Refusal)
        assert "RecursionError: deep" in outcome.message
        await reloader.stop()

    run(scenario())


def test_certificates_that_expire_soon_are_warned_of(settings: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At the start and with each reload, each by its file."""

    async def scenario() -> None:
        node = Node()
        node.now += 340 * 86_400
        reloader = node.reloader(settings)
        await ask(reloader)
        await reloader.stop()

    with caplog.at_level(logging.WARNING, "raftd"):
        run(scenario())
    assert events_of(caplog) == ["certificate_expires"] * 4
    assert {Path(record.getMessage().split()[2]).name for record in caplog.records} == {
        "node-1.peer.crt", "node-1.client.crt",
    }  # fmt: skip
