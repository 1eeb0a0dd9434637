"""A target for Prometheus that says what a test wants: for what no live cluster can be brought to say.

Two leaders in one term would be a bug in raftd. What raises that alert must be tried all the same.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from tests.e2e.cluster import next_address


class Puppet:
    """One target, and its metrics as text."""

    def __init__(self) -> None:
        self.address = next_address()
        self._samples: Mapping[str, float] = {}

    def say(self, samples: Mapping[str, float]) -> None:
        """Export these samples from now on, by their names with labels, and nothing else."""
        self._samples = samples

    @property
    def text(self) -> str:
        """What is exported now."""
        return "".join(f"{name} {value}\n" for name, value in self._samples.items())

    @contextmanager
    def served(self) -> Iterator[None]:
        """Answer while the block runs."""
        puppet = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = puppet.text.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        with HTTPServer((self.address.host, self.address.port), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()
