"""Settings: `raftd.yaml` and `raftctl.yaml`, read into frozen dataclasses, every mistake at once and with its place."""

from raftd.settings.kinds import Address, parse_address
from raftd.settings.model import ClientSettings, NodeSettings, Settings
from raftd.settings.schema import Cluster, Document, Grant, Limits, Listen, Log, Node, Shutdown, Timing, Tls, TlsFiles

__all__ = [
    "Address",
    "ClientSettings",
    "Cluster",
    "Document",
    "Grant",
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
    "parse_address",
]
