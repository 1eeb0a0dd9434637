"""How long commands take to be applied on this node, by what they do and how they ended."""

from collections.abc import Mapping
from typing import Final

from raftd.consensus.types import LogIndex
from raftd.http.durations import CommandKind
from raftd.http.histogram import Histogram
from raftd.kv.answers import Outcome
from raftd.kv.operations import Opcode
from raftd.kv.stamps import parse_stamp

_KINDS: Final = {
    Opcode.OPEN_SESSION: CommandKind.SESSION,
    Opcode.CLOSE_SESSION: CommandKind.SESSION,
    Opcode.KEEP_ALIVE: CommandKind.SESSION,
    Opcode.PUT: CommandKind.PUT,
    Opcode.DELETE: CommandKind.DELETE,
    Opcode.INCREMENT: CommandKind.INCREMENT,
    Opcode.DELETE_RANGE: CommandKind.DELETE_RANGE,
    Opcode.TRANSACTION: CommandKind.TRANSACTION,
    Opcode.LEASE_GRANT: CommandKind.LEASE,
    Opcode.LEASE_REVOKE: CommandKind.LEASE,
    Opcode.ADVANCE_CLOCK: CommandKind.CLOCK,
    Opcode.EXPIRE_LEASES: CommandKind.LEASE,
}


class CommandDurations:
    """Sorts durations into histograms.

    Args:
        histograms: One for each kind, and for whether the outcome was OK.
    """

    __slots__ = ("_histograms",)

    def __init__(self, histograms: Mapping[tuple[CommandKind, bool], Histogram]) -> None:
        self._histograms = histograms

    def observe(self, index: LogIndex, data: bytes, answer: bytes, seconds: float) -> None:
        """Count the command of entry `index`, which was given this answer after so many seconds."""
        is_ok = answer[0] == Outcome.OK
        self._histograms[_kind_of(data, answer), is_ok].observe(seconds, index)


def _kind_of(data: bytes, answer: bytes) -> CommandKind:
    if answer[0] == Outcome.INVALID:
        return CommandKind.INVALID
    _, start = parse_stamp(data)
    return _KINDS[Opcode(data[start])]
