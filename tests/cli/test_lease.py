import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

from raftd.cli import lease as lease_module
from raftd.client import Client, Unavailable
from raftd.errors import ExitCode
from tests.cli.conftest import PATIENCE_SECONDS, Spawn, wait_until

Raftctl = Callable[..., bytes]


def test_the_life_of_a_lease(raftctl: Raftctl, raftctl_json: Callable[..., Any], client: Client) -> None:
    """Granted, used, shown, listed, kept alive once, and revoked with its keys."""
    granted = raftctl_json("lease", "grant", "60s")
    assert granted["ttl_seconds"] == 60
    lease = str(granted["lease"])
    raftctl("set", "of-lease", "1", "--lease", lease)
    assert b"key 1      of-lease" in raftctl("lease", "show", lease)
    shown = raftctl_json("lease", "show", lease)
    assert (shown["keys"], shown["user"]) == (["of-lease"], "admin")
    assert 0 < shown["remaining_seconds"] <= 60
    assert {"lease": granted["lease"], "ttl_seconds": 60, "user": "admin", "keys": 1} in raftctl_json("lease", "list")
    assert lease.encode() in raftctl("lease", "list")
    assert b"remaining  60 s" in raftctl("lease", "keep-alive", lease, "--once")
    assert raftctl_json("lease", "revoke", lease) == {"lease": granted["lease"], "deleted": 1}
    assert client.get("of-lease") is None


@pytest.mark.parametrize("command", [["show"], ["revoke"], ["keep-alive"], ["keep-alive", "--once"]])
def test_a_lease_that_does_not_exist(raftctl: Raftctl, command: list[str]) -> None:
    """Exit code 3, and one line; what is no id is a usage error."""
    said = raftctl("lease", *command, "999999999", code=ExitCode.NOT_FOUND)
    assert b"lease" in said
    assert said.count(b"\n") == 1
    for wrong in ("0", "x", str(1 << 64)):
        raftctl("lease", *command, wrong, code=ExitCode.USAGE)


def test_a_time_to_live_that_is_none(raftctl: Raftctl) -> None:
    """It needs a unit, and some length; one that is far too long is refused."""
    for wrong in ("60", "0s", "-1s", "soon"):
        raftctl("lease", "grant", wrong, code=ExitCode.USAGE)
    assert raftctl("lease", "grant", "1000d", code=ExitCode.ERROR).count(b"\n") == 1


def test_kept_alive_until_ctrl_c(spawn: Spawn, client: Client) -> None:
    """The first line says that it works; Ctrl-C is how it is meant to end; a lease that ends is exit code 3."""
    lease = client.grant_lease(1)
    process = spawn("lease", "keep-alive", str(lease.id), "-o", "json")
    assert process.stdout is not None
    assert json.loads(b"".join(process.stdout.readline() for _ in range(4)))["lease"] == lease.id
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_SECONDS) == ExitCode.OK
    ending = client.grant_lease(1)
    process = spawn("lease", "keep-alive", str(ending.id))
    assert process.stdout is not None
    process.stdout.readline()
    ending.revoke()
    wait_until(lambda: process.poll() is not None, "it ends")
    assert process.returncode == ExitCode.NOT_FOUND


def test_keeping_alive_is_tried_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the cluster knows when a lease has ended, so one that cannot be reached is asked again."""
    answers = iter([Unavailable("nobody is there"), None])

    class FakeClient:
        def keep_lease_alive(self, _lease: int) -> float:
            if (error := next(answers)) is not None:
                raise error
            return 1.0

    monkeypatch.setattr(lease_module, "_PAUSE_SECONDS", 0.0)
    lease_module._keep_alive(FakeClient(), 1)  # type: ignore[arg-type]  # all that is used of a client
    assert capsys.readouterr().err == "raftctl: nobody is there; trying again\n"
