import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from raftd.cli import completion
from raftd.cli.completion import KEYS_OFFERED_MAX, complete_key
from raftd.cli.raftctl import group
from raftd.client import Client, Put
from tests.cli.conftest import PROGRAM

Complete = Callable[[str], list[str]]


@pytest.fixture
def complete(client: Client, cluster_directory: Path) -> Iterator[Complete]:
    """The keys that `raftctl get` would be offered."""
    del client
    config = str(cluster_directory / "raftctl.yaml")
    with group.make_context("raftctl", ["--config", config, "get"], resilient_parsing=True) as context:
        yield lambda word: complete_key(
            click.Context(click.Command("get"), parent=context), click.Argument(["key"]), word
        )


def test_keys_that_begin_so(complete: Complete, client: Client) -> None:
    """In byte order; no other ones, and no more than anybody reads."""
    client.delete_range(prefix="c/")
    for start in range(0, 300, 100):
        client.transaction().then(*(Put(f"c/{number:03}", "") for number in range(start, start + 100))).commit()
    assert complete("c/01") == [f"c/{number:03}" for number in range(10, 20)]
    assert len(complete("c/")) == KEYS_OFFERED_MAX
    assert complete("no such key") == []


SPECIAL = ["odd/$(id)", "odd/*", "odd/;x", "odd/`id`", "odd/a b", "odd/back\\slash"]


@pytest.mark.parametrize(("shell", "special"), [("bash", []), ("zsh", SPECIAL), ("fish", SPECIAL)])
def test_what_a_shell_cannot_be_told(
    complete: Complete, client: Client, monkeypatch: pytest.MonkeyPatch, shell: str, special: list[str]
) -> None:
    """Keys that are not text, or would be several words to it, or do something, or steer the terminal, are left out."""
    monkeypatch.setenv("_RAFTCTL_COMPLETE", f"{shell}_complete")
    client.delete_range(prefix="odd/")
    for key in (b"odd/\n", b"odd/\xff", b"odd/\x1b[2J", b"odd/a-z_0.9@%+=:,", "odd/ümlaut".encode()):
        client.put(key, "")
    for name in SPECIAL:
        client.put(name, "")
    assert complete("odd/") == sorted([*special, "odd/a-z_0.9@%+=:,", "odd/ümlaut"])


def test_a_cluster_that_does_not_answer_is_not_waited_for(complete: Complete, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has pressed a key and looks at the cursor."""
    monkeypatch.setattr(completion, "_SECONDS", 0.05)
    monkeypatch.setattr(completion, "_find", lambda *_: threading.Event().wait(5))
    started = time.monotonic()
    assert complete("c/") == []
    assert time.monotonic() - started < 2


@pytest.mark.usefixtures("node")
def test_the_process_does_not_wait_for_what_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where something in it cannot be given up: it ends, with what it has."""
    monkeypatch.setenv("_RAFTCTL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "raftctl get x")
    monkeypatch.setenv("COMP_CWORD", "2")
    busy = "import sys, threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n"
    code = f"{busy}sys.argv[0] = 'raftctl'\n{PROGRAM[2]}"
    ended = subprocess.run([PROGRAM[0], "-c", code], capture_output=True, timeout=30, check=True)
    assert (ended.stdout.strip(), ended.stderr) == (b"", b"")
