"""The settings as the rest of raftd sees them: the whole file, and one node's view of it."""

import hashlib
import json
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

from raftd.consensus.types import NodeId
from raftd.errors import SettingsError
from raftd.kv.access import AccessRules, Grant
from raftd.settings.kinds import PLACEHOLDER
from raftd.settings.schema import (
    AccessLine,
    Cluster,
    Document,
    Limits,
    Log,
    Node,
    Reads,
    Shutdown,
    Timing,
    TlsTemplate,
)
from raftd.wire.address import Address
from raftd.wire.members import MemberAddresses


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files of one port, as absolute paths."""

    authority: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What one node needs to know: its own addresses and files, and everybody's."""

    node_id: int
    cluster: Cluster
    nodes: tuple[Node, ...]
    """All nodes that the file names, this one too, in the file's order."""
    client_address: Address
    """Where clients are told to reach this node; likewise the two below."""
    peer_address: Address
    http_address: Address
    client_listen: Address
    """Where to bind; likewise the two below."""
    peer_listen: Address
    http_listen: Address
    data_directory: Path
    peer_tls: TlsFiles
    client_tls: TlsFiles
    access: tuple[AccessLine, ...]
    timing: Timing
    log: Log
    limits: Limits
    reads: Reads
    shutdown: Shutdown
    whole: "Settings"
    """All that the file says."""

    @property
    def fingerprint(self) -> str:
        """`Settings.fingerprint`."""
        return self.whole.fingerprint

    @property
    def access_rules(self) -> AccessRules:
        """What the lines under `access` come to."""
        grants = (
            Grant(line.user, line.prefix.encode(), read="read" in line.allow, write="write" in line.allow)
            for line in self.access
        )
        return AccessRules(grants, (line.user for line in self.access if "admin" in line.allow))

    @property
    def plain(self) -> dict[str, object]:
        """What this node goes by as JSON has it; no secret is in it, for keys are in files of their own.

        Who may do what can be long, and is in `whole` anyway.
        """
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self) if field.name != "access"}

    @property
    def peers(self) -> tuple[Node, ...]:
        """All nodes but this one."""
        return tuple(node for node in self.nodes if node.id != self.node_id)

    @property
    def bootstrap_voters(self) -> frozenset[NodeId]:
        """The nodes that the cluster starts with: all that do not join a running one."""
        return frozenset(NodeId(node.id) for node in self.nodes if not node.joins)

    @property
    def members(self) -> dict[NodeId, MemberAddresses]:
        """Where the file says that each node is, whether it is a member yet or not."""
        return {
            NodeId(node.id): MemberAddresses(node.client_address, node.peer_address, node.http_address)
            for node in self.nodes
        }

    @property
    def no_lead(self) -> frozenset[NodeId]:
        """The nodes that are to lead only while nobody else can."""
        return frozenset(NodeId(node.id) for node in self.nodes if node.no_lead)


@dataclass(frozen=True, slots=True)
class Settings:
    """A `raftd.yaml` without mistakes."""

    path: Path
    """The file, absolute; relative paths in it are relative to its directory."""
    document: Document
    """What it says, key by key; paths as written."""
    warnings: tuple[str, ...] = ()
    """What is allowed and yet probably not meant; each a text for the user."""

    @property
    def cluster(self) -> Cluster:
        """Which cluster this is."""
        return self.document.cluster

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes that the file names."""
        return self.document.nodes

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that are equal on two nodes if and only if their settings mean the same.

        Comments, order of keys, spelling (`1000ms`, `1s`) and defaults written out make no difference.
        """
        text = json.dumps(_plain(self.document), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def node(self, node_id: int) -> NodeSettings:
        """The view of one node.

        Raises:
            SettingsError: the file names no such node.
        """
        document = self.document
        node = next((node for node in document.nodes if node.id == node_id), None)
        if node is None:
            known = ", ".join(str(node.id) for node in document.nodes)
            raise SettingsError(f"{self.path}: there is no node {node_id}; the file names {known}")
        return NodeSettings(
            node_id=node.id,
            cluster=document.cluster,
            nodes=document.nodes,
            client_address=node.client_address,
            peer_address=node.peer_address,
            http_address=node.http_address,
            client_listen=document.listen.client or node.client_address,
            peer_listen=document.listen.peer or node.peer_address,
            http_listen=document.listen.http or node.http_address,
            data_directory=self._path(document.data_directory, node_id),
            peer_tls=self._tls_files(document.tls.peer, node_id),
            client_tls=self._tls_files(document.tls.client, node_id),
            access=document.access,
            timing=document.timing,
            log=document.log,
            limits=document.limits,
            reads=document.reads,
            shutdown=document.shutdown,
            whole=self,
        )

    def _tls_files(self, template: TlsTemplate, node_id: int) -> TlsFiles:
        return TlsFiles(
            self._path(template.authority, node_id),
            self._path(template.certificate, node_id),
            self._path(template.key, node_id),
        )

    def _path(self, template: str, node_id: int) -> Path:
        return self.path.parent / template.replace(PLACEHOLDER, str(node_id))


def _plain(value: object) -> object:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)
