import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from raftd import pki
from raftd.cli.output import run_main
from raftd.cli.pki import group
from raftd.errors import ExitCode


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command in an empty directory; what it wrote, after its exit code was checked."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str, code: ExitCode = ExitCode.OK) -> str:
        assert run_main(group, "raftctl", arguments) == code
        output = capsys.readouterr()
        if code is not ExitCode.OK:
            assert output.err.count("\n") == 1
            assert "Traceback" not in output.err
        return output.err or output.out

    return command


def test_a_cluster_of_one_node_takes_three_commands(run: Callable[..., str]) -> None:
    """What the help shows works, and show tells whose each certificate is."""
    assert run("init", "--cluster", "demo").startswith("wrote pki/peer-ca.crt and pki/peer-ca.key\n")
    run("issue-node", "--node", "1", "--host", "n1", "--host", "::1")
    run("issue-user", "admin")
    assert sorted(os.listdir("pki")) == sorted(  # noqa: PTH208 - names only
        f"{stem}.{suffix}"
        for stem in ("peer-ca", "client-ca", "node-1.peer", "node-1.client", "user-admin")
        for suffix in ("crt", "key")
    )
    shown = run("show")
    assert shown.count("\n") == 6
    assert "raftd://demo/node/1" in shown
    assert "in 364 days" in shown


def test_json_says_everything(run: Callable[..., str]) -> None:
    """For scripts that watch expiry."""
    run("init", "--cluster", "demo", "--dir", "d", "--days", "100")
    (row,) = json.loads(run("show", "d/peer-ca.crt", "-o", "json"))
    assert row["identity"] == "raftd://demo/authority/peer"
    assert (row["kind"], row["expired"], row["expires_in_days"]) == ("authority", False, 99)
    assert len(row["fingerprint"]) == 64
    assert row["alternative_names"] == ["raftd://demo/authority/peer"]
    assert "kind: authority" in run("show", "d/peer-ca.crt", "-o", "yaml")


def test_an_expired_certificate_is_marked(run: Callable[..., str]) -> None:
    """With how long ago."""
    run("init", "--cluster", "demo")
    pki.issue_user(Path("pki"), "old", days=1, now=datetime.now(UTC) - timedelta(days=4, hours=1))
    assert "EXPIRED 3 days ago" in run("show", "pki/user-old.crt")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("show", ExitCode.ERROR, "there is no directory pki"),
        ("show none.crt", ExitCode.ERROR, "cannot read none.crt"),
        ("show made/peer-ca.key", ExitCode.TLS, "holds no certificate"),
        ("issue-user bob", ExitCode.TLS, "raftctl pki init"),
        ("issue-user ../bob --dir made", ExitCode.USAGE, "is not a user's name"),
        ("issue-user", ExitCode.USAGE, "Missing argument"),
        ("issue-user bob --days 0 --dir made", ExitCode.USAGE, "--days"),
        ("issue-user bob --days 1e-9 --dir made", ExitCode.USAGE, "at least one second, and for at most 36500 days"),
        ("issue-user bob --days nan --dir made", ExitCode.USAGE, "at least one second"),
        ("issue-user bob --days soon --dir made", ExitCode.USAGE, "--days"),
        ("init --cluster demo --days 36501 --dir other", ExitCode.USAGE, "at most 36500 days"),
        ("rotate-ca --days 0.00001 --dir made", ExitCode.USAGE, "at least one second"),
        ("init", ExitCode.USAGE, "--cluster"),
        ("init --cluster Demo", ExitCode.USAGE, "is not a cluster's name"),
        ("init --cluster a/b", ExitCode.USAGE, "is not a cluster's name"),
        ("init --cluster demo --dir made", ExitCode.ERROR, "already there"),
        ("init --cluster demo --dir made/peer-ca.crt", ExitCode.ERROR, "cannot make the directory"),
        ("issue-node --node 1 --dir made", ExitCode.USAGE, "--host"),
        ("issue-node --node 0 --host a --dir made", ExitCode.USAGE, "--node"),
        ("issue-node --node one --host a --dir made", ExitCode.USAGE, "--node"),
        ("issue-node --node 1 --host a:7400 --dir made", ExitCode.USAGE, "neither a host's name"),
        ("renew", ExitCode.USAGE, "No such command"),
    ],
)
def test_each_mistake_is_one_line_and_an_exit_code(
    run: Callable[..., str], arguments: str, code: ExitCode, message: str
) -> None:
    """And writes nothing."""
    run("init", "--cluster", "demo", "--dir", "made")
    before = sorted(Path().rglob("*"))
    assert message in run(*arguments.split(), code=code)
    assert sorted(Path().rglob("*")) == before


