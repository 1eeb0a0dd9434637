"""The status page: one HTML document that holds all it needs, drawn by the node whose page it is.

It is for whoever has nothing but a browser. Without scripts it loads itself anew every few seconds; with them the same
page is fetched once a second and put in the old one's place, so that there is one place only that draws.

The policy lets the browser run and apply exactly the script and the style that are in the page, by their hashes, and
load nothing from anywhere. Escaping is `raftd.http.markup`'s. A node shows what it knows: a leader how far the others
are, a follower of the others no more than whether its link to them stands; the page says so, and links to theirs.
"""

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Final

from raftd.consensus.types import Role
from raftd.http.health import Check
from raftd.http.markup import Markup, element, joined
from raftd.http.members import members_section, role_of
from raftd.http.plot import Series, ceiling, draw
from raftd.http.pulse import BEATS_MAX, Pulse
from raftd.http.quantities import duration, quantity, size
from raftd.http.recent import RecentEvent
from raftd.http.view import NodeStatus

CONTENT_TYPE: Final = "text/html; charset=utf-8"

_EVENTS_SHOWN: Final = 30
_RELOAD_SECONDS: Final = 3
"""How often a browser without scripts loads the page anew."""
_DAY_SECONDS: Final = 86_400
_DAYS_WARNED: Final = 30
"""A certificate that holds for less is marked; for less than the next, as bad."""
_DAYS_BAD: Final = 7
_PAGES: Final = (
    "/metrics", "/livez?verbose", "/readyz?verbose", "/leader?verbose", "/follower?verbose", "/status", "/sd",
)  # fmt: skip
_LEVEL_STYLES: Final = {"warning": "pill warn", "error": "pill bad", "critical": "pill bad"}


@cache
def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text()


