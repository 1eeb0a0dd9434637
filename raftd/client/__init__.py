"""The Python client: `Client` blocks, `AsyncClient` is for asyncio, `DistDict` is a dict; docs/client.md tells more."""

from raftd.client.asynchronous import AsyncClient
from raftd.client.config import ClientConfig
from raftd.client.dictionary import BytesCodec, Codec, DistDict, JsonCodec, TextCodec
from raftd.client.errors import (
    ClientError,
    CompareFailed,
    ConfigurationError,
    Denied,
    InvalidRequest,
    NotPossible,
    OutcomeUnknown,
    SessionExpired,
    TlsError,
    TooLarge,
    Unavailable,
)
from raftd.client.members import Members
from raftd.client.results import DeleteResult, KeyValue, PutResult
from raftd.client.synchronous import Client
from raftd.client.tls import ClientTls
from raftd.wire.administration import ChangeKind

__all__ = [
    "AsyncClient",
    "BytesCodec",
    "ChangeKind",
    "Client",
    "ClientConfig",
    "ClientError",
    "ClientTls",
    "Codec",
    "CompareFailed",
    "ConfigurationError",
    "DeleteResult",
    "Denied",
    "DistDict",
    "InvalidRequest",
    "JsonCodec",
    "KeyValue",
    "Members",
    "NotPossible",
    "OutcomeUnknown",
    "PutResult",
    "SessionExpired",
    "TextCodec",
    "TlsError",
    "TooLarge",
    "Unavailable",
]
