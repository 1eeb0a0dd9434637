from collections.abc import Callable
from pathlib import Path

import pytest

from raftd.errors import SettingsError
from raftd.settings import Settings, load

VALID = """\
cluster:
  name: demo
  id: 6f9c3c1e-0000-4000-8000-000000000000
nodes:
  - id: 1
    client_address: n1.example.net
    peer_address: n1.example.net
    http_address: n1.example.net
  - id: 2
    client_address: n2.example.net
    peer_address: n2.example.net
    http_address: n2.example.net
  - id: 3
    client_address: n3.example.net
    peer_address: n3.example.net
    http_address: n3.example.net
tls:
  peer:
    authority: pki/peer-ca.crt
    certificate: pki/node-{node}.peer.crt
    key: pki/node-{node}.peer.key
  client:
    authority: pki/client-ca.crt
    certificate: pki/node-{node}.client.crt
    key: pki/node-{node}.client.key
access:
  - {user: admin, prefix: "", allow: [read, write, admin]}
  - {user: app-*, prefix: app/, allow: [read]}
"""


@pytest.fixture
def valid() -> str:
    """The text of a file without mistakes and warnings."""
    return VALID


@pytest.fixture
def load_text(tmp_path: Path) -> Callable[[str], Settings]:
    """Load a text as if it stood in `raftd.yaml`."""

    def run(text: str) -> Settings:
        path = tmp_path / "raftd.yaml"
        path.write_text(text)
        return load(path)

    return run


@pytest.fixture
def problems_of(load_text: Callable[[str], Settings], tmp_path: Path) -> Callable[[str], list[str]]:
    """The first line of each problem of a text, without the file's directory."""

    def run(text: str) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            load_text(text)
        return [problem.split("\n")[0].removeprefix(f"{tmp_path}/") for problem in caught.value.problems]

    return run
