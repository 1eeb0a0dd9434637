"""What a node has to say to those who run it: one catalogue of events.

Each has a name to search for, a fixed MESSAGE_ID for the journal's catalogue, a level, a text whose `%(field)s` are its
fields, and what `journalctl -x` tells those who wonder what to do about it (`systemd/raftd.catalog`, which is made from
this: `make catalog`). Whoever logs names an event from here, so that no two places word the same thing differently:

    events.LEADER_ELECTED.log(logger, leader=2, term=5)
"""

import logging
import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of thing that can happen.

    `message_id` is 128 bits in hexadecimal and never changes once released. `advice` is what it means and what to do,
    in the journal's own notation: `@RAFTD_NODE@` stands for the node's id, and `@RAFTD_…@` for any field of the event.
    """

    name: str
    message_id: str
    level: int
    text: str
    advice: str

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
    """\
The process has begun, has read its settings and found its certificates usable. It reads its data next; node_ready
follows when that is done. Nothing is to be done, unless it begins again and again: then what ended the process before
is in the lines above this one.
""",
)
CLOCK_BEHIND: Final = Event(
    "clock_behind",
    "5e0c1b7f93a84d2fae64d1c70b9f3852",
    logging.WARNING,
    "waits for the time: %(reason)s",
    """\
A certificate of the node, or of an authority that it trusts, is valid only from a later time on, and nothing else is
wrong with its files. While a host boots that passes by itself, as soon as its clock is set: node_started follows then.
If it does not come within two minutes the process ends with exit code 7, and systemd starts it again, for as long as it
takes.

If it stays so: is the clock of this host right (timedatectl)? If it is, then it was wrong where the certificate was
issued: issue it again (raftctl pki issue-node --node @RAFTD_NODE@ --renew).
""",
)
ADDRESS_MISSING: Final = Event(
    "address_missing",
    "4787f7786b1c441681bae35733e802b9",
    logging.WARNING,
    "waits to listen: %(reason)s",
    """\
The node has read its data, and takes no connections yet, since an address of its own is missing. While a host boots
that passes by itself, as soon as names can be looked up and the network is there: node_ready follows then. If it does
not come within two minutes the process ends, and systemd starts it again, for as long as it takes.

If it stays so: a name that cannot be looked up is wrong in raftd.yaml, or missing in DNS or /etc/hosts. An address that
cannot be assigned is not this machine's: is node @RAFTD_NODE@ really the one of this host? A name that is 127.0.1.1
here, as Debian's installer and cloud-init write it to /etc/hosts, is of use to nobody else: take that line out, or say
under listen in raftd.yaml where to listen.
""",
)
NODE_READY: Final = Event(
    "node_ready",
    "795e19d4681645ae8df1f2e742d6826d",
    logging.INFO,
    "the log is replayed up to %(index)s and the ports listen: client %(client)s, peer %(peer)s, HTTP %(http)s",
    """\
The node takes connections and may vote. It need not know a leader yet: leader_elected follows within about two election
timeouts when a majority of the voters runs. If it does not, look at the other nodes: raftctl status.
""",
)
NODE_DRAINING: Final = Event(
    "node_draining",
    "58355156a2a74009a55fbbac4ee7dda0",
    logging.INFO,
    "stopping on %(signal)s: new work is refused, leadership is handed over",
    """\
Somebody told the node to stop. It finishes what it has accepted, refuses new work so that clients turn to another node,
and hands its leadership over. That takes shutdown.drain_timeout at most. A second signal ends it at once; nothing
that was acknowledged is lost by that.
""",
)
NODE_STOPPED: Final = Event(
    "node_stopped",
    "e6823f06c7264f55a0b5b7239daf6a8a",
    logging.INFO,
    "stopped",
    """\
The node has ended in order. Nothing is to be done.
""",
)
NODE_FAILED: Final = Event(
    "node_failed",
    "4e0e417e06a2458ea74b35277103a80f",
    logging.CRITICAL,
    "the node ends: %(reason)s",
    """\