def _hash(text: str) -> str:
    """A source of a Content-Security-Policy that is this inline text and no other (CSP 3, §2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def headers() -> dict[str, str]:
    """What is sent with the page: nothing in it may come from elsewhere, send anything, or be framed."""
    policy = (
        f"default-src 'none'; script-src {_hash(_asset('page.js'))}; style-src {_hash(_asset('page.css'))}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
    }


def render(
    status: NodeStatus, checks: Sequence[Check], pulse: Pulse, events: Sequence[RecentEvent], wall_clock: float
) -> bytes:
    """Draw a node's page: two or three milliseconds of work, of which HTTP has its share of the loop and no more.

    Args:
        status: What the node is now.
        checks: Whether it is ready, and if not, why.
        pulse: How it has been doing.
        events: What has happened, newest first.
        wall_clock: Now, in seconds since the epoch.
    """
    title = f"{status.cluster}: node {status.node_id}, {role_of(status)}"
    live = element(
        "main",
        _header(status, checks, wall_clock),
        members_section(status, checks),
        _plots(status, pulse),
        element("div", _store(status), _process(status), class_="two"),
        _certificates(status, wall_clock),
        _events(events),
        _footer(),
        id="live",
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("title", title),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("link", rel="icon", href="data:,"),
        element("noscript", element("meta", http_equiv="refresh", content=_RELOAD_SECONDS)),
        element("style", Markup(_asset("page.css"))),
    )
    stale = element("p", id="stale", class_="bad", role="status", hidden=True)
    body = element("body", stale, live, element("script", Markup(_asset("page.js"))))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n".encode()


def _header(status: NodeStatus, checks: Sequence[Check], wall_clock: float) -> Markup:
    failures = [f"{check.name}: {check.failure}" for check in checks if check.failure is not None]
    if failures:
        state = element("span", f"not ready: {'; '.join(failures)}", class_="pill bad")
    else:
        state = element("span", "ready", class_="pill good")
    leader = "no leader is known" if status.leader_id is None else f"node {status.leader_id} leads"
    margin = None
    if status.quorum_margin is not None:
        words = f"{max(0, status.quorum_margin)} more of {status.voters} voters may fail"
        margin = element("p", words if status.quorum_margin > 0 else element("span", words, class_="pill warn"))
    return element(
        "header",
        element("h1", f"{status.cluster}, node {status.node_id}"),
        element("p", f"{role_of(status)} in term {status.current_term}"),
        element("p", leader),
        margin,
        element("p", state),
        element("p", "as of ", _time(wall_clock), " UTC"),
    )


def _plots(status: NodeStatus, pulse: Pulse) -> Markup:
    beats = pulse.beats
    changes = [beat.changes_per_second for beat in beats]
    writes, syncs = [beat.write_seconds for beat in beats], [beat.sync_seconds for beat in beats]
    rate = quantity(changes[-1] if changes else None)
    first = _figure(
        "Changes",
        [joined("applied here per second: ", element("b", rate, class_="changes"))],
        [Series("changes", changes)],
        "a second",
    )
    legend = [
        _latency("write, arrival to answer", "write", writes, pulse.write_p99_seconds),
        _latency("fdatasync here", "sync", syncs, pulse.sync_p99_seconds),
    ]
    second = _figure("Latency", legend, [Series("write", writes), Series("sync", syncs)], "")
    note = None
    if status.role is not Role.LEADER:
        note = element("p", "Writes are answered by the leader, so their latency is on its page.", class_="note")
    return element("div", element("section", first), element("section", second, note), class_="two")


def _latency(name: str, class_: str, values: Sequence[float | None], p99_seconds: float | None) -> Markup:
    most = "" if p99_seconds is None else f", 99 % within {duration(p99_seconds)}"
    return joined(f"{name}: ", element("b", duration(_latest(values)), class_=class_), most)


def _figure(heading: str, legend: Sequence[Markup], series: Sequence[Series], unit: str) -> Markup:
    top = ceiling(max((value for each in series for value in each.values if value is not None), default=0.0))
    shown = f"{quantity(top)} {unit}" if unit else duration(top)
    return element(
        "figure",
        element("h2", heading),
        element("figcaption", *(element("span", each) for each in legend)),
        draw(series, BEATS_MAX, top, f"{heading} of the last {BEATS_MAX} seconds, from 0 to {shown}"),
        element(
            "div", element("span", f"{BEATS_MAX // 60} min ago; top: {shown}"), element("span", "now"), class_="axis"
        ),
    )


def _latest(values: Sequence[float | None]) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)


def _store(status: NodeStatus) -> Markup:
    return _facts(
        "Store",
        ("keys", f"{status.keys:,} of at most {status.keys_max:,}"),
        ("keys and values", f"{size(status.data_bytes)} of at most {size(status.data_bytes_max)}"),
        ("revision", f"{status.revision:,}"),
        ("history", f"{status.history_changes:,} changes, {size(status.history_bytes)}"),
        ("sessions, leases", f"{status.sessions:,}, {status.leases:,} with {status.lease_keys:,} keys"),
        ("watches here", f"{status.watches:,}, of these behind {status.watches_behind:,}"),
    )


def _process(status: NodeStatus) -> Markup:
    disk = "full: deletes only" if status.disk_low else "ok"
    if status.disk_size_bytes:
        disk += f", {size(status.disk_free_bytes)} of {size(status.disk_size_bytes)} free"
    if status.storing_seconds >= 1:
        disk = f"a write has waited for {duration(status.storing_seconds)}"
    settings = "; ".join(f"node {each.node_id}: {each.difference}" for each in status.settings_differ)
    return _facts(
        "This node",
        ("log", f"committed {status.commit_index:,}, applied {status.last_applied:,}, stored {status.stored_index:,}"),
        ("under way", f"{status.pending_proposals:,} writes, {status.pending_reads:,} reads"),
        ("connections", f"{status.connections:,}"),
        ("disk", disk),
        ("event loop", f"{duration(status.loop_lag_seconds)} late"),
        ("raftd.yaml", settings or "as the membership"),
        ("version, uptime", f"{status.version}, {duration(status.uptime_seconds)}"),
    )


def _certificates(status: NodeStatus, wall_clock: float) -> Markup | None:
    """When what the node shows and trusts expires; nothing, where it does not tell."""
    told = status.configuration.certificates
    if not told:
        return None
    rows = []
    for each in told:
        days = (each.not_after_seconds - wall_clock) / _DAY_SECONDS
        look = "bad" if days < _DAYS_BAD else "warn" if days < _DAYS_WARNED else "good"
        left = "expired" if days < 0 else f"{days:,.0f} days left"
        cells = (each.port, each.kind, _time(each.not_after_seconds), element("span", left, class_=f"pill {look}"))
        rows.append(element("tr", *(element("td", cell) for cell in cells)))
    heads = (element("th", name, scope="col") for name in ("port", "what", "expires (UTC)", ""))
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *rows), class_="certificates")
    return element("section", element("h2", "Certificates"), table)


def _facts(heading: str, *facts: tuple[str, str]) -> Markup:
    rows = (part for name, text in facts for part in (element("dt", name), element("dd", text)))
    return element("section", element("h2", heading), element("dl", *rows))


def _events(events: Sequence[RecentEvent]) -> Markup:
    rows = [
        element(
            "tr",
            element("td", _time(event.at_seconds)),
            element("td", element("span", event.name, class_=_LEVEL_STYLES.get(event.level))),
            element("td", event.text),
        )
        for event in events[:_EVENTS_SHOWN]
    ]
    heads = (element("th", name, scope="col") for name in ("when (UTC)", "what", "in words"))
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *rows))
    empty = element("p", "None since this node started.", class_="none") if not rows else None
    return element(
        "section", element("h2", "Events of this node"), element("div", empty or table, class_="events", tabindex=0)
    )


def _footer() -> Markup:
    pages = [element("a", page, href=page) for page in _PAGES]
    return element("footer", element("span", "This page only reads, and knows no keys or values."), *pages)


def _time(seconds: float) -> Markup:
    moment = datetime.fromtimestamp(seconds, UTC)
    return element("time", f"{moment:%Y-%m-%d %H:%M:%S}", datetime=f"{moment:%Y-%m-%dT%H:%M:%SZ}")
