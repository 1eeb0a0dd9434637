"""A TCP address as people write it: `host:port`, `host`, `[IPv6]:port`, `[IPv6]`."""

import ipaddress
import re
from dataclasses import dataclass

PORT_MAX = 65535
HOST_CHARACTERS_MAX = 253

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)


class AddressError(ValueError):
    """A text is not an address; the message goes on after "it" and says what is wrong."""


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A host, by name or by IP address, and a TCP port."""

    host: str
    """Without brackets; a name as `fold_name` gives it, where it was parsed."""
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_wildcard(self) -> bool:
        """Whether this is every address of a machine (`0.0.0.0`, `::`): one can listen there, not connect."""
        return is_ip_address(self.host) and ipaddress.ip_address(self.host).is_unspecified


def parse_address(text: str, default_port: int) -> Address:
    """The address that a text names; without a port in it, the default one.

    Raises:
        AddressError: it is none.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise AddressError("is not an address: an IPv6 address is written [::1]:7400")
        if ":" not in host or not is_ip_address(host):
            raise AddressError(f"is not an address: {host!r} in the brackets is not an IPv6 address")
        separator, port = rest[:1], rest[1:]
        host = str(ipaddress.ip_address(host))
    else:
        if text.count(":") > 1:
            raise AddressError("is not an address: an IPv6 address is written in brackets, [::1]:7400")
        host, separator, port = text.partition(":")
        if not is_host(host):
            raise AddressError(f"is not an address: {host!r} is neither a host's name nor an IP address")
        host = fold_name(host)
    if not separator:
        return Address(host, default_port)
    if _PORT.fullmatch(port) is None or int(port) > PORT_MAX:
        raise AddressError(f"is not an address: the port {port!r} is not a number from 1 to {PORT_MAX}")
    return Address(host, int(port))


def fold_name(host: str) -> str:
    """The one spelling of a host's name: case says nothing (RFC 4343), and a dot at the end only that it is whole.

    An IPv4 address is left as it is.
    """
    return host.lower().removesuffix(".")


def is_ip_address(host: str) -> bool:
    """Whether a host is given as an IPv4 or IPv6 address, without brackets."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_host(host: str) -> bool:
    """Whether a text is an IPv4 or IPv6 address or can be a host's name."""
    if is_ip_address(host):
        return True
    labels = host.removesuffix(".").split(".")
    if len(host) > HOST_CHARACTERS_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        return False
    # The last label of a name has a letter (RFC 3696 §2): so 10.0.0.256, and 7400 alone, are mistakes and not names.
    return not labels[-1].isdigit()
