"""Every setting there is: name, kind, default and meaning, once. Reading, checks and reference derive from here.

A field is `Annotated` with a `Key` (one scalar), a `Words` (a list of scalars), a `Section` (a mapping) or a `Table`
(a list of mappings). A field without a default is required. Field names carry their unit; keys in the file do not,
because there the value does.

Whether a change of it counts at once is said here too: of what is in a `Table`, by the table as a whole.
"""

import enum
import uuid
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, TypeAlias, get_args, get_origin, get_type_hints

from raftd.settings import kinds
from raftd.wire.address import Address


class Change(enum.Enum):
    """When a changed setting counts; the value is the word for it in the reference."""

    RELOAD = "reload"
    """As soon as the node is told to reload."""
    RESTART = "restart"
    """When the node starts the next time."""
    NEVER = "never"
    """Not at all: a node that finds it changed takes the file for another cluster's."""


@dataclass(frozen=True, slots=True)
class Key:
    """A scalar in the file."""

    name: str
    kind: kinds.Kind[Any]
    meaning: str
    change: Change = Change.RESTART


@dataclass(frozen=True, slots=True)
class Words:
    """A list of scalars of one kind in the file."""

    name: str
    kind: kinds.Kind[Any]
    meaning: str
    length_min: int
    length_max: int
    change: Change = Change.RESTART


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping in the file, read into the class of the field."""

    name: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Table:
    """A list of mappings in the file, each read into the same class."""

    name: str
    meaning: str
    length_min: int
    length_max: int
    change: Change = Change.RESTART


Specification: TypeAlias = Key | Words | Section | Table

CLIENT_PORT = 7400
PEER_PORT = 7401
HTTP_PORT = 7402
VOTERS_MAX = 9
GRANTS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which cluster this is."""

    name: Annotated[
        str,
        Key("name", kinds.cluster_name(), "The cluster's name, as certificates carry it in their URI.", Change.NEVER),
    ]
    id: Annotated[
        uuid.UUID,
        Key(
            "id", kinds.cluster_id(), "Names this cluster and no other; data with another id is refused.", Change.NEVER
        ),
    ]


@dataclass(frozen=True, slots=True)
class Node:
    """One of the nodes."""

    id: Annotated[int, Key("id", kinds.node_id(), "Names the node for ever; never reused.")]
    client_address: Annotated[
        Address, Key("client_address", kinds.address(CLIENT_PORT), "Where clients reach the node.")
    ]
    peer_address: Annotated[Address, Key("peer_address", kinds.address(PEER_PORT), "Where the other nodes reach it.")]
    http_address: Annotated[
        Address, Key("http_address", kinds.address(HTTP_PORT), "Where it serves metrics, health and status.")
    ]
    joins: Annotated[
        bool,
        Key(
            "joins",
            kinds.boolean(),
            "It is not one of those that the cluster starts with, but waits to be added by `raftctl member add`.",
        ),
    ] = False
    no_lead: Annotated[
        bool,
        Key(
            "no_lead",
            kinds.boolean(),
            "It votes, but leads only while no other voter can, or when told to (`raftctl transfer-leader`).",
        ),
    ] = False


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to bind, when that is not the address under which others reach the node."""

    client: Annotated[
        Address | None, Key("client", kinds.address(CLIENT_PORT), "Binds here instead of the node's `client_address`.")
    ] = None
    peer: Annotated[
        Address | None, Key("peer", kinds.address(PEER_PORT), "Binds here instead of the node's `peer_address`.")
    ] = None
    http: Annotated[
        Address | None, Key("http", kinds.address(HTTP_PORT), "Binds here instead of the node's `http_address`.")
    ] = None


@dataclass(frozen=True, slots=True)
class TlsTemplate:
    """The files of one port, as written in the settings file."""

    authority: Annotated[
        str,
        Key(
            "authority",
            kinds.path(has_placeholder=True),
            "The authority that the other side must be of, or several of which any will do (PEM).",
            Change.RELOAD,
        ),
    ]
    certificate: Annotated[
        str,
        Key(
            "certificate",
            kinds.path(has_placeholder=True),
            "The certificate shown to the other side (PEM).",
            Change.RELOAD,
        ),
    ]
    key: Annotated[
        str,
        Key(
            "key",
            kinds.path(has_placeholder=True),
            "Its private key (PEM), closed to others: mode 0600 or 0640.",
            Change.RELOAD,
        ),
    ]


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificates; peers and clients have separate authorities."""

    peer: Annotated[TlsTemplate, Section("peer", "For the links between nodes.")]
    client: Annotated[TlsTemplate, Section("client", "For the port that clients use.")]


