import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import pytest

from raftd.consensus.types import NodeId, Role
from raftd.http.health import Check
from raftd.http.histogram import Histogram
from raftd.http.page import headers, render
from raftd.http.pulse import Pulse
from raftd.http.recent import RecentEvent
from raftd.http.view import CertificateStatus, Configuration, NodeStatus, PeerStatus, SettingsDifference

StatusOf = Callable[..., NodeStatus]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror='alert(2)'>\"&"


class FakeNode(Protocol):
    now: NodeStatus

    def status(self) -> NodeStatus: ...


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def writes() -> Histogram:
    return Histogram((0.001, 0.002))


@pytest.fixture
def pulse(node: FakeNode, clock: Clock, writes: Histogram) -> Pulse:
    return Pulse(node.status, writes=writes, syncs=Histogram((0.001,)), now=clock)


Draw = Callable[..., str]


@pytest.fixture
def draw(node: FakeNode, pulse: Pulse) -> Draw:
    """The page of the node as it is."""

    def page(*events: RecentEvent, failure: str | None = None) -> str:
        return render(node.now, (Check("leader", failure),), pulse, events, 0.0).decode()

    return page


def inline(page: str, tag: str) -> list[str]:
    return re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)


def test_the_policy_allows_what_is_in_the_page_and_nothing_else(draw: Draw) -> None:
    """One script and one style, each by the hash of what the page holds; no attribute is code or style."""
    page, policy = draw(), headers()["Content-Security-Policy"]
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        (text,) = inline(page, tag)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    body = re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL)
    assert not re.search(r"<[^>]+\s(on\w+|style)=", body)


def test_it_needs_nothing_from_elsewhere(draw: Draw) -> None:
    """No address but the nodes' own pages is in it, and nothing is loaded."""
    page = draw()
    assert not re.search(r"\bsrc=|@import|url\(", page)
    pages = ("metrics", "livez?verbose", "readyz?verbose", "leader?verbose", "follower?verbose", "status", "sd")
    assert set(re.findall(r'href="([^"]*)"', page)) == {"data:,", *(f"/{name}" for name in pages)}


def test_whatever_is_said_is_text(node: FakeNode, draw: Draw) -> None:
    """Names, events, differences, failures and addresses become no element, whoever chose their words."""
    node.now = replace(
        node.now,
        cluster=HOSTILE,
        version=HOSTILE,
        settings_differ=(SettingsDifference(NodeId(9), HOSTILE),),
        peers=(PeerStatus(NodeId(2), connected=True, http_address=HOSTILE),),
    )
    page = draw(RecentEvent(0.0, "error", HOSTILE, HOSTILE), failure=HOSTILE)
    assert page.count("<script>") == 1
    assert "<img" not in page
    assert page.count("&lt;/script&gt;&lt;script&gt;alert(1)") >= 6


def test_it_works_without_scripts(draw: Draw) -> None:
    """Everything is in the document as it comes, which loads itself anew where no script does."""
    page = draw(RecentEvent(1.5, "warning", "leader_lost", "no leader is known in term 4"))
    assert '<noscript><meta http-equiv="refresh" content="3"></noscript>' in page.partition("</head>")[0]
    assert '<time datetime="1970-01-01T00:00:01Z">1970-01-01 00:00:01</time>' in page
    assert '<p>as of <time datetime="1970-01-01T00:00:00Z">1970-01-01 00:00:00</time> UTC</p>' in page
    assert '<span class="pill warn">leader_lost</span>' in page
    assert "<h1>demo, node 1</h1><p>leader in term 5</p><p>node 1 leads</p>" in page
    assert "<title>demo: node 1, leader</title>" in page


def test_readiness_is_told_with_its_reason(draw: Draw) -> None:
    """The same checks as /readyz has."""
    assert '<span class="pill good">ready</span>' in draw()
    assert "not ready: leader: no leader is known" in draw(failure="no leader is known")


def test_the_plots_are_of_the_pulse(draw: Draw, node: FakeNode, pulse: Pulse, clock: Clock, writes: Histogram) -> None:
    """The newest values stand beside them, and their scale; before the first beat there is nothing."""
    assert '<b class="changes">-</b>' in draw()
    for revision in (30, 42):
        clock.seconds += 1
        node.now = replace(node.now, revision=revision)
        writes.observe(0.0015)
        pulse.beat()
    page = draw()
    assert '<b class="changes">12</b>' in page
    assert '<b class="write">1.5 ms</b>' in page
    assert "99 % within 2.0 ms" in page
    assert "top: 20 a second" in page
    assert "top: 2 ms" in page


def test_a_follower_says_where_latencies_are(draw: Draw, node: FakeNode) -> None:
    """It answers no writes itself."""
    assert "on its page" not in draw()
    node.now = replace(node.now, role=Role.FOLLOWER, leader_id=NodeId(2))
    assert "Writes are answered by the leader" in draw()


def test_what_is_wrong_with_the_process_is_seen(draw: Draw, leader_with: StatusOf, node: FakeNode) -> None:
    """A full disk, one that hangs, and a file that is not what the cluster became."""
    node.now = leader_with(disk_low=True)
    assert "full: deletes only" in draw()
    node.now = leader_with(storing_seconds=2.0, settings_differ=(SettingsDifference(NodeId(3), "a member, and …"),))
    assert "a write has waited for 2 s" in draw()
    assert "node 3: a member, and …" in draw()


@pytest.mark.parametrize(
    ("days", "pill"),
    [(400, "good>400 days left"), (29, "warn>29 days left"), (6, "bad>6 days left"), (-1, "bad>expired")],
)
def test_certificates_that_expire_are_marked(
    draw: Draw, node: FakeNode, leader_with: StatusOf, days: int, pill: str
) -> None:
    """Each of those that the node tells of; without any there is no table."""
    assert "Certificates" not in draw()
    told = CertificateStatus("peer", "authority", "f", "k", not_after_seconds=days * 86_400.0)
    node.now = leader_with(configuration=Configuration(certificates=(told,)))
    page = draw()
    assert "<td>peer</td><td>authority</td>" in page
    assert pill in page.replace('"', "")


def test_how_many_voters_may_fail(draw: Draw, leader_with: StatusOf, node: FakeNode) -> None:
    """A leader knows it, and none is a warning."""
    node.now = leader_with(quorum_margin=1, voters=3)
    assert "<p>1 more of 3 voters may fail</p>" in draw()
    node.now = leader_with(quorum_margin=0, voters=3)
    assert '<span class="pill warn">0 more of 3 voters may fail</span>' in draw()
    node.now = leader_with(role=Role.FOLLOWER, quorum_margin=None)
    assert "may fail" not in draw()


def test_an_empty_list_of_events_says_so(draw: Draw) -> None:
    """Rather than to look broken."""
    assert "None since this node started." in draw()
