"""Whose files a command makes that is run as root: the daemon's, which could not read root's."""

import os
import pwd
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import click

DAEMON_USER: Final = "raftd"
"""Whom packages make for it."""


class Owner(NamedTuple):
    """A user and its group."""

    uid: int
    gid: int


def owner_of(name: str | None) -> Owner | None:
    """To whom files are to be handed over; None: they are this user's own already.

    Args:
        name: what the user says; None: nothing, so the daemon's user, if there is one.

    Raises:
        click.UsageError: it cannot be told whose they are to be, or they cannot be given away.
    """
    if os.geteuid() != 0:
        if name is not None and pwd.getpwuid(os.geteuid()).pw_name != name:
            raise click.UsageError("only root can give files to another user")
        return None
    try:
        entry = pwd.getpwnam(DAEMON_USER if name is None else name)
    except KeyError:
        if name is not None:
            raise click.UsageError(f"there is no user {name} on this machine") from None
        raise click.UsageError(
            "run as root, this needs to know whose the files are to be: --owner USER, the one that the node runs as"
        ) from None
    return Owner(entry.pw_uid, entry.pw_gid)


def give_like(like: Path) -> Callable[[Path], None]:
    """What gives a directory, with all that is in it, to whom `like` belongs now; to nobody, where root does not run.

    What is not there yet belongs to nobody else, either.
    """
    try:
        found = like.stat()
    except OSError:
        return lambda _: None
    owner = Owner(found.st_uid, found.st_gid)
    return partial(hand_over, owner=owner) if os.geteuid() == 0 and owner.uid != 0 else lambda _: None


def hand_over(path: Path, owner: Owner) -> None:
    """Give what is this user's of a directory, itself included, to another. Raises: OSError."""
    # From within, and without following links: if it is this user's, nobody else can enter, or change anything, before
    # the last step. If it is the other's already, a second name of a file elsewhere must not give that away.
    for _, directories, files, descriptor in os.fwalk(path, topdown=False):
        for name in directories:
            os.chown(name, *owner, dir_fd=descriptor, follow_symlinks=False)
        for name in files:
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if found.st_uid == os.geteuid() and found.st_nlink == 1:
                os.chown(name, *owner, dir_fd=descriptor, follow_symlinks=False)
    os.chown(path, *owner, follow_symlinks=False)
