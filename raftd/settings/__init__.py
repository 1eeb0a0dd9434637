"""Settings: `raftd.yaml` and `raftctl.yaml`, read into frozen dataclasses, every mistake at once and with its place."""

from raftd.settings.load import load, load_client
from raftd.settings.model import ClientSettings, NodeSettings, Settings, TlsFiles
from raftd.settings.render import render, render_client
from raftd.settings.schema import (
    AccessLine,
    ClientDocument,
    Cluster,
    Document,
    Limits,
    Listen,
    Log,
    Node,
    Shutdown,
    Timing,
    Tls,
    TlsTemplate,
)
from raftd.wire.address import Address, parse_address

__all__ = [
    "AccessLine",
    "Address",
    "ClientDocument",
    "ClientSettings",
    "Cluster",
    "Document",
    "Limits",
    "Listen",
    "Log",
    "Node",
    "NodeSettings",
    "Settings",
    "Shutdown",
    "Timing",
    "Tls",
    "TlsFiles",
    "TlsTemplate",
    "load",
    "load_client",
    "parse_address",
    "render",
    "render_client",
]
