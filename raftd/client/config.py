"""The client's configuration: which nodes there are, and with which certificate to go there.

The file is small YAML; `raftctl` and `DistDict` read the same one:

    endpoints: [n1.example.net:7400, n2.example.net:7400, n3.example.net:7400]
    cacert: tls/ca.crt        # the authority that signed the nodes' certificates
    cert: tls/alice.crt       # this client's certificate: raftd://CLUSTER/user/NAME
    key: tls/alice.key
    timeout: 5.0              # seconds that one call may take; optional

Relative paths are relative to the directory of the file.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from raftd.client.errors import ConfigurationError
from raftd.client.tls import ClientTls
from raftd.wire.address import Address, AddressError, parse_address

DEFAULT_PORT: Final = 7400
DEFAULT_TIMEOUT_SECONDS: Final = 5.0
_REQUIRED: Final = ("endpoints", "cacert", "cert", "key")
_KNOWN: Final = (*_REQUIRED, "timeout")


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """What a client needs to know to reach a cluster."""

    endpoints: tuple[str, ...]
    """`host:port` of nodes, at least one; IPv6 addresses in brackets."""
    tls: ClientTls
    timeout: float = DEFAULT_TIMEOUT_SECONDS
    """Seconds that one call may take."""

    @classmethod
    def load(cls, path: str | Path) -> "ClientConfig":
        """Read and check a configuration file.

        Certificates are not opened here: `Client` does that, and says which file it could not use.

        Raises:
            ConfigurationError: the file cannot be read, is not YAML, or says something unusable: one line.
        """
        path = Path(path).expanduser()
        try:
            document = yaml.load(path.read_bytes(), Loader=_UniqueKeyLoader)  # noqa: S506 - a subclass of SafeLoader
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror or error}") from None
        except (yaml.YAMLError, UnicodeDecodeError, ConfigurationError) as error:
            raise ConfigurationError(f"{path}: {_one_line(error)}") from None
        try:
            return _from_document(document, path.parent)
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}: {error}") from None


def parse_endpoint(endpoint: str) -> Address:
    """Read `host:port`, or `host` alone for the port 7400; an IPv6 address stands in brackets.

    Raises:
        ConfigurationError: it is not of this form.
    """
    try:
        return parse_address(endpoint, DEFAULT_PORT)
    except AddressError as error:
        raise ConfigurationError(f"endpoint {endpoint!r} {error}") from None


class _UniqueKeyLoader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, where PyYAML lets the last one win silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.value in seen:
                raise ConfigurationError(f"line {key_node.start_mark.line + 1}: {key_node.value!r} is given twice")
            seen.add(str(key_node.value))
        return dict(super().construct_mapping(node, deep))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _from_document(document: object, directory: Path) -> ClientConfig:
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"expected a mapping with the keys {', '.join(_REQUIRED)}")
    unknown = sorted(str(key) for key in document if key not in _KNOWN)
    if unknown:
        raise ConfigurationError(f"unknown key {unknown[0]!r}; known are {', '.join(_KNOWN)}")
    missing = [key for key in _REQUIRED if key not in document]
    if missing:
        raise ConfigurationError(f"{missing[0]} is missing")
    return ClientConfig(
        endpoints=_endpoints(document["endpoints"]),
        tls=ClientTls(
            cacert=_path(document, "cacert", directory),
            cert=_path(document, "cert", directory),
            key=_path(document, "key", directory),
        ),
        timeout=_timeout(document.get("timeout", DEFAULT_TIMEOUT_SECONDS)),
    )


def _endpoints(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(endpoint, str) for endpoint in value):
        raise ConfigurationError("endpoints must be a list of host:port")
    endpoints = tuple(str(parse_endpoint(endpoint)) for endpoint in value)
    if len(set(endpoints)) != len(endpoints):
        raise ConfigurationError("endpoints names the same node twice")
    return endpoints


def _path(document: Mapping[object, object], key: str, directory: Path) -> Path:
    value = document[key]
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{key} must be the path of a file")
    return directory / Path(value).expanduser()


def _timeout(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 < value < math.inf):
        raise ConfigurationError("timeout must be a number of seconds, more than 0")
    return float(value)