The process ends, because to go on could lose or falsify data, or because it cannot work at all. The reason is in the
message. systemd starts it again, except after wrong settings (exit code 78), damaged data (9) and removal (10), which a
restart does not heal. While a majority of the other nodes runs, the cluster goes on without this one. A failure
of the disk is told as disk_failed, and damage as log_damaged, in place of this.

Settings: correct them, and try them with raftd check-config --node @RAFTD_NODE@. Certificates: raftctl pki show tells
whose they are and when they expire. A text that says it is a bug in raftd: keep the journal
of this node, and report it.
""",
)
SETTINGS_RELOADED: Final = Event(
    "settings_reloaded",
    "36126170e86449d89e6e6ebeb24f38fb",
    logging.INFO,
    "reloaded: %(changes)s",
    """\
What the message names is in force from now on, for new connections too. Nothing is to be done.
""",
)
SETTINGS_REFUSED: Final = Event(
    "settings_refused",
    "dd763f96330a40898e9f642bbc56ba45",
    logging.ERROR,
    "the reload was refused, the old settings stay: %(reason)s",
    """\
The new file, or a certificate that it names, cannot be used, or the file is of another cluster by its name or id. The
node goes on with what it had. Correct it, try it with raftd check-config --node @RAFTD_NODE@, and reload again.
As long as that is not done, the next restart will fail.
""",
)
SETTINGS_WAIT: Final = Event(
    "settings_wait",
    "7bffdbc8cf65446a88704257c02b464b",
    logging.WARNING,
    "these settings have changed and count after a restart only: %(settings)s",
    """\
The file has been read, and all else that is in it counts. What is named does so when the node starts the next time: let
one node after the other start anew, each after raftctl can-stop has allowed it, or put the file back as it was.
""",
)
ELECTION_STARTED: Final = Event(
    "election_started",
    "476a14dbdf3846c9b17342db0eed9ebb",
    logging.INFO,
    "no leader was heard of in time: campaigns in term %(term)s",
    """\
The node has heard of no leader for longer than an election timeout, and a majority would vote for somebody else than
the last one. Once after a leader's end this is as it should be. Again and again it means that votes or heartbeats do
not arrive in time: look at peer_disconnected, at the disks (disk_slow) and at the load of the machines.
""",
)
LEADER_ELECTED: Final = Event(
    "leader_elected",
    "44320bad788d4118b7bbad9e0aa2ab88",
    logging.INFO,
    "node %(leader)s leads term %(term)s",
    """\
From now on this node follows, or is, the leader that the message names. Nothing is to be done. If leaders change often
without anybody having stopped one, look for disk_slow and loop_late at the time of each change.
""",
)
LEADER_LOST: Final = Event(
    "leader_lost",
    "1da7990e6b864284a99d7d993986b226",
    logging.WARNING,
    "no leader is known in term %(term)s: %(reason)s",
    """\
Until leader_elected follows, this node can neither take writes nor give fresh reads; clients wait, and repeat. It takes
about two election timeouts. If it lasts, fewer than a majority of the voters can talk to each other: raftctl status
shows who is missing. Start those nodes or mend the network. Only if their disks are lost for good: raftd recover.
""",
)
LEADER_STEPPED_DOWN: Final = Event(
    "leader_stepped_down",
    "d4a6d8cfda4749cfa3c67c63b0a3057e",
    logging.WARNING,
    "steps down in term %(term)s: %(reason)s",
    """\
This node led and gives it up, because it could not know any more whether it still led. Writes under way are answered
by the next leader, or as of unknown outcome. Look at the reason; it is the network to the other nodes in most cases.
""",
)
STATE_DIVERGED: Final = Event(
    "state_diverged",
    "c4b0a8d31e5f4d0f9b7a2e6c58d1f3a7",
    logging.ERROR,
    "the state as of entry %(index)s is not that of node %(peer)s",
    """\
Two nodes have applied the same entries and hold different states: a bug in raftd, memory that lost a bit, or data that
somebody changed. Reads from one of the two are wrong. Nothing is repaired by itself.

