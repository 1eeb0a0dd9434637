"""Whose files a command makes that is run as root."""

import os
import pwd
from pathlib import Path

import click
import pytest

from raftd.cli import owner
from raftd.cli.owner import Owner, hand_over, owner_of


def as_user(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)


def test_whoever_is_not_root_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """And can give them to nobody else."""
    daemon = pwd.getpwnam("daemon")
    as_user(monkeypatch, daemon.pw_uid)
    assert owner_of(None) is None
    assert owner_of("daemon") is None
    with pytest.raises(click.UsageError, match="only root"):
        owner_of("root")


def test_root_gives_them_to_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    """To its user, by default or by name; if it is not known who that is, nothing is guessed."""
    as_user(monkeypatch, 0)
    daemon = pwd.getpwnam("daemon")
    assert owner_of("daemon") == Owner(daemon.pw_uid, daemon.pw_gid)
    monkeypatch.setattr(owner, "DAEMON_USER", "daemon")
    assert owner_of(None) == Owner(daemon.pw_uid, daemon.pw_gid)
    monkeypatch.setattr(owner, "DAEMON_USER", "nobody-has-this-name")
    with pytest.raises(click.UsageError, match="--owner USER"):
        owner_of(None)
    with pytest.raises(click.UsageError, match="no user nobody-has-this-name"):
        owner_of("nobody-has-this-name")


def test_all_of_a_directory_changes_hands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory last, so that nobody can enter before; what links point at, or name too, stays whose it is."""
    (tmp_path / "new" / "inner").mkdir(parents=True)
    (tmp_path / "new" / "inner" / "file").write_text("x")
    (tmp_path / "new" / "link").symlink_to("/etc/passwd")
    (tmp_path / "elsewhere").write_text("whose second name")
    (tmp_path / "new" / "second").hardlink_to(tmp_path / "elsewhere")
    given: list[tuple[str, int, int, bool]] = []

    def chown(path: str | Path, uid: int, gid: int, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> None:
        assert (dir_fd is None) == isinstance(path, Path)
        given.append((str(path), uid, gid, follow_symlinks))

    monkeypatch.setattr(os, "chown", chown)
    hand_over(tmp_path / "new", Owner(5, 6))
    assert {name for name, *_ in given} == {"file", "inner", "link", str(tmp_path / "new")}
    assert given[-1] == (str(tmp_path / "new"), 5, 6, False)
    assert all(each[1:] == (5, 6, False) for each in given)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_it_really_does(tmp_path: Path) -> None:
    """As root."""
    path = tmp_path / "new"
    path.mkdir(mode=0o700)
    (path / "file").write_text("x")
    daemon = pwd.getpwnam("daemon")
    hand_over(path, Owner(daemon.pw_uid, daemon.pw_gid))
    assert [(each.stat().st_uid, each.stat().st_gid) for each in (path, path / "file")] == [
        (daemon.pw_uid, daemon.pw_gid)
    ] * 2
