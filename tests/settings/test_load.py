import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftd.errors import ExitCode, SettingsError
from raftd.settings import Address, Settings, load

BROKEN = """\
cluster:
  name: Demo
  id: 1234
  nmae: demo
nodes:
  - id: 1
    client_address: 127.0.0.1:7400
    peer_address: 127.0.0.1:7400
    http_address: 1:30
  - id: 1
    client_address: "[::1]"
    peer_address: 0.0.0.0:7401
    http_address: h:99999
data_directory: data/{id}
tls:
  peer: {authority: pki/peer-ca.crt, certificate: "pki/node-{node}.peer.crt"}
timing: {tick: 50, heartbeat: 1:30, election_timeout: 150ms}
timing: {}
log: {level: on, format: jsn}
limits:
shutdown: {drain_timeout: 10 parsecs}
tick: 5ms
"""

GOLDEN = """\
FILE:2:9: cluster.name "Demo" is not a cluster's name: lower-case letters, digits and -, at most 63, not - first
      name: Demo
            ^^^^
FILE:3:7: cluster.id "1234" is not a UUID, such as 6f9c3c1e-0b1d-4c53-9a7e-3d1f0c5b7a21; uuidgen prints a new one
      id: 1234
          ^^^^
FILE:4:3: unknown key "nmae" in cluster; did you mean "name"?
      nmae: demo
      ^^^^
"""


def test_a_valid_file_has_no_warnings(valid: str, load_text: Callable[[str], Settings]) -> None:
    """The values are as written, and the default ports stand in."""
    loaded = load_text(valid)
    assert loaded.warnings == ()
    assert loaded.cluster.name == "demo"
    assert [node.id for node in loaded.nodes] == [1, 2, 3]
    assert loaded.nodes[1].peer_address == Address("n2.example.net", 7401)


def test_everything_wrong_is_said_at_once_in_order_and_at_its_place(
    load_text: Callable[[str], Settings], tmp_path: Path
) -> None:
    """One run shows all mistakes of a really broken file, each with line, column, caret and a way out."""
    with pytest.raises(SettingsError) as caught:
        load_text(BROKEN)
    text = str(caught.value).replace(str(tmp_path / "raftd.yaml"), "FILE")
    assert caught.value.exit_code == ExitCode.CONFIGURATION
    assert text == (Path(__file__).parent / "broken.golden.txt").read_text().rstrip("\n")
    assert text.startswith(GOLDEN)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """So is a directory, or a FIFO that nobody writes to, and all name the path."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "fifo"):
        with pytest.raises(SettingsError) as caught:
            load(path)
        assert str(caught.value).startswith(f"{path}: cannot be read: ")
        assert "\n" not in str(caught.value)


def test_lines_are_counted_as_yaml_counts_them(problems_of: Callable[[str], list[str]]) -> None:
    """NEL and the Unicode line separator end a line too, so there are more lines than line feeds make."""
    (problem,) = problems_of("a: b\x85c: d\u2028e: [")
    assert problem.startswith("raftd.yaml:3:")


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_gives_problems_or_settings(
    data: st.DataObject, valid: str, load_text: Callable[[str], Settings]
) -> None:
    """Whatever is typed into a good file, there is no traceback."""
    start = data.draw(st.integers(0, len(valid)))
    end = data.draw(st.integers(start, min(len(valid), start + 20)))
    piece = data.draw(st.text(st.sampled_from(" \t\n:-{}[]&*!|>'\"%@`#,?a1~<\x00\x85é\u2028"), max_size=6))
    with contextlib.suppress(SettingsError):
        load_text(valid[:start] + piece + valid[end:])
