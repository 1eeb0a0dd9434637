"""What a node binds to, and how it waits for that; names, addresses and time are the test's."""

import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from raftd.daemon.listening import wait_for_addresses
from raftd.daemon.patience import PATIENCE_SECONDS, Interrupted
from raftd.errors import ListenError
from raftd.settings import Address, Document, Settings
from raftd.settings.model import NodeSettings
from raftd.settings.schema import Listen, Node
from tests.daemon.process import document_of

AGAIN = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
LIMITS = ("StartLimitIntervalSec", "StartLimitBurst")
OUTWARD = {"n1": ["10.0.0.1"], "n2": ["10.0.0.2"], "n3": ["10.0.0.3"]}


@dataclass
class Host:
    """A machine that boots: what it knows changes while a node waits."""

    names: Mapping[str, Sequence[str]] = field(default_factory=lambda: OUTWARD)
    own: set[str] = field(default_factory=lambda: {"10.0.0.1"})
    later: list[tuple[float, Mapping[str, Sequence[str]], set[str]]] = field(default_factory=list)
    """From when on it knows this."""
    now: float = 0.0
    statuses: list[str] = field(default_factory=list)

    def look_up(self, name: str) -> Sequence[str]:
        if name not in self.names:
            raise AGAIN
        return self.names[name]

    def complaint(self, host: str) -> str | None:
        is_here = host in self.own or host.startswith("127.") or host == "0.0.0.0"  # noqa: S104 - compared only
        return None if is_here else "Cannot assign requested address"

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        while self.later and self.later[0][0] <= self.now:
            _, self.names, self.own = self.later.pop(0)

    def wait(self, settings: NodeSettings) -> NodeSettings:
        return wait_for_addresses(
            settings,
            self.statuses.append,
            look_up=self.look_up,
            complaint=self.complaint,
            clock=lambda: self.now,
            sleep=self.sleep,
        )


def settings_of(*hosts: str, listen: Listen | None = None) -> NodeSettings:
    """Node 1 of a cluster on these hosts."""
    nodes = tuple(
        Node(node_id, Address(host, 7400), Address(host, 7401), Address(host, 7402))
        for node_id, host in enumerate(hosts, 1)
    )
    document: Document = replace(document_of(), nodes=nodes, listen=listen or Listen())
    return Settings(Path("/raftd.yaml"), document).node(1)


def listens(settings: NodeSettings) -> list[str]:
    return [str(each) for each in (settings.client_listen, settings.peer_listen, settings.http_listen)]


def test_names_become_addresses() -> None:
    """Which is what the node tells of when it is ready; where others reach it stays a name."""
    host = Host()
    found = host.wait(settings_of("n1", "n2", "n3"))
    assert listens(found) == ["10.0.0.1:7400", "10.0.0.1:7401", "10.0.0.1:7402"]
    assert found.peer_address == Address("n1", 7401)
    assert (host.statuses, host.now) == ([], 0.0)


@pytest.mark.parametrize("given", ["127.0.0.1", "0.0.0.0", "10.0.0.1"])  # noqa: S104 - as raftd.yaml may have it
def test_addresses_stay_what_they_are(given: str) -> None:
    """Nothing is looked up for them, and who writes a loopback address means it."""
    host = Host(names={})
    every = Listen(Address(given, 1), Address(given, 2), Address(given, 3))
    assert listens(host.wait(settings_of("n1", "n2", listen=every))) == [f"{given}:{port}" for port in (1, 2, 3)]
    if given != "0.0.0.0":  # noqa: S104 - as above
        assert listens(host.wait(settings_of(given, "n2")))[1] == f"{given}:7401"


@pytest.mark.parametrize("loopback", ["127.0.1.1", "127.0.0.2", "::1"])
def test_a_name_that_is_loopback_here_is_refused(loopback: str, caplog: pytest.LogCaptureFixture) -> None:
    """As Debian's installer writes it: the others would never reach this node. The line says what to do."""
    host = Host(names={**OUTWARD, "n1": [loopback]})
    with pytest.raises(ListenError, match=rf"^cannot listen: n1 is {loopback} on this machine") as caught:
        host.wait(settings_of("n1", "n2", "n3"))
    assert "\n" not in str(caught.value)
    assert "node 2 at n2 cannot reach it" in str(caught.value)
    assert "take that out of /etc/hosts, or set listen.client" in str(caught.value)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_name_that_is_loopback_is_good_for_what_is_elsewhere(caplog: pytest.LogCaptureFixture) -> None:
    """Where `listen` says so, and for a cluster on one machine, or of one node."""
    host = Host(names={**OUTWARD, "n1": ["127.0.1.1"], "localhost": ["::1", "127.0.0.1"]})
    every = Listen(*(Address("0.0.0.0", port) for port in (1, 2, 3)))  # noqa: S104 - as raftd.yaml may have it
    assert listens(host.wait(settings_of("n1", "n2", listen=every)))[0] == "0.0.0.0:1"
    assert listens(host.wait(settings_of("n1")))[0] == "127.0.1.1:7400"
    assert listens(host.wait(settings_of("n1", "127.0.1.2", "localhost")))[0] == "127.0.1.1:7400"
    local = Listen(http=Address("localhost", 7402))
    names = {**host.names, "n1": ["10.0.0.1"]}
    assert listens(replace(host, names=names).wait(settings_of("n1", "n2", listen=local)))[2] == "127.0.0.1:7402"
    assert caplog.records == []


