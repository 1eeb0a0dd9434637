"""The client's configuration: which nodes there are, and with which certificate to go there.

The file is small YAML; `raftctl` and `DistDict` read the same one:

    endpoints: [n1.example.net:7400, n2.example.net:7400, n3.example.net:7400]
    cacert: tls/ca.crt        # the authority that signed the nodes' certificates
    cert: tls/alice.crt       # this client's certificate: raftd://CLUSTER/user/NAME
    key: tls/alice.key
    timeout: 5s               # how long one call may take; optional
    namespace: app/           # a prefix that is put before every key; optional

Relative paths are relative to the directory of the file. A duration has its unit, as in `raftd.yaml`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

import yaml

from raftd.client.errors import ConfigurationError
from raftd.client.tls import ClientTls
from raftd.encoding.text import is_utf8
from raftd.regular_file import open_regular
from raftd.wire.address import Address, AddressError, parse_address
from raftd.wire.duration import DurationError, parse_duration

DEFAULT_PORT: Final = 7400
DEFAULT_TIMEOUT_SECONDS: Final = 5.0
FILE_BYTES_MAX: Final = 64 << 10
"""A file that is longer is something else."""
_REQUIRED: Final = ("endpoints", "cacert", "cert", "key")
_KNOWN: Final = (*_REQUIRED, "timeout", "namespace")


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """What a client needs to know to reach a cluster."""

    endpoints: tuple[str, ...]
    """`host:port` of nodes, at least one; IPv6 addresses in brackets."""
    tls: ClientTls
    timeout: float = DEFAULT_TIMEOUT_SECONDS
    """Seconds that one call may take."""
    namespace: str = ""
    """A prefix that is put before every key, and never shown."""

    @classmethod
    def load(cls, path: str | Path) -> "ClientConfig":
        """Read and check a configuration file that says everything.

        Certificates are not opened here: `Client` does that, and says which file it could not use.

        Raises:
            ConfigurationError: the file cannot be read, is not YAML, lacks something, or says something unusable: one
                line.
        """
        partial = PartialConfig.load(path)
        if missing := partial.missing:
            raise ConfigurationError(f"{path}: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
        return partial.complete()


@dataclass(frozen=True, slots=True)
class PartialConfig:
    """What one source says of a client's configuration, a file or a command line; None where it says nothing."""

    endpoints: tuple[str, ...] | None = None
    cacert: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    timeout: float | None = None
    """Seconds."""
    namespace: str | None = None

    @classmethod
    def load(cls, path: str | Path) -> "PartialConfig":
        """Read and check a configuration file, which may leave out anything.

        Raises:
            ConfigurationError: the file cannot be read, is not YAML, or says something unusable: one line.
        """
        path = _expanded(path)
        try:
            document = yaml.load(_read(path), Loader=_UniqueKeyLoader)  # noqa: S506 - a subclass of SafeLoader
            return _from_document(document, path.parent)
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror or error}") from None
        except RecursionError:
            raise ConfigurationError(f"{path}: nests too deeply; that is not a configuration file") from None
        except (yaml.YAMLError, UnicodeDecodeError, ConfigurationError) as error:
            raise ConfigurationError(f"{path}: {_one_line(error)}") from None

    def over(self, other: "PartialConfig") -> "PartialConfig":
        """What the two say together; where both say something, this one counts."""
        said = {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}
        return replace(other, **said)

    @property
    def missing(self) -> tuple[str, ...]:
        """What a client could not do without, and is not said here."""
        return tuple(name for name in _REQUIRED if getattr(self, name) is None)

    def complete(self) -> ClientConfig:
        """The configuration, when nothing is missing.

        Raises:
            ConfigurationError: something is; one line.
        """
        if self.endpoints is None or self.cacert is None or self.cert is None or self.key is None:
            raise ConfigurationError(f"not known: {', '.join(self.missing)}")
        return ClientConfig(
            self.endpoints,
            ClientTls(self.cacert, self.cert, self.key),
            DEFAULT_TIMEOUT_SECONDS if self.timeout is None else self.timeout,
            self.namespace or "",
        )


