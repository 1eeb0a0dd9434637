"""What game days ask of Prometheus before the harm, and wait for afterwards: played against a pretended one."""

import json
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from tests.deploy.playing import HERE, play_tasks, tasks_of_raftd

ALERT: Final = "RaftdNodeDown"
NODES: Final = ("n1", "n2", "n3")

pytestmark = pytest.mark.timeout(300)


class Pretended(ThreadingHTTPServer):
    """Answers as Prometheus' HTTP API does where game days ask it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.rules = [ALERT]
        self.scraped = len(NODES)
        self.firing = [False]
        """What to say, one after the other, to who asks whether the alert fires; then what was said last."""
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, path: str) -> dict[str, Any]:
        parts = urllib.parse.urlsplit(path)
        if parts.path == "/api/v1/rules":
            return {"groups": [{"rules": [{"name": name} for name in self.rules]}]}
        (query,) = urllib.parse.parse_qs(parts.query)["query"]
        self.asked.append(query)
        if query.startswith("up"):
            return {"result": [{}] * self.scraped}
        fires = self.firing[0] if len(self.firing) == 1 else self.firing.pop(0)
        return {"result": [{}] if fires else []}


class Handler(BaseHTTPRequestHandler):
    server: Pretended

    def do_GET(self) -> None:
        content = json.dumps({"status": "success", "data": self.server.answer(self.path)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        pass


@pytest.fixture
def prometheus() -> Iterator[Pretended]:
    with Pretended() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def play(directory: Path, prometheus: str, *tasks: str, **variables: object) -> tuple[int, str]:
    """Play tasks of the role raftd for the first of three nodes, on this machine; its exit code and what it said."""
    hosts = {name: {"raftd_node_id": number, **HERE} for number, name in enumerate(NODES, 1)}
    steps = [
        tasks_of_raftd(name, raftd_alert_should=should) for name, _, should in (task.partition(":") for task in tasks)
    ]
    given = {
        "raftd_alert": ALERT,
        "raftd_alert_labels": {"node": "1"},
        "raftd_cluster_name": "prod",
        "raftd_gameday_prometheus": prometheus,
        **variables,
    }
    return play_tasks(directory, steps, hosts, on=NODES[0], **given)


@pytest.mark.parametrize(
    ("knows", "message"),
    [
        ({"rules": []}, "has no alert RaftdNodeDown (deploy/monitoring/rules). Nothing was harmed"),
        ({"scraped": 2}, 'has answers from 2 of 3 nodes with the label cluster="prod"'),
        ({"firing": [True]}, "says that RaftdNodeDown fires already. Nothing was harmed"),
    ],
)
def test_nothing_is_harmed_that_nobody_would_be_told_of(
    prometheus: Pretended, tmp_path: Path, knows: dict[str, Any], message: str
) -> None:
    """Without the alert's rule, without all nodes, or with the alert firing before, the game day does not begin."""
    for name, value in knows.items():
        setattr(prometheus, name, value)
    code, said = play(tmp_path, prometheus.url, "gameday_alert_begin")
    assert code != 0
    assert message in said


def test_nothing_is_harmed_where_nobody_answers(tmp_path: Path) -> None:
    """An address without a Prometheus is told, with the variable to mend."""
    code, said = play(tmp_path, "http://127.0.0.1:1", "gameday_alert_begin")
    assert code != 0
    assert "does not answer as one" in said
    assert "Mend raftd_gameday_prometheus. Nothing was harmed" in said


def test_it_waits_until_the_alert_fires_and_clears(prometheus: Pretended, tmp_path: Path) -> None:
    """Prometheus is asked for this node's alert until it fires, and then until it does so no more."""
    prometheus.firing = [False, False, True, True, False]
    tasks = ("gameday_alert_begin", "gameday_alert:fire", "gameday_alert:clear")
    code, said = play(tmp_path, f"{prometheus.url}/", *tasks)
    assert code == 0, said
    assert prometheus.firing == [False]
    assert prometheus.asked[-1] == f'ALERTS{{alertname="{ALERT}",alertstate="firing",cluster="prod",node="1",}}'


@pytest.mark.parametrize(("should", "fires"), [("fire", False), ("clear", True)])
def test_an_alert_that_does_not_is_a_failure(prometheus: Pretended, tmp_path: Path, should: str, fires: bool) -> None:
    """An alert that does not fire, or does not clear, within its time fails the game day, by name and node."""
    prometheus.firing = [fires]
    code, said = play(tmp_path, prometheus.url, f"gameday_alert:{should}", raftd_gameday_alert_seconds=1)
    assert code != 0
    assert f"{ALERT} should {should} for" in said
    assert "did not within 1 s" in said