def test_while_the_others_cannot_be_looked_up_loopback_is_not_taken() -> None:
    """They are elsewhere, most likely, and DNS will say so; if all are here, /etc/hosts has all of their names."""
    host = Host(names={"n1": ["127.0.1.1"]}, later=[(30.0, {**OUTWARD, "n1": ["10.0.0.1", "127.0.1.1"]}, {"10.0.0.1"})])
    assert listens(host.wait(settings_of("n1", "n2", "n3")))[0] == "10.0.0.1:7400"
    assert host.statuses[0] == (
        "waiting to listen: n1 is 127.0.1.1 on this machine, which will do only if all nodes are on it, and n3 cannot "
        "be looked up: Temporary failure in name resolution"
    )


def test_of_several_addresses_the_first_that_can_be_bound_is_taken() -> None:
    """Loopback last, whatever the order; a host without IPv6 has the next one."""
    host = Host(names={**OUTWARD, "n1": ["127.0.1.1", "2001:db8::1", "10.0.0.1"]})
    assert listens(host.wait(settings_of("n1", "n2", "n3")))[0] == "10.0.0.1:7400"
    host.own.add("2001:db8::1")
    assert listens(host.wait(settings_of("n1", "n2", "n3")))[0] == "[2001:db8::1]:7400"


def test_loopback_does_not_stand_in_for_an_address_that_is_still_to_come() -> None:
    """It is always there first."""
    names = {**OUTWARD, "n1": ["127.0.1.1", "10.0.0.1"]}
    host = Host(names=names, own=set(), later=[(10.0, names, {"10.0.0.1"})])
    assert listens(host.wait(settings_of("n1", "n2")))[0] == "10.0.0.1:7400"
    assert host.statuses[0] == "waiting to listen: n1 is 10.0.0.1: Cannot assign requested address"


def test_a_host_that_boots_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """First for DNS, then for the address: each is said once in the log, and to the supervisor all the time."""
    host = Host(names={}, own=set(), later=[(20.0, OUTWARD, set()), (60.0, OUTWARD, {"10.0.0.1"})])
    assert listens(host.wait(settings_of("n1", "n2")))[1] == "10.0.0.1:7401"
    missing = [
        "n1 cannot be looked up: Temporary failure in name resolution",
        "n1 is 10.0.0.1: Cannot assign requested address",
    ]
    assert [record.getMessage() for record in caplog.records] == [f"waits to listen: {each}" for each in missing]
    assert list(dict.fromkeys(host.statuses)) == [f"waiting to listen: {each}" for each in missing]
    assert 60.0 <= host.now <= 66.0


def test_what_does_not_come_ends_the_node() -> None:
    """After a while, with the reason: so the supervisor and whoever has started it by hand hear of it."""
    host = Host(own=set())
    with pytest.raises(ListenError, match=r"^cannot listen: 10.0.0.1: Cannot assign requested address$"):
        host.wait(settings_of("10.0.0.1", "10.0.0.2"))
    assert PATIENCE_SECONDS <= host.now <= PATIENCE_SECONDS + 6.0


def test_waiting_in_vain_does_not_use_up_the_starts() -> None:
    """Else systemd would leave a node down for ever whose host was without DNS for a while."""
    unit = (Path(__file__).parents[2] / "systemd" / "raftd@.service").read_text()
    interval, burst = (int(re.findall(rf"^{name}=(\d+)$", unit, re.MULTILINE)[0]) for name in LIMITS)
    assert 2 * interval / burst < PATIENCE_SECONDS


def test_a_signal_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while the system's resolver takes its time; and afterwards SIGTERM means what it meant."""
    asked, answer = threading.Event(), threading.Event()

    def getaddrinfo(*_: object, **__: object) -> object:
        asked.set()
        assert answer.wait(20)
        return []

    def terminate() -> None:
        assert asked.wait(20)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    before = signal.getsignal(signal.SIGTERM)
    killer = threading.Thread(target=terminate)
    killer.start()
    try:
        with pytest.raises(Interrupted):
            wait_for_addresses(settings_of("n1", "n2"), lambda _: None)
    finally:
        answer.set()
        killer.join()
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_system_is_asked() -> None:
    """By name and by address, as this machine has them; nobody has 192.0.2.1 (RFC 5737), and nothing .invalid."""
    assert listens(wait_for_addresses(settings_of("localhost"), lambda _: None))[0] in {"127.0.0.1:7400", "[::1]:7400"}
    for host, reason in [("192.0.2.1", "192.0.2.1: "), ("no-such-host.invalid", "no-such-host.invalid cannot be ")]:
        times = iter([0.0, PATIENCE_SECONDS])
        with pytest.raises(ListenError, match=rf"^cannot listen: {reason}"):
            wait_for_addresses(settings_of(host), lambda _: None, clock=times.__next__)