@dataclass(frozen=True, slots=True)
class AccessLine:
    """What one user may do below one prefix."""

    user: Annotated[
        str,
        Key(
            "user",
            kinds.user_pattern(),
            "The user, by the name in the certificate's URI; `team-*` is all whose names begin so.",
        ),
    ]
    prefix: Annotated[str, Key("prefix", kinds.key_prefix(), 'The keys it is about; `""` is every key.')]
    allow: Annotated[
        tuple[str, ...],
        Words(
            "allow",
            kinds.choice("read", "write", "admin"),
            'What the user may do with them; `admin` is about the cluster, so only with the prefix `""`.',
            1,
            3,
        ),
    ]


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the cluster waits for what."""

    tick_seconds: Annotated[
        float, Key("tick", kinds.duration("1ms", "1s"), "The step of consensus' clock; the others are multiples of it.")
    ] = 0.05
    heartbeat_seconds: Annotated[
        float, Key("heartbeat", kinds.duration("1ms", "10s"), "How often a leader shows that it is there.")
    ] = 0.1
    election_timeout_seconds: Annotated[
        float,
        Key(
            "election_timeout",
            kinds.duration("10ms", "60s"),
            "Without a leader for this long, up to twice this, a node asks to be elected. More than two heartbeats.",
        ),
    ] = 0.5


@dataclass(frozen=True, slots=True)
class Log:
    """What a node says of itself."""

    level: Annotated[
        str,
        Key(
            "level",
            kinds.choice("debug", "info", "warning", "error"),
            "The least severity that is logged.",
            Change.RELOAD,
        ),
    ] = "info"
    format: Annotated[
        str,
        Key(
            "format",
            kinds.choice("auto", "text", "json", "journal"),
            "How lines look; `auto` is `journal` below systemd and `text` elsewhere.",
        ),
    ] = "auto"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one node."""

    connections_max: Annotated[
        int,
        Key(
            "connections",
            kinds.integer(1, 100_000),
            "Client connections at a time; further ones are refused. The last 8, a tenth at most, are kept for "
            "administrators.",
            Change.RELOAD,
        ),
    ] = 1000
    requests_in_flight_max: Annotated[
        int,
        Key(
            "requests_in_flight",
            kinds.integer(1, 65_536),
            "Unanswered requests of one connection; a further one is refused as OVERLOADED.",
        ),
    ] = 1024
    pending_bytes_max: Annotated[
        int,
        Key(
            "pending_bytes",
            kinds.size("1MiB", "16GiB"),
            "Writes of all clients that await their commit; beyond, further ones are refused as OVERLOADED.",
        ),
    ] = 64 << 20
    keys_max: Annotated[
        int,
        Key(
            "keys_max",
            kinds.integer(1, 100_000_000),
            "Keys in the store; with as many there is no room for more or longer ones (FULL) until some are deleted.",
        ),
    ] = 2_000_000
    bytes_max: Annotated[
        int,
        Key(
            "bytes_max",
            kinds.size("1MiB", "64GiB"),
            "The same of all keys and values together; what is kept of each key in memory comes on top.",
        ),
    ] = 1 << 30
    segment_bytes: Annotated[
        int, Key("segment_size", kinds.size("4MiB", "1GiB"), "One file of the write-ahead log; it is preallocated.")
    ] = 64 << 20
    snapshot_log_bytes: Annotated[
        int,
        Key(
            "snapshot_log_size",
            kinds.size("64KiB", "64GiB"),
            "A snapshot is made when the log has grown by this; it bounds the log's space and what a restart replays.",
        ),
    ] = 64 << 20
    log_tail_entries: Annotated[
        int,
        Key(
            "log_tail_entries",
            kinds.integer(0, 10_000_000),
            "Entries before a snapshot that stay in the log, so that a node a little behind is not sent the snapshot.",
        ),
    ] = 10_000


