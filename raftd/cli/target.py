"""Which cluster `raftctl` speaks to, and as whom: flag over environment over file."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import click

from raftd.client import Client, ClientConfig, ClientTls

CONFIG_PLACES: Final = (Path("~/.config/raftd/raftctl.yaml"), Path("/etc/raftd/raftctl.yaml"))
"""Where the file is looked for when none is named."""


@dataclass(frozen=True, slots=True)
class Target:
    """What flags and environment say; None where they say nothing."""

    config: Path | None
    endpoints: str | None
    cacert: Path | None
    cert: Path | None
    key: Path | None
    timeout: float | None

    def resolve(self) -> ClientConfig:
        """Put flags, environment and file together.

        Raises:
            click.UsageError: they do not say enough.
            ConfigurationError: the file cannot be used.
        """
        endpoints = tuple(filter(None, (self.endpoints or "").split(",")))
        path = self.config or next((place.expanduser() for place in CONFIG_PLACES if place.expanduser().exists()), None)
        if path is not None:
            config = ClientConfig.load(path)
            tls = config.tls
            return replace(
                config,
                endpoints=endpoints or config.endpoints,
                tls=ClientTls(self.cacert or tls.cacert, self.cert or tls.cert, self.key or tls.key),
                timeout=self.timeout or config.timeout,
            )
        if endpoints and self.cacert and self.cert and self.key:
            config = ClientConfig(endpoints, ClientTls(self.cacert, self.cert, self.key))
            return replace(config, timeout=self.timeout) if self.timeout else config
        missing = [
            name
            for name, given in (
                ("--endpoints", endpoints),
                ("--cacert", self.cacert),
                ("--cert", self.cert),
                ("--key", self.key),
            )
            if not given
        ]
        places = " or ".join(map(str, CONFIG_PLACES))
        raise click.UsageError(f"which cluster? Give --config, or {', '.join(missing)}, or write {places}")

    def client(self) -> Client:
        """A client for the cluster. Raises: as `resolve`, and TlsError where a file cannot be used."""
        return Client.from_config(self.resolve())


pass_target = click.make_pass_decorator(Target)