Find out which one it is. Only the leader's state is compared with the others': of several peers the one that differs
from it, or the leader, if all do (raftctl status). To be sure, let a node lead that differs from none (raftctl
transfer-leader NODE), and look again: some keys are compared with every 128th entry, all of them with eight entries for
each. Keep a copy of the wrong one's data directory for a report. While a majority of the others runs, replace it with a
new id and an empty data directory (raftctl member replace), and test the memory of its machine.
""",
)
PEER_CONNECTED: Final = Event(
    "peer_connected",
    "99b2f5d92ba5444cb276c3b7da8ac112",
    logging.INFO,
    "connected to peer %(peer)s at %(address)s",
    """\
Messages to that node can be sent. Nothing is to be done.
""",
)
PEER_DISCONNECTED: Final = Event(
    "peer_disconnected",
    "21e4dfecbaf54e358b12a2d5a44de0a4",
    logging.WARNING,
    "lost peer %(peer)s at %(address)s: %(reason)s",
    """\
Messages to that node are dropped until it can be reached; it is dialled again and again. While a majority is connected
the cluster works. If that node was stopped on purpose, nothing is to be done. Otherwise: does it run (systemctl status
there), is its peer port open to this machine, and is its certificate valid (raftctl pki show)?
""",
)
CONNECTION_REFUSED: Final = Event(
    "connection_refused",
    "112d41c62163454a832bba0c409908f0",
    logging.WARNING,
    "refused a connection from %(address)s: %(reason)s",
    """\
Somebody at that address began a connection and did not get through; the reason is in the message. Of a client or node
of your own: its certificate is expired, of another authority, or made for something else; see raftctl pki show. Of an
address that you do not know: the port can be reached from where it should not be; see the example of an address
allow-list in the package's documentation.
""",
)
REFUSALS_LEFT_OUT: Final = Event(
    "refusals_left_out",
    "bd4f786236db48afaaa57ff7f3f27cd7",
    logging.WARNING,
    "refused %(count)s more connections to the port for %(purpose)s within %(seconds)s s, not told one by one",
    """\
So many more were refused as those that connection_refused tells of, which has addresses and reasons of some. Somebody
tries again and again: a client or node whose certificate is no longer accepted, a probe that speaks another protocol,
or a stranger. It costs the node little, but nobody who is refused is served: find out who it is.
""",
)
HTTP_REFUSED: Final = Event(
    "http_refused",
    "5d0c7c1be0b94c1f8e5f6a3b9d27e481",
    logging.INFO,
    "refused HTTP from %(address)s: %(reason)s",
    """\
Somebody asks the HTTP port for what it does not serve, or more often or more slowly than it allows. It costs the node
little, since HTTP has a tenth of its event loop at most. If it is a balancer or a Prometheus of your own, correct what
it asks (docs/http.md); if nobody knows the address, the port can be reached from where it should not be.
""",
)
LOG_TAIL_CUT: Final = Event(
    "log_tail_cut",
    "9b49a3802edd4662be0801fd28018d62",
    logging.WARNING,
    "cut an unfinished write off %(file)s at byte %(offset)s",
    """\
The machine or the process ended in the middle of a write that had not been acknowledged to anybody. What was written of
it is proven to be that, and is removed. Nothing is lost and nothing is to be done. If it happens without a power cut or
a kill, distrust the disk.
""",
)
LOG_DAMAGED: Final = Event(
    "log_damaged",
    "f06e314d83824cf2851c241df01d2e15",
    logging.CRITICAL,
    "the node ends, what is stored is not what was written: %(reason)s",
    """\
Bytes that were once stored are not what was written: the disk or its controller lost or changed them. The node does not
start, since it could vote or lead without what it has promised to keep. systemd does not restart it.

