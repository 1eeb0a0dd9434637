"""Where a member of the cluster is, as the replicated membership carries it: `client=HOST:PORT,peer=…,http=…`.

Consensus takes this text for opaque; whoever dials, redirects or shows a member reads it. Valid if and only if the
three are there in this order, each an address with its port in the one spelling that `Address` gives it; but a host's
name may have upper case and a dot at its end. What is read is written without them, and what an administrator asks for
is replicated as it is written: so two texts there name the same host and port exactly when they are the same. That two
names mean the same host, or a name and an IP address, only a resolver could tell.
"""

from dataclasses import dataclass, fields

from raftd.wire.address import Address, AddressError, fold_name, parse_address

_NO_PORT = 0


@dataclass(frozen=True, slots=True)
class MemberAddresses:
    """Where one node is reached, and by whom."""

    client: Address
    peer: Address
    http: Address

    def __str__(self) -> str:
        return f"client={self.client},peer={self.peer},http={self.http}"

    @property
    def all(self) -> tuple[Address, Address, Address]:
        """The three of them."""
        return self.client, self.peer, self.http


_NAMES = tuple(field.name for field in fields(MemberAddresses))


def parse_member_addresses(text: str) -> MemberAddresses:
    """Read a member's addresses.

    Raises:
        AddressError: The text is not that; the message goes on after "it".
    """
    names_and_addresses = [part.partition("=") for part in text.split(",")]
    if tuple(name for name, _, _ in names_and_addresses) != _NAMES:
        raise AddressError("is not of the form client=HOST:PORT,peer=HOST:PORT,http=HOST:PORT")
    addresses = MemberAddresses(*(parse_address(address, _NO_PORT) for _, _, address in names_and_addresses))
    for name, address in zip(_NAMES, addresses.all, strict=True):
        if address.is_wildcard:
            raise AddressError(f"is not where a node can be reached: {name} is {address}, which is every address")
    if str(addresses) != ",".join(f"{name}={_folded(address)}" for name, _, address in names_and_addresses):
        raise AddressError(f"is not spelled as it should be, which is {addresses}")
    return addresses


def _folded(address: str) -> str:
    """An address's text, with the host's name in the one spelling that it has."""
    host, colon, port = address.rpartition(":")
    return address if host.startswith("[") else f"{fold_name(host)}{colon}{port}"
