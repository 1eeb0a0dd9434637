"""Settings: `raftd.yaml`, read into frozen dataclasses, every mistake at once and with its place."""

from raftd.settings.load import load
from raftd.settings.model import NodeSettings, Settings, TlsFiles
from raftd.settings.render import render
from raftd.settings.schema import (
    AccessLine,
    Cluster,
    Document,
    Limits,
    Listen,
    Log,
    Node,
    Reads,
    Shutdown,
    Timing,
    Tls,
    TlsTemplate,
)
from raftd.wire.address import Address, parse_address

__all__ = [
    "AccessLine",
    "Address",
    "Cluster",
    "Document",
    "Limits",
    "Listen",
    "Log",
    "Node",
    "NodeSettings",
    "Reads",
    "Settings",
    "Shutdown",
    "Timing",
    "Tls",
    "TlsFiles",
    "TlsTemplate",
    "load",
    "parse_address",
    "render",
]
