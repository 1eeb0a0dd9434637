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
    OutcomeUnknown,
    SessionExpired,
    TlsError,
    TooLarge,
    Unavailable,
)
from raftd.client.results import DeleteResult, KeyValue, PutResult
from raftd.client.synchronous import Client
from raftd.client.tls import ClientTls

__all__ = [
    "AsyncClient",
    "BytesCodec",
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
    "OutcomeUnknown",
    "PutResult",
    "SessionExpired",
    "TextCodec",
    "TlsError",
    "TooLarge",
    "Unavailable",
]
