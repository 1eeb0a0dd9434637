"""Hosts for the tests: booted once for a session, and told of when a test fails."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.hosts import flights, requirements, scheduling
from tests.hosts.cluster import HostCluster
from tests.hosts.controller import Controller
from tests.hosts.fleet import Fleet
from tests.hosts.image import image as make_image
from tests.hosts.lab import Lab
from tests.packaging.conftest import build, build_newer

NODES: Final = ("raft1", "raft2", "raft3")
CLIENT: Final = "client"
SPARE: Final = "spare"
"""A host for whatever else there is to do."""
FLEET: Final = ("n1", "n2", "n3", "n4", "n5")
RUNBOOK: Final = "https://wiki.example.net/raftd"
_SHOWN_JOURNAL_LINES: Final = 40


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of hosts in order, behind all others."""
    items.sort(key=lambda item: scheduling.place(item.path.stem) if item.path.parent == Path(__file__).parent else -1)


@pytest.fixture(scope="session")
def image() -> Path:
    """The hosts' file system; where hosts cannot be, the test is skipped, or fails if it must not be."""
    if reasons := requirements.lacking():
        give_up = pytest.fail if requirements.are_required() else pytest.skip
        give_up(f"no hosts can be booted here: {'; '.join(reasons)}")
    return make_image()


@pytest.fixture(scope="session")
def lab(image: Path) -> Iterator[Lab]:
    """Five hosts that are up. Whoever harms one mends it."""
    with Lab(image, (*NODES, CLIENT, SPARE)) as lab:
        yield lab


@pytest.fixture(scope="session")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package of this tree."""
    return build("deb", tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="session")
def deployed(lab: Lab, deb: Path, tmp_path_factory: pytest.TempPathFactory) -> HostCluster:
    """A cluster of three, in the state that the last test has left it in."""
    cluster = HostCluster(lab, NODES, CLIENT, tmp_path_factory.mktemp("cluster") / "pki")
    cluster.deploy(deb)
    return cluster


@pytest.fixture
def cluster(deployed: HostCluster) -> HostCluster:
    """A cluster of three, well."""
    deployed.mend()
    return deployed


@pytest.fixture(scope="session")
def newer_deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package of this tree, had it a higher version number."""
    return build_newer(tmp_path_factory.mktemp("newer"))


@pytest.fixture(scope="session")
def installed_fleet(image: Path, deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A cluster of three that Ansible has made, in the state that the last test has left it in."""
    with Lab(image, FLEET) as lab:
        fleet = Fleet(lab, tmp_path_factory.mktemp("controller"), deb, raftd_monitoring_runbook=RUNBOOK)
        fleet.play("site.yml")
        yield fleet


@pytest.fixture
def fleet(installed_fleet: Fleet) -> Fleet:
    """A cluster of three that Ansible has made, well, with two hosts to spare."""
    installed_fleet.mend()
    return installed_fleet


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give a test's report what its canaries have told, and, when it fails, what the hosts have said last."""
    fixtures = getattr(item, "funcargs", {}).values()
    for controller in {each for each in fixtures if isinstance(each, Controller)}:
        item.user_properties += [(flights.PROPERTY, line) for line in controller.flights]
        controller.flights.clear()
    report = yield
    labs = {found for each in fixtures if isinstance(found := getattr(each, "lab", each), Lab)}
    for lab in labs if report.failed else ():
        for host in lab.hosts.values():
            command = ("journalctl", "--no-pager", "--unit", "raftd*", "--lines", str(_SHOWN_JOURNAL_LINES))
            said = host.run(*command, check=False, seconds=10).stdout if host.has_power else "(off)"
            report.sections.append((f"journal of {host.name}", said))
    return report
