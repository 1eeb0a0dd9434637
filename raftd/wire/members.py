"""Where a member of the cluster is, as the replicated membership carries it: `client=HOST:PORT,peer=…,http=…`.

Consensus takes this text for opaque; whoever dials, redirects or shows a member reads it. Valid if and only if the
three are there in this order, each an address with its port in the one spelling that `Address` gives it: so two members
are in the same place exactly when their texts are the same.
"""

from dataclasses import dataclass, fields

from raftd.wire.address import Address, AddressError, parse_address

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
    if str(addresses) != text:
        raise AddressError(f"is not spelled as it should be, which is {addresses}")
    return addresses
