"""The errors of raftd, by whose fault they are, and the exit codes of its commands.

Four kinds, never mixed:

========================  =====================================  ==============================
whose fault               class                                  what ends
========================  =====================================  ==============================
ours, a bug               `InvariantViolation`                   the process
ours, a wrong call        `LocalProtocolError`                   the call, nothing has changed
the peer's or client's    `RemoteProtocolError`                  that connection
the disk's                `StorageError`, `CorruptionError`      the process, data is at stake
========================  =====================================  ==============================

What a client's request can end in is not an error of the server: it is a typed answer on the wire
(`raftd.wire.client`), which the Python client turns into its own tree (`raftd.client.errors`).
"""

import enum
from typing import ClassVar


class ExitCode(enum.IntEnum):
    """What a command's exit status means; the same for `raftd` and `raftctl`."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3
    COMPARE_FAILED = 4
    UNAVAILABLE = 5
    OUTCOME_UNKNOWN = 6
    TLS = 7
    UNHEALTHY = 8
    CORRUPTION = 9
    REMOVED = 10
    CONFIGURATION = 78


class RaftdError(Exception):
    """Something went wrong that a user can be told in one line."""

    exit_code: ClassVar[ExitCode] = ExitCode.ERROR


class InvariantViolation(RaftdError):  # noqa: N818 - the field's own word, and STYLE's
    """A property that Raft or this code promises does not hold: a bug in raftd; the process must end."""


class LocalProtocolError(RaftdError):
    """This process called something in a state that does not allow it; nothing was changed."""


class RemoteProtocolError(RaftdError):
    """The other side sent something that the protocol does not allow; its connection ends."""


class DecodeError(RaftdError):
    """Bytes do not follow their format.

    Pure decoders know not whose bytes they are; the gateway that called them does, and raises `RemoteProtocolError` or
    `CorruptionError` from it.
    """


class StorageError(RaftdError):
    """The disk refused or failed; what was asked of it is not known to be stored."""


class CorruptionError(StorageError):
    """Stored bytes are not what was written; the node must not vote or lead with them."""

    exit_code = ExitCode.CORRUPTION


class DataDirectoryError(StorageError):
    """The data directory belongs to another node, cluster or format, or is in use."""

    exit_code = ExitCode.CONFIGURATION


class SettingsError(RaftdError):
    """The configuration cannot be used; carries every problem found, each of them a text for the user."""

    exit_code = ExitCode.CONFIGURATION

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


class TlsError(RaftdError):
    """A certificate, key or authority cannot be used or was not accepted."""

    exit_code = ExitCode.TLS


class ListenError(RaftdError):
    """An address cannot be listened on. Not a configuration error: what holds it may go away, so a restart may help."""
