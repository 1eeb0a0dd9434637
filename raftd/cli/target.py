"""Which cluster `raftctl` speaks to, and as whom: flag over environment over file."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import click

from raftd.cli.named_path import PATH
from raftd.client import Client, ClientConfig, ClientError
from raftd.client.config import PartialConfig, parse_endpoints, parse_timeout
from raftd.client.namespace import Namespace

CONFIG_PLACES: Final = (Path("~/.config/raftd/raftctl.yaml"), Path("/etc/raftd/raftctl.yaml"))
"""Where the file is looked for when none is named; the first that is there counts."""


_ENVIRONMENT: Final = "RAFTCTL"
"""What the names of its variables begin with."""
_GIVEN: Final = tuple(field.name for field in fields(PartialConfig))


@dataclass(frozen=True, slots=True)
class Target:
    """What flags and environment say."""

    config: Path | None
    """The file that they name."""
    given: PartialConfig

    def resolve(self) -> ClientConfig:
        """Put flags, environment and file together.

        Raises:
            click.UsageError: they do not say enough.
            ConfigurationError: the file cannot be used.
        """
        path, together = self._put_together()
        if missing := together.missing:
            flags = ", ".join(f"--{name}" for name in missing)
            if path is not None:
                raise click.UsageError(f"{path} leaves something out; give {flags} too")
            places = " or ".join(map(str, CONFIG_PLACES))
            raise click.UsageError(f"which cluster? Give --config, or {flags}, or write {places}")
        return together.complete()

    @property
    def namespace(self) -> str:
        """The namespace, for what needs no cluster. Raises: ConfigurationError: the file cannot be used."""
        return self._put_together()[1].namespace or ""

    def _put_together(self) -> tuple[Path | None, PartialConfig]:
        """The file that counts, if there is one, and what all say together."""
        path = self.config or next((path for place in CONFIG_PLACES if (path := _if_there(place)) is not None), None)
        return path, self.given if path is None else self.given.over(PartialConfig.load(path))

    @property
    def variables(self) -> dict[str, bytes | None]:
        """What a command that raftctl runs finds in its environment, so that raftctl means the same cluster there."""
        given = self.given
        said: dict[str, str | Path | None] = {
            "CONFIG": self.config,
            "ENDPOINTS": None if given.endpoints is None else ",".join(given.endpoints),
            "CACERT": given.cacert,
            "CERT": given.cert,
            "KEY": given.key,
            "TIMEOUT": None if given.timeout is None else f"{round(given.timeout * 1000)}ms",
            "NAMESPACE": given.namespace,
        }
        return {
            f"{_ENVIRONMENT}_{name}": os.fsencode(value.expanduser().absolute() if isinstance(value, Path) else value)
            for name, value in said.items()
            if value is not None
        }

    def client(self) -> Client:
        """A client for the cluster. Raises: as `resolve`, and TlsError where a file cannot be used."""
        return Client.from_config(self.resolve())


def target_of(parameters: Mapping[str, Any]) -> Target:
    """What the options of `target_options` say, by their names."""
    config, given = parameters["config"], {name: parameters[name] for name in _GIVEN}
    return Target(config, PartialConfig(**given))


pass_target = click.make_pass_decorator(Target)


def target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a group with the options that say which cluster; it leaves a `Target` to its commands."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def _if_there(place: Path) -> Path | None:
    try:
        path = place.expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError):  # somebody else's directory, or no home at all: then it is not for us
        return None


def _checked(parse: Callable[[str], object]) -> Callable[..., object]:
    """A callback that turns what a flag or the environment says into what the client takes."""

    def check(_context: click.Context, _parameter: click.Parameter, value: str | None) -> object:
        try:
            return None if value is None else parse(value)
        except ClientError as error:
            raise click.BadParameter(str(error)) from None

    return check


def _endpoints(text: str) -> tuple[str, ...]:
    return parse_endpoints([endpoint.strip() for endpoint in text.split(",") if endpoint.strip()])


def _namespace(text: str) -> str:
    Namespace(text)  # which raises a ClientError if it can be none
    return text


class _NamespaceOption(click.Option):
    """The option --namespace: an empty variable says something here, as an empty flag does, namely: none.

    click takes an empty variable for one that is not there. A raftctl that another one runs must not have the namespace
    that a file says where the other has none.
    """

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:  # noqa: ARG002 - click's signature
        """Be click's `resolve_envvar_value`."""
        return os.environ.get(f"{_ENVIRONMENT}_NAMESPACE")


_OPTIONS: Final = (
    click.option("--config", type=PATH, show_envvar=True, help="A file that says all of the following, or some."),
    click.option(
        "--endpoints",
        metavar="HOST:PORT,…",
        callback=_checked(_endpoints),
        show_envvar=True,
        help="Nodes to ask; one that answers is enough to find the others.",
    ),
    click.option("--cacert", type=PATH, show_envvar=True, help="The authority of the nodes' certificates."),
    click.option("--cert", type=PATH, show_envvar=True, help="Your certificate."),
    click.option("--key", type=PATH, show_envvar=True, help="Its private key."),
    click.option(
        "--timeout",
        metavar="DURATION",
        callback=_checked(parse_timeout),
        show_envvar=True,
        help="How long a request may take, such as 500ms or 5s.",
    ),
    click.option(
        "--namespace",
        cls=_NamespaceOption,
        metavar="PREFIX",
        callback=_checked(_namespace),
        show_envvar=True,
        help="Put this before every key, and never show it.",
    ),
)
