"""What a node has to say to those who run it: one catalogue of events.

Each has a name to search for, a fixed MESSAGE_ID for the journal's catalogue, a level, and a text whose `%(field)s`
are its fields. Whoever logs names an event from here, so that no two places word the same thing differently:

    events.LEADER_ELECTED.log(logger, leader=2, term=5)
"""

import logging
import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of thing that can happen. `message_id` is 128 bits in hexadecimal and never changes once released."""

    name: str
    message_id: str
    level: int
    text: str

    @property
    def fields(self) -> tuple[str, ...]:
        """The names that `text` needs, in order."""
        return tuple(re.findall(r"%\((\w+)\)", self.text))

    def log(self, logger: logging.Logger, **fields: object) -> None:
        """Log this event with its fields, by the logger's usual rules."""
        arguments = [fields] if fields else []
        logger.log(self.level, self.text, *arguments, extra={"event": self}, stacklevel=2)


NODE_STARTED: Final = Event(
    "node_started",
    "cae74fdada6545a28e8678a185e91144",
    logging.INFO,
    "raftd %(version)s runs as node %(node)s of cluster %(cluster)s",
)
NODE_READY: Final = Event(
    "node_ready",
    "795e19d4681645ae8df1f2e742d6826d",
    logging.INFO,
    "the log is replayed up to %(index)s and the ports listen: client %(client)s, peer %(peer)s, HTTP %(http)s",
)
NODE_DRAINING: Final = Event(
    "node_draining",
    "58355156a2a74009a55fbbac4ee7dda0",
    logging.INFO,
    "stopping on %(signal)s: new work is refused, leadership is handed over",
)
NODE_STOPPED: Final = Event(
    "node_stopped",
    "e6823f06c7264f55a0b5b7239daf6a8a",
    logging.INFO,
    "stopped",
)
NODE_FAILED: Final = Event(
    "node_failed",
    "4e0e417e06a2458ea74b35277103a80f",
    logging.CRITICAL,
    "the node ends: %(reason)s",
)
SETTINGS_RELOADED: Final = Event(
    "settings_reloaded",
    "36126170e86449d89e6e6ebeb24f38fb",
    logging.INFO,
    "reloaded: %(changes)s",
)
SETTINGS_REFUSED: Final = Event(
    "settings_refused",
    "dd763f96330a40898e9f642bbc56ba45",
    logging.ERROR,
    "the reload was refused, the old settings stay: %(reason)s",
)
ELECTION_STARTED: Final = Event(
    "election_started",
    "476a14dbdf3846c9b17342db0eed9ebb",
    logging.INFO,
    "no leader was heard of in time: campaigns in term %(term)s",
)
LEADER_ELECTED: Final = Event(
    "leader_elected",
    "44320bad788d4118b7bbad9e0aa2ab88",
    logging.INFO,
    "node %(leader)s leads term %(term)s",
)
LEADER_LOST: Final = Event(
    "leader_lost",
    "1da7990e6b864284a99d7d993986b226",
    logging.WARNING,
    "no leader is known in term %(term)s",
)
LEADER_STEPPED_DOWN: Final = Event(
    "leader_stepped_down",
    "d4a6d8cfda4749cfa3c67c63b0a3057e",
    logging.WARNING,
    "steps down in term %(term)s: %(reason)s",
)
PEER_CONNECTED: Final = Event(
    "peer_connected",
    "99b2f5d92ba5444cb276c3b7da8ac112",
    logging.INFO,
    "connected to peer %(peer)s at %(address)s",
)
PEER_DISCONNECTED: Final = Event(
    "peer_disconnected",
    "21e4dfecbaf54e358b12a2d5a44de0a4",
    logging.WARNING,
    "lost peer %(peer)s at %(address)s: %(reason)s",
)
CONNECTION_REFUSED: Final = Event(
    "connection_refused",
    "112d41c62163454a832bba0c409908f0",
    logging.WARNING,
    "refused a connection from %(address)s: %(reason)s",
)
REFUSALS_LEFT_OUT: Final = Event(
    "refusals_left_out",
    "bd4f786236db48afaaa57ff7f3f27cd7",
    logging.WARNING,
    "refused %(count)s more connections to the port for %(purpose)s within %(seconds)s s, not told one by one",
)
LOG_TAIL_CUT: Final = Event(
    "log_tail_cut",
    "9b49a3802edd4662be0801fd28018d62",
    logging.WARNING,
    "cut %(bytes)s bytes of an unfinished write off the end of %(file)s",
)
LOG_DAMAGED: Final = Event(
    "log_damaged",
    "f06e314d83824cf2851c241df01d2e15",
    logging.CRITICAL,
    "%(file)s is damaged at byte %(offset)s: %(reason)s",
)
DISK_SLOW: Final = Event(
    "disk_slow",
    "abe1597f175c4f3facdf095e59b59b5d",
    logging.WARNING,
    "a log write has taken %(seconds)s s so far",
)
DISK_FAILED: Final = Event(
    "disk_failed",
    "159262e80e26441a92021181ae145a30",
    logging.CRITICAL,
    "the disk failed, nothing after index %(index)s is known to be stored: %(reason)s",
)
LOOP_LATE: Final = Event(
    "loop_late",
    "aa2e0c42e94d42e2bd4d62db5748b4e1",
    logging.WARNING,
    "the event loop was %(seconds)s s late",
)
CERTIFICATE_EXPIRES: Final = Event(
    "certificate_expires",
    "e12116e7146c48019cc8c42db912d37c",
    logging.WARNING,
    "the certificate %(file)s expires at %(expiry)s",
)
SNAPSHOT_STARTED: Final = Event(
    "snapshot_started",
    "098090e7a5a34e6f98852dc5e8bdfa22",
    logging.DEBUG,
    "snapshots the state as of entry %(index)s",
)
SNAPSHOT_MADE: Final = Event(
    "snapshot_made",
    "4807600b2bdf4dc1a3dcc42b2a0ec1d0",
    logging.INFO,
    "snapshot of entry %(index)s made in %(seconds)s s",
)
SNAPSHOT_FAILED: Final = Event(
    "snapshot_failed",
    "044ed70ecb704f97bc292195d7abd28f",
    logging.ERROR,
    "a snapshot could not be made or taken in: %(reason)s",
)
SNAPSHOT_INSTALLED: Final = Event(
    "snapshot_installed",
    "e3956f8a2aaf45eb9218eb88a7d3e636",
    logging.INFO,
    "took over the leader's snapshot of entry %(index)s",
)
MEMBERSHIP_CHANGED: Final = Event(
    "membership_changed",
    "c55395f2420a4d478d98a2b1230e44c5",
    logging.INFO,
    "voters %(voters)s, leaving %(outgoing)s, learners %(learners)s",
)
NODE_REMOVED: Final = Event(
    "node_removed",
    "3e8a9b6869ab4011bb124f3d4c9140b2",
    logging.WARNING,
    "this node is no member of the cluster any more, and ends",
)
CATALOGUE: Final = (
    NODE_STARTED,
    NODE_READY,
    NODE_DRAINING,
    NODE_STOPPED,
    NODE_FAILED,
    SETTINGS_RELOADED,
    SETTINGS_REFUSED,
    ELECTION_STARTED,
    LEADER_ELECTED,
    LEADER_LOST,
    LEADER_STEPPED_DOWN,
    PEER_CONNECTED,
    PEER_DISCONNECTED,
    CONNECTION_REFUSED,
    REFUSALS_LEFT_OUT,
    LOG_TAIL_CUT,
    LOG_DAMAGED,
    DISK_SLOW,
    DISK_FAILED,
    LOOP_LATE,
    CERTIFICATE_EXPIRES,
    SNAPSHOT_STARTED,
    SNAPSHOT_MADE,
    SNAPSHOT_FAILED,
    SNAPSHOT_INSTALLED,
    MEMBERSHIP_CHANGED,
    NODE_REMOVED,
)
