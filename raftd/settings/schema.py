"""Every setting there is: name, kind, default and meaning, once. Reading, checks and reference derive from here.

A field is `Annotated` with a `Key` (one scalar), a `Words` (a list of scalars), a `Section` (a mapping) or a `Table`
(a list of mappings). A field without a default is required. Field names carry their unit; keys in the file do not,
because there the value does.
"""

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from raftd.settings import kinds
from raftd.settings.kinds import Address


@dataclass(frozen=True, slots=True)
class Key:
    """A scalar in the file."""

    name: str
    kind: kinds.Kind[Any]
    meaning: str


@dataclass(frozen=True, slots=True)
class Words:
    """A list of scalars of one kind in the file."""

    name: str
    kind: kinds.Kind[Any]
    meaning: str


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
    length_max: int


CLIENT_PORT = 7400
PEER_PORT = 7401
HTTP_PORT = 7402
VOTERS_MAX = 9
GRANTS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which cluster this is."""

    name: Annotated[
        str, Key("name", kinds.CLUSTER_NAME_KIND, "The cluster's name, as certificates carry it in their URI.")
    ]
    id: Annotated[
        uuid.UUID,
        Key("id", kinds.ClusterId(), "Names this cluster and no other; data with another id is refused."),
    ]


@dataclass(frozen=True, slots=True)
class Node:
    """One of the nodes that the cluster starts with."""

    id: Annotated[int, Key("id", kinds.NODE_ID_KIND, "Names the node for ever; never reused.")]
    client_address: Annotated[
        Address, Key("client_address", kinds.HostPort(CLIENT_PORT), "Where clients reach the node.")
    ]
    peer_address: Annotated[Address, Key("peer_address", kinds.HostPort(PEER_PORT), "Where the other nodes reach it.")]
    http_address: Annotated[
        Address, Key("http_address", kinds.HostPort(HTTP_PORT), "Where it serves metrics, health and status.")
    ]


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to bind, when that is not the address under which others reach the node."""

    client: Annotated[
        Address | None, Key("client", kinds.HostPort(CLIENT_PORT), "Binds here instead of the node's `client_address`.")
    ] = None
    peer: Annotated[
        Address | None, Key("peer", kinds.HostPort(PEER_PORT), "Binds here instead of the node's `peer_address`.")
    ] = None
    http: Annotated[
        Address | None, Key("http", kinds.HostPort(HTTP_PORT), "Binds here instead of the node's `http_address`.")
    ] = None


@dataclass(frozen=True, slots=True)
class TlsTemplate:
    """The files of one port, as written in the settings file."""

    authority: Annotated[str, Key("authority", kinds.FilePath(), "The authority that the other side must be of (PEM).")]
    certificate: Annotated[str, Key("certificate", kinds.FilePath(), "The certificate shown to the other side (PEM).")]
    key: Annotated[str, Key("key", kinds.FilePath(), "Its private key (PEM), closed to others: mode 0600 or 0640.")]


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificates; peers and clients have separate authorities."""

    peer: Annotated[TlsTemplate, Section("peer", "For the links between nodes.")]
    client: Annotated[TlsTemplate, Section("client", "For the port that clients use.")]


@dataclass(frozen=True, slots=True)
class Grant:
    """What one user may do below one prefix."""

    user: Annotated[str, Key("user", kinds.USER_NAME_KIND, "The user, by the name in the certificate's URI.")]
    prefix: Annotated[str, Key("prefix", kinds.PREFIX_KIND, 'The keys it is about; `""` is every key.')]
    allow: Annotated[
        tuple[str, ...],
        Words("allow", kinds.Choice(("read", "write", "admin")), "What the user may do with them."),
    ]


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the cluster waits for what."""

    tick_seconds: Annotated[
        float, Key("tick", kinds.Duration("1ms", "1s"), "The step of consensus' clock; the others are multiples of it.")
    ] = 0.05
    heartbeat_seconds: Annotated[
        float, Key("heartbeat", kinds.Duration("1ms", "10s"), "How often a leader shows that it is there.")
    ] = 0.1
    election_timeout_seconds: Annotated[
        float,
        Key(
            "election_timeout",
            kinds.Duration("10ms", "60s"),
            "Without a leader for this long, up to twice this, a node asks to be elected. More than two heartbeats.",
        ),
    ] = 0.5


