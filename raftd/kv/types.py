"""What everything in the state machine speaks of: its numbers, what it keeps of a key, and what a wrong command is."""

from typing import Final, NewType, TypeAlias

from raftd.errors import DecodeError

SessionId = NewType("SessionId", int)
"""Names a session for ever: the log index of the entry that opened it, so 1 or greater."""

LeaseId = NewType("LeaseId", int)
"""Names a lease for ever: the log index of the entry that granted it, so 1 or greater."""

NO_LEASE: Final = LeaseId(0)
"""The lease of a key that stays until it is deleted."""

Revision = NewType("Revision", int)
"""Counts the commands that changed a key; 0 before the first."""

Record: TypeAlias = tuple[Revision, Revision, int, LeaseId, bytes, bytes]
"""What is kept of a key: (create_revision, modify_revision, version, lease, user, value), in the order of an answer.

`user` wrote it last. A tuple and not a class on purpose: a million of them are kept, each a third smaller than an
object with slots, and the garbage collector stops visiting a tuple of plain values.
"""

NetChange: TypeAlias = tuple[bytes, Record | None, Record | None]
"""What one command makes of one key: (key, record before, record after); they differ, and None is for an absent key."""


class InvalidCommand(DecodeError):  # noqa: N818 - it names the command, which is at fault
    """Bytes, or what they are to be made of, are no valid command or query; the message says why, for the client."""


class CommandTooLarge(InvalidCommand):
    """A key, a value or the whole command is longer than it may be."""