Do not delete single files. Examine the disk (smartctl, the kernel's log). While a majority of the other nodes runs,
replace this one with a new id and an empty data directory: raftctl member replace. If no majority is left, keep a copy
of all data directories before anything else, and then read about raftd recover.
""",
)
LOG_LOST: Final = Event(
    "log_lost",
    "4c63cdbe321b46a6a1233ad2fef864c1",
    logging.ERROR,
    "node %(peer)s has come back without what it had stored up to entry %(index)s",
    """\
That node's data directory is not the one that it had: its disk is new, or its machine was put back to an older image.
It is sent what it lacks, and is not counted in any majority before the others have confirmed this leader. What nobody
can give back is its memory of how it voted; had another node failed at the same time, acknowledged writes might be
gone.

If its disk was replaced on purpose, nothing is to be done. If not, find out who or what put the old data there, and see
that it does not happen to a second node: a node is never restored from an image of its machine. Begin it anew
instead, with an empty data directory, or under a new id (raftctl member replace @RAFTD_PEER@ NEW).
""",
)
DISK_SLOW: Final = Event(
    "disk_slow",
    "abe1597f175c4f3facdf095e59b59b5d",
    logging.WARNING,
    "a log write has taken %(seconds)s s so far",
    """\
A write to the log should take milliseconds. While it takes this long the node acknowledges nothing, and a leader hands
its leadership over after an election timeout. Look at what else uses the disk (iostat, iotop), whether it is full or
failing, and whether another machine has a claim on it. One slow follower costs the cluster nothing.
""",
)
DISK_FAILED: Final = Event(
    "disk_failed",
    "159262e80e26441a92021181ae145a30",
    logging.CRITICAL,
    "the node ends, its disk failed, and nothing after index %(index)s is known to be stored: %(reason)s",
    """\
The disk refused to write or to sync. The process ends and does not try again, because after a failed sync the kernel
may take for clean what never arrived. Started again, the node reads what is really there, and catches up from the
others. Look at the kernel's log, at the free space (df), and at the disk's health before that.
""",
)
LOOP_LATE: Final = Event(
    "loop_late",
    "aa2e0c42e94d42e2bd4d62db5748b4e1",
    logging.WARNING,
    "the event loop was %(seconds)s s late",
    """\
The process did not get to run, or did one thing for too long. Heartbeats were late by as much, so that elections may
follow. Look at the load of the machine, at swapping, and at whether its hypervisor pauses it; give it processors of its
own, or raise timing.election_timeout on all nodes.
""",
)
CERTIFICATE_EXPIRES: Final = Event(
    "certificate_expires",
    "e12116e7146c48019cc8c42db912d37c",
    logging.WARNING,
    "the certificate %(file)s expires at %(expiry)s",
    """\
From that moment nobody accepts the certificate on a new connection, and the node falls out of the cluster or out of
its clients' reach. Issue a new one where the authorities are kept (raftctl pki issue-node --node @RAFTD_NODE@ --renew),
copy it here, and reload the node. An authority that expires is rotated: raftctl pki rotate-ca.
""",
)
SNAPSHOT_STARTED: Final = Event(
    "snapshot_started",
    "098090e7a5a34e6f98852dc5e8bdfa22",
    logging.DEBUG,
    "snapshots the state as of entry %(index)s",
    """\
The log has grown enough; the state is written to a file beside the work. Nothing is to be done.
""",
)
SNAPSHOT_MADE: Final = Event(
    "snapshot_made",
    "4807600b2bdf4dc1a3dcc42b2a0ec1d0",
    logging.INFO,
    "snapshot of entry %(index)s made in %(seconds)s s",
    """\
The log up to it can go, and a restart has less to replay. Nothing is to be done.
""",
)
SNAPSHOT_FAILED: Final = Event(
    "snapshot_failed",
    "044ed70ecb704f97bc292195d7abd28f",
    logging.ERROR,
    "a snapshot could not be made or taken in: %(reason)s",
    """\
The node goes on, and will try again, but the log cannot be compacted until it succeeds. In most cases the disk is full
or refuses to write: see df and the kernel's log. A node that was sent it stays behind for that long.
""",
)
SNAPSHOT_UNREADABLE: Final = Event(
    "snapshot_unreadable",
    "86872788faa9468fb473d70f98182939",
    logging.ERROR,
    "the leader's snapshot of entry %(index)s cannot be read here: %(reason)s",
    """\
This node lacks more than the leader's log still holds, and the leader's release of raftd writes snapshots in a format
that this node's release does not know. What came of it was thrown away; the node keeps what it has, stays behind, and
looks again every ten seconds.

In most cases an upgrade is under way: install the new release here too, and start the node anew. Until then it does not
count for a majority of what is written now, so stop no other node.
""",
)
SNAPSHOT_INSTALLED: Final = Event(
    "snapshot_installed",
    "e3956f8a2aaf45eb9218eb88a7d3e636",
    logging.INFO,
    "took over the leader's snapshot of entry %(index)s",
    """\
This node lacked more than the leader's log still holds, and has got the whole state instead. That is usual for a new
node, and after a long absence. If it happens to a node that was never away, raise limits.log_tail_entries.
""",
)
BACKUP_STARTED: Final = Event(
    "backup_started",
    "f80f450cf899436787600891a26c784e",
    logging.INFO,
    "a backup of entry %(index)s goes to %(user)s, %(bytes)s bytes",
    """\
Somebody who may do everything takes a copy of all keys and values. Whoever has that file can read all of them: if you
do not know of it, ask @RAFTD_USER@. The node works on meanwhile.
""",
)
BACKUP_VERIFIED: Final = Event(
    "backup_verified",
    "289912904f994eae94444e52e18042ca",
    logging.INFO,
    "%(user)s has stored, read and loaded a backup of %(taken_at)s",
    """\
The backup is good, and raftd_backup_last_success_timestamp_seconds of this node tells of when it is. Nothing is to be
done.
""",
)
BACKUP_FAILED: Final = Event(
    "backup_failed",
    "6ae179d7c3174af3bdfb46249895b647",
    logging.ERROR,
    "a backup could not be begun or read: %(reason)s",
    """\
Nothing was lost but the backup, and no file of it is left. In most cases this node's disk is full, since a snapshot of
the state is written to it first: see df. Take the backup again, or through another node.
""",
)
MEMBERSHIP_CHANGED: Final = Event(
    "membership_changed",
    "c55395f2420a4d478d98a2b1230e44c5",
    logging.INFO,
    "voters %(voters)s, leaving %(outgoing)s, learners %(learners)s",
    """\
The nodes that the message names decide from now on. Keep raftd.yaml in step with it, on all nodes: it is all that a
node knows whose disk was lost. raftctl member list shows the difference.
""",
)
NODE_REMOVED: Final = Event(
    "node_removed",
    "3e8a9b6869ab4011bb124f3d4c9140b2",
    logging.WARNING,
    "this node is no member of the cluster any more, and ends",
    """\
The cluster has decided that this node is no part of it. It ends with exit code 10 and is not restarted, and it ends so
again whenever it is started with this data. Disable its service (systemctl disable raftd@@RAFTD_NODE@), and delete its
data when you are sure. Its id must not be used again: for the same machine take a new one, with an empty directory.
""",
)
CATALOGUE: Final = (
    NODE_STARTED,
    CLOCK_BEHIND,
    ADDRESS_MISSING,
    NODE_READY,
    NODE_DRAINING,
    NODE_STOPPED,
    NODE_FAILED,
    SETTINGS_RELOADED,
    SETTINGS_REFUSED,
    SETTINGS_WAIT,
    ELECTION_STARTED,
    LEADER_ELECTED,
    LEADER_LOST,
    LEADER_STEPPED_DOWN,
    STATE_DIVERGED,
    PEER_CONNECTED,
    PEER_DISCONNECTED,
    CONNECTION_REFUSED,
    REFUSALS_LEFT_OUT,
    HTTP_REFUSED,
    LOG_TAIL_CUT,
    LOG_DAMAGED,
    LOG_LOST,
    DISK_SLOW,
    DISK_FAILED,
    LOOP_LATE,
    CERTIFICATE_EXPIRES,
    SNAPSHOT_STARTED,
    SNAPSHOT_MADE,
    SNAPSHOT_FAILED,
    SNAPSHOT_UNREADABLE,
    SNAPSHOT_INSTALLED,
    BACKUP_STARTED,
    BACKUP_VERIFIED,
    BACKUP_FAILED,
    MEMBERSHIP_CHANGED,
    NODE_REMOVED,
)