def parse_endpoint(endpoint: str) -> Address:
    """Read `host:port`, or `host` alone for the port 7400; an IPv6 address stands in brackets.

    Raises:
        ConfigurationError: it is not of this form.
    """
    try:
        return parse_address(endpoint, DEFAULT_PORT)
    except AddressError as error:
        raise ConfigurationError(f"endpoint {endpoint!r} {error}") from None


def parse_endpoints(endpoints: Sequence[str]) -> tuple[str, ...]:
    """Each as `host:port`.

    Raises:
        ConfigurationError: one is not of this form, one is given twice, or there is none.
    """
    parsed = tuple(str(parse_endpoint(endpoint)) for endpoint in endpoints)
    if not parsed:
        raise ConfigurationError("endpoints names no node")
    if len(set(parsed)) != len(parsed):
        raise ConfigurationError("endpoints names the same node twice")
    return parsed


def parse_timeout(text: str) -> float:
    """The seconds of a duration such as `5s` or `500ms`.

    Raises:
        ConfigurationError: it is none, or of no length.
    """
    try:
        milliseconds = parse_duration(text)
    except DurationError as error:
        raise ConfigurationError(f"timeout {text!r} {error}") from None
    if milliseconds == 0:
        raise ConfigurationError("timeout must be more than 0")
    return milliseconds / 1000


class _UniqueKeyLoader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, where PyYAML lets the last one win silently.

    It also has one error for values that are not what they look like or are tagged as (a 31st of a short month, `!!bool
    maybe`, a number of 5000 digits), where PyYAML lets through whatever Python says of them.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError):
            raise ConfigurationError(f"line {node.start_mark.line + 1}: this value cannot be read") from None

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[object, object]:
        seen: set[str] = set()
        # A scalar can be tagged as a mapping; of that, PyYAML says so itself.
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key_node, yaml.ScalarNode) and key_node.value in seen:
                raise ConfigurationError(f"line {key_node.start_mark.line + 1}: {key_node.value!r} is given twice")
            seen.add(str(key_node.value))
        return dict(super().construct_mapping(node, deep))  # type: ignore[arg-type]  # it refuses another node itself


def _read(path: Path) -> bytes:
    with open_regular(path) as file:
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise ConfigurationError(f"is over {FILE_BYTES_MAX >> 10} KiB; that is not a configuration file")
    return data


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _from_document(document: object, directory: Path) -> PartialConfig:
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"expected a mapping with the keys {', '.join(_REQUIRED)}")
    unknown = sorted(str(key) for key in document if key not in _KNOWN)
    if unknown:
        raise ConfigurationError(f"unknown key {unknown[0]!r}; known are {', '.join(_KNOWN)}")
    return PartialConfig(
        endpoints=_endpoints(document["endpoints"]) if "endpoints" in document else None,
        cacert=_path(document, "cacert", directory),
        cert=_path(document, "cert", directory),
        key=_path(document, "key", directory),
        timeout=_timeout(document["timeout"]) if "timeout" in document else None,
        namespace=_namespace(document["namespace"]) if "namespace" in document else None,
    )


def _endpoints(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(endpoint, str) for endpoint in value):
        raise ConfigurationError("endpoints must be a list of host:port")
    return parse_endpoints(value)


def _path(document: Mapping[object, object], key: str, directory: Path) -> Path | None:
    if key not in document:
        return None
    value = document[key]
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{key} must be the path of a file")
    if "\0" in value or not is_utf8(value):
        raise ConfigurationError(f"{key} {value!r} is not the path of a file: none can be called that")
    return directory / _expanded(value)


def _expanded(path: str | Path) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # there is no such user, or no home directory
        raise ConfigurationError(f"{path}: whose home directory is meant by ~?") from None


def _timeout(value: object) -> float:
    if isinstance(value, str):
        return parse_timeout(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ConfigurationError(f"timeout has no unit; write it with one, such as {value:g}s")
    raise ConfigurationError("timeout must be a duration, such as 5s")


def _namespace(value: object) -> str:
    if not isinstance(value, str):
        raise ConfigurationError("namespace must be text, such as app/")
    if not is_utf8(value):
        raise ConfigurationError(f"namespace {value!r} is no text: UTF-8 does not have all of its characters")
    return value