@dataclass(frozen=True, slots=True)
class Reads:
    """How linearizable reads are answered."""

    lease: Annotated[
        bool,
        Key(
            "lease",
            kinds.boolean(),
            "A leader answers without asking a quorum while no other can have been elected, if clocks keep to "
            "`clock_drift`; one that does not can make such a read stale.",
        ),
    ] = False
    clock_drift: Annotated[
        float,
        Key(
            "clock_drift",
            kinds.ratio(),
            "How much faster the fastest node's clock may run than the slowest's; 0.1 is ten percent.",
        ),
    ] = 0.1


@dataclass(frozen=True, slots=True)
class Shutdown:
    """How a node stops."""

    drain_timeout_seconds: Annotated[
        float,
        Key(
            "drain_timeout",
            kinds.duration("0s", "10m"),
            "How long a stopping node waits for its answers to leave and its leadership to be taken over.",
            Change.RELOAD,
        ),
    ] = 10.0


@dataclass(frozen=True, slots=True)
class Document:
    """The whole of `raftd.yaml`, the same file on every node."""

    cluster: Annotated[Cluster, Section("cluster", "Which cluster this is.")]
    nodes: Annotated[
        tuple[Node, ...],
        Table(
            "nodes",
            "All nodes, 1 to 9. Those without `joins` start the cluster; later the replicated membership counts.",
            1,
            VOTERS_MAX,
            Change.RELOAD,
        ),
    ]
    tls: Annotated[Tls, Section("tls", "Certificates and keys. TLS 1.3, mutual, always.")]
    data_directory: Annotated[
        str,
        Key(
            "data_directory",
            kinds.path(has_placeholder=True),
            "Where the node keeps its data; nothing else may live there.",
        ),
    ] = "/var/lib/raftd/{node}"
    listen: Annotated[Listen, Section("listen", "Where to bind, when that is not where others reach the node.")] = (
        Listen()
    )
    access: Annotated[
        tuple[AccessLine, ...],
        Table("access", "Who may do what. What no line allows is refused.", 0, GRANTS_MAX, Change.RELOAD),
    ] = ()
    timing: Annotated[Timing, Section("timing", "How long the cluster waits for what; equal on all nodes.")] = Timing()
    log: Annotated[Log, Section("log", "What a node says of itself.")] = Log()
    limits: Annotated[Limits, Section("limits", "Bounds of one node.")] = Limits()
    reads: Annotated[Reads, Section("reads", "How linearizable reads are answered; equal on all nodes.")] = Reads()
    shutdown: Annotated[Shutdown, Section("shutdown", "How a node stops.")] = Shutdown()


def specifications(owner: type[Any]) -> dict[str, Specification]:
    """What the fields of a class above are in the file, by the fields' names and in their order."""
    annotations = get_type_hints(owner, include_extras=True)
    return {field.name: get_args(annotations[field.name])[1] for field in fields(owner)}


def class_of(owner: type[Any], field_name: str) -> type[Any]:
    """The class that a `Section` or one line of a `Table` is read into."""
    annotation = get_args(get_type_hints(owner, include_extras=True)[field_name])[0]
    found: type[Any] = get_args(annotation)[0] if get_origin(annotation) is tuple else annotation
    return found


def is_required(owner: type[Any], field_name: str) -> bool:
    """Whether the file must give this field."""
    return next(field for field in fields(owner) if field.name == field_name).default is MISSING


def default_of(owner: type[Any], field_name: str) -> object:
    """What a field is when the file does not give it; only for fields that are not required."""
    return next(field for field in fields(owner) if field.name == field_name).default


def paths(owner: type[Any]) -> Iterator[str]:
    """The dotted paths of everything that a document can have, lines of tables as `nodes[].id`."""
    for name, specification in specifications(owner).items():
        yield specification.name
        if isinstance(specification, Section | Table):
            suffix = "[]" if isinstance(specification, Table) else ""
            yield from (f"{specification.name}{suffix}.{below}" for below in paths(class_of(owner, name)))
