"""A real Prometheus that scrapes a cluster of the tests, and what it can be asked."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import yaml

from raftd.settings import Address
from tests.e2e.cluster import Cluster, command_that_dies_with_us, next_address
from tests.monitoring.hastening import hastened

SCRAPE_SECONDS: Final = 0.5
JOB: Final = "raftd"
_REQUEST_SECONDS: Final = 10.0
_RULES: Final = sorted((Path(__file__).parents[2] / "deploy" / "monitoring" / "rules").glob("*.yml"))

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is missing; on Debian: apt-get install prometheus"
)


class Target(NamedTuple):
    """Something to scrape, and the labels that it gets."""

    address: str
    labels: Mapping[str, str]


class Prometheus:
    """One process with its data in a directory of the test, evaluating raftd's own rules at a test's pace.

    Args:
        directory: Where it keeps everything.
        address: Where it listens; one of this machine's own, unless another is named.
        within: The beginning of a command line that runs the rest of it elsewhere, such as on another network.
    """

    discovery: Sequence[str] = ()
    """Where to ask for targets besides those that `scrape` names: addresses of nodes' /sd."""

    def __init__(self, directory: Path, address: Address | None = None, within: Sequence[str] = ()) -> None:
        self._directory = directory
        self._address = address or next_address()
        self._within = within
        self._targets = directory / "targets.json"
        self._log = directory / "prometheus.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start scraping; `ready` says when it can be asked."""
        (self._directory / "rules.yml").write_text(yaml.safe_dump(hastened(_RULES)))
        configuration = {
            "global": {
                "scrape_interval": f"{SCRAPE_SECONDS * 1000:.0f}ms",
                "scrape_timeout": f"{SCRAPE_SECONDS * 1000:.0f}ms",
                "evaluation_interval": f"{SCRAPE_SECONDS * 1000:.0f}ms",
            },
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {
                    "job_name": JOB,
                    "file_sd_configs": [{"files": ["targets.json"], "refresh_interval": "1s"}],
                    "http_sd_configs": [{"url": url, "refresh_interval": "1s"} for url in self.discovery],
                }
            ],
        }
        path = self._directory / "prometheus.yml"
        path.write_text(yaml.safe_dump(configuration))
        command: list[str] = [
            *self._within,
            "prometheus",
            f"--config.file={path}",
            f"--storage.tsdb.path={self._directory / 'data'}",
            f"--web.listen-address={self._address}",
            "--query.lookback-delta=5s",  # as short as the pace, so that what is gone is soon seen to be
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command_that_dies_with_us(str(shutil.which(command[0])), *command[1:]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def url(self) -> str:
        """What it is asked by."""
        return f"http://{self._address}"

    @property
    def log(self) -> str:
        """What the process has said."""
        return self._log.read_text(errors="replace")

    def scrape(self, targets: Iterable[Target]) -> None:
        """Scrape these from now on, and no others."""
        groups = [{"targets": [each.address], "labels": dict(each.labels)} for each in targets]
        fresh = self._targets.with_suffix(".new")
        fresh.write_text(json.dumps(groups))
        fresh.replace(self._targets)

    def is_ready(self) -> bool:
        """Whether it can be asked."""
        try:
            self._get("/-/ready")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def query(self, expression: str, *, at: float | None = None) -> list[dict[str, Any]]:
        """The samples that `expression` has now, or had at that time (since the epoch)."""
        return self._results("/api/v1/query", query=expression, time=time.time() if at is None else at)

    def range(
        self, expression: str, *, seconds: float, step: float = SCRAPE_SECONDS, end: float | None = None
    ) -> list[dict[str, Any]]:
        """The curves that `expression` had over the latest `seconds`, or over those before `end`."""
        end = time.time() if end is None else end
        return self._results("/api/v1/query_range", query=expression, start=end - seconds, end=end, step=step)

    def firing(self) -> set[str]:
        """The names of all alerts that fire now."""
        return {str(alert["labels"]["alertname"]) for alert in self.alerts() if alert["state"] == "firing"}

    def alerts(self) -> list[dict[str, Any]]:
        """All alerts that are pending or fire, with their labels and annotations."""
        alerts: list[dict[str, Any]] = json.loads(self._get("/api/v1/alerts"))["data"]["alerts"]
        return alerts

    def targets(self) -> list[Target]:
        """What it scrapes now, with the labels that discovery gave it."""
        active = json.loads(self._get("/api/v1/targets?state=active"))["data"]["activeTargets"]
        named = [each["discoveredLabels"] for each in active]
        return [
            Target(
                each["__address__"], {name: each[name] for name in each if not name.startswith("__") and name != "job"}
            )
            for each in named
        ]

    def _results(self, path: str, **parameters: object) -> list[dict[str, Any]]:
        answer = json.loads(self._get(f"{path}?{urllib.parse.urlencode(parameters)}"))
        results: list[dict[str, Any]] = answer["data"]["result"]
        return results

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://{self._address}{path}", timeout=_REQUEST_SECONDS) as answer:
            content: bytes = answer.read()
            return content


def nodes_of(cluster: Cluster) -> list[Target]:
    """Every node of the cluster, labelled as /sd and the Ansible role do."""
    return [
        Target(str(node.addresses.http_address), {"cluster": cluster.document.cluster.name, "node": str(node.id)})
        for node in cluster.nodes.values()
    ]