@dataclass(frozen=True, slots=True)
class Log:
    """What a node says of itself."""

    level: Annotated[
        str, Key("level", kinds.Choice(("debug", "info", "warning", "error")), "The least severity that is logged.")
    ] = "info"
    format: Annotated[
        str,
        Key(
            "format",
            kinds.Choice(("auto", "text", "json", "journal")),
            "How lines look; `auto` is `journal` below systemd and `text` elsewhere.",
        ),
    ] = "auto"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one node."""

    connections_max: Annotated[
        int, Key("connections", kinds.Integer(1, 100_000), "Client connections at a time; further ones are refused.")
    ] = 1000
    requests_in_flight_max: Annotated[
        int,
        Key(
            "requests_in_flight",
            kinds.Integer(1, 65_536),
            "Unanswered requests of one connection; beyond, it is not read from until answers left.",
        ),
    ] = 1024
    pending_bytes_max: Annotated[
        int,
        Key(
            "pending_bytes",
            kinds.Size("1MiB", "16GiB"),
            "Writes of all clients that await their commit; beyond, further ones are refused as busy.",
        ),
    ] = 64 << 20
    segment_bytes: Annotated[
        int, Key("segment_size", kinds.Size("4MiB", "1GiB"), "One file of the write-ahead log; it is preallocated.")
    ] = 64 << 20
    session_ttl_seconds: Annotated[
        float,
        Key(
            "session_ttl",
            kinds.Duration("10s", "30d"),
            "The longest silence after which a client's session may still be remembered; clients may ask for less.",
        ),
    ] = 3600.0


@dataclass(frozen=True, slots=True)
class Shutdown:
    """How a node stops."""

    drain_timeout_seconds: Annotated[
        float,
        Key(
            "drain_timeout",
            kinds.Duration("0s", "10m"),
            "How long a stopping node waits for its answers to leave and its leadership to be taken over.",
        ),
    ] = 10.0


@dataclass(frozen=True, slots=True)
class Document:
    """The whole of `raftd.yaml`, the same file on every node."""

    cluster: Annotated[Cluster, Section("cluster", "Which cluster this is.")]
    nodes: Annotated[
        tuple[Node, ...],
        Table("nodes", "The voters that the cluster starts with, 1 to 9; later the replicated membership counts.", 9),
    ]
    tls: Annotated[Tls, Section("tls", "Certificates and keys. TLS 1.3, mutual, always.")]
    data_directory: Annotated[
        str, Key("data_directory", kinds.FilePath(), "Where the node keeps its data; nothing else may live there.")
    ] = "/var/lib/raftd/{node}"
    listen: Annotated[Listen, Section("listen", "Where to bind, when that is not where others reach the node.")] = (
        Listen()
    )
    access: Annotated[
        tuple[Grant, ...], Table("access", "Who may do what. What no line allows is refused.", GRANTS_MAX)
    ] = ()
    timing: Annotated[Timing, Section("timing", "How long the cluster waits for what; equal on all nodes.")] = Timing()
    log: Annotated[Log, Section("log", "What a node says of itself.")] = Log()
    limits: Annotated[Limits, Section("limits", "Bounds of one node.")] = Limits()
    shutdown: Annotated[Shutdown, Section("shutdown", "How a node stops.")] = Shutdown()


@dataclass(frozen=True, slots=True)
class ClientDocument:
    """The whole of `raftctl.yaml`. Everything may be given by flag or environment instead."""

    endpoints: Annotated[
        tuple[Address, ...], Words("endpoints", kinds.HostPort(CLIENT_PORT), "Nodes to ask, in any order.")
    ] = ()
    cacert: Annotated[
        str | None, Key("cacert", kinds.FilePath(has_placeholder=False), "The client authority's certificate (PEM).")
    ] = None
    cert: Annotated[str | None, Key("cert", kinds.FilePath(has_placeholder=False), "The user's certificate (PEM).")] = (
        None
    )
    key: Annotated[str | None, Key("key", kinds.FilePath(has_placeholder=False), "Its private key (PEM).")] = None
    timeout_seconds: Annotated[
        float, Key("timeout", kinds.Duration("1ms", "1d"), "How long a command may take in all.")
    ] = 5.0
    cluster: Annotated[
        str | None,
        Key("cluster", kinds.CLUSTER_NAME_KIND, "The cluster that the nodes must be of; any when not given."),
    ] = None


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files of one port, as absolute paths."""

    authority: Path
    certificate: Path
    key: Path