def test_force_replaces(run: Callable[..., str]) -> None:
    """And only force does."""
    run("init", "--cluster", "demo")
    run("issue-user", "admin")
    before = Path("pki/user-admin.key").read_bytes()
    run("issue-user", "admin", code=ExitCode.ERROR)
    assert Path("pki/user-admin.key").read_bytes() == before
    run("issue-user", "admin", "--force")
    assert Path("pki/user-admin.key").read_bytes() != before


def test_one_bad_file_does_not_hide_the_others(run: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    """The good ones are shown, the bad one is told, and the exit code is the bad one's."""
    run("init", "--cluster", "demo")
    assert run_main(group, "raftctl", ["show", "pki/peer-ca.crt", "none.crt"]) == ExitCode.ERROR
    output = capsys.readouterr()
    assert "authority/peer" in output.out
    assert output.err == "raftctl: cannot read none.crt: No such file or directory\n"


def test_certificates_are_renewed_as_they_were(run: Callable[..., str]) -> None:
    """For the same hosts, with new keys; it is said that something was replaced which may be in use."""
    run("init", "--cluster", "demo")
    run("issue-node", "--node", "1", "--host", "n1", "--host", "::1", "--days", "10")
    run("issue-user", "admin", "--days", "10")
    before = {path: path.read_bytes() for path in Path("pki").iterdir()}
    said = run("issue-node", "--node", "1", "--renew")
    assert said.splitlines()[0] == "replaced pki/node-1.peer.crt and pki/node-1.peer.key"
    run("issue-user", "admin", "--renew")
    changed = {path.name for path, data in before.items() if path.read_bytes() != data}
    assert changed == {path.name for path in before if "-ca" not in path.name}
    info = pki.describe(Path("pki/node-1.client.crt"))
    assert info.alternative_names == ("raftd://demo/node/1", "n1", "::1")
    assert (info.not_after - datetime.now(UTC)).days == 364


def test_what_is_not_there_cannot_be_renewed(run: Callable[..., str]) -> None:
    """And what is new needs its hosts."""
    run("init", "--cluster", "demo")
    assert "node-1.peer.crt" in run("issue-node", "--node", "1", "--renew", code=ExitCode.ERROR)
    assert "--renew" in run("issue-node", "--node", "1", code=ExitCode.USAGE)
    assert "--renew" in run("issue-node", "--node", "1", "--host", "n1", "--renew", code=ExitCode.USAGE)


def test_an_authority_takes_over_in_three_steps(run: Callable[..., str]) -> None:
    """Each says how far it is and what comes next; a step out of order is refused."""
    run("init", "--cluster", "demo")
    run("issue-node", "--node", "1", "--host", "n1")
    run("issue-user", "admin")

    def step(*arguments: str) -> list[dict[str, Any]]:
        return list(json.loads(run("rotate-ca", "-o", "json", *arguments)))

    start = step()
    assert [(row["authority"], row["phase"], row["next"]) for row in start] == [
        ("peer", "none", None), ("client", "none", None),
    ]  # fmt: skip
    assert "trust-both" in run("rotate-ca", "--phase", "reissue", code=ExitCode.TLS)
    for phase, following, trusted in (
        ("trust-both", "reissue", 2),
        ("reissue", "trust-new", 2),
        ("trust-new", None, 1),
    ):
        rows = step("--phase", phase)
        assert step() == rows
        for row in rows:
            assert row["phase"] == (phase if following else "none")
            assert (row["next"], len(row["trusted"]), row["stale"]) == (following, trusted, [])
    assert not {row["issuing"] for row in rows} & {row["issuing"] for row in start}
    assert len(run("rotate-ca").splitlines()) == 3


def test_one_authority_can_be_rotated_alone(run: Callable[..., str]) -> None:
    """The other one stays as it is."""
    run("init", "--cluster", "demo")
    (row,) = json.loads(run("rotate-ca", "--authority", "client", "--phase", "trust-both", "-o", "json"))
    assert (row["authority"], row["phase"]) == ("client", "trust-both")
    assert [row["phase"] for row in json.loads(run("rotate-ca", "-o", "json"))] == ["none", "trust-both"]
