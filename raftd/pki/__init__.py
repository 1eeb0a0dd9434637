"""Certificates: two authorities a cluster, and what they issue to nodes and users."""

from raftd.pki.certificates import (
    CertificateInfo,
    describe,
    describe_all,
    describe_der,
    identity_of,
    identity_of_certificate,
)
from raftd.pki.check import check_files, not_yet_valid
from raftd.pki.files import (
    AuthorityName,
    KeyPairFiles,
    PkiFileError,
    WouldOverwriteError,
    authority_files,
    node_files,
    user_files,
)
from raftd.pki.issue import NodeFiles, cluster_of, create_authorities, issue_node, issue_user, renew
from raftd.pki.rehearsal import Purpose

__all__ = [
    "AuthorityName",
    "CertificateInfo",
    "KeyPairFiles",
    "NodeFiles",
    "PkiFileError",
    "Purpose",
    "WouldOverwriteError",
    "authority_files",
    "check_files",
    "cluster_of",
    "create_authorities",
    "describe",
    "describe_all",
    "describe_der",
    "identity_of",
    "identity_of_certificate",
    "issue_node",
    "issue_user",
    "node_files",
    "not_yet_valid",
    "renew",
    "user_files",
]
