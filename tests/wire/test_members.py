"""A member's addresses as the replicated membership carries them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftd.consensus.membership_codec import ADDRESS_BYTES_MAX
from raftd.wire.address import HOST_CHARACTERS_MAX, Address, AddressError
from raftd.wire.members import MemberAddresses, parse_member_addresses

ADDRESSES = st.builds(
    Address,
    st.one_of(
        st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?\.[a-z]{1,5}", fullmatch=True),
        st.ip_addresses().filter(lambda ip: not ip.is_unspecified).map(str),
    ),
    st.integers(1, 65535),
)


@given(st.builds(MemberAddresses, ADDRESSES, ADDRESSES, ADDRESSES))
def test_what_is_written_is_read(addresses: MemberAddresses) -> None:
    """There and back, IPv6 included."""
    assert parse_member_addresses(str(addresses)) == addresses


def test_the_spelling() -> None:
    """It is shown to people and stored for ever."""
    addresses = MemberAddresses(Address("n1.example.net", 7400), Address("::1", 7401), Address("192.0.2.1", 7402))
    assert str(addresses) == "client=n1.example.net:7400,peer=[::1]:7401,http=192.0.2.1:7402"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "n1:7400",
        "client=n1:7400,peer=n1:7401",
        "peer=n1:7401,client=n1:7400,http=n1:7402",
        "client=n1:7400,peer=n1:7401,http=n1:7402,more=n1:7403",
        "client=n1,peer=n1:7401,http=n1:7402",
        "client=n1:07400,peer=n1:7401,http=n1:7402",
        "client=n1:7400,peer=[::0:1]:7401,http=n1:7402",
        "client=n1:7400,peer=n1:7401,http=n1:70000",
        "client=0.0.0.0:7400,peer=n1:7401,http=n1:7402",
        "client=n1:7400, peer=n1:7401,http=n1:7402",
        "client=n 1:7400,peer=n1:7401,http=n1:7402",
        "client=n1..:7400,peer=n1:7401,http=n1:7402",
        "client=[FE80::1]:7400,peer=n1:7401,http=n1:7402",
        "client=192.0.2.1.:7400,peer=n1:7401,http=n1:7402",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """One spelling for each place, so that equal places are equal texts."""
    with pytest.raises(AddressError):
        parse_member_addresses(text)


@pytest.mark.parametrize("host", ["n4", "N4", "n4.", "N4."])
def test_one_host_s_name_has_one_spelling(host: str) -> None:
    """However it was written when it was replicated: equal places are equal addresses, and equal texts once written."""
    addresses = parse_member_addresses(f"client={host}:7400,peer={host}:7401,http=n4:7402")
    assert str(addresses) == "client=n4:7400,peer=n4:7401,http=n4:7402"


def test_the_longest_fits_a_membership() -> None:
    """Whatever settings allow can be replicated."""
    longest = Address("a" * HOST_CHARACTERS_MAX, 65535)
    assert len(str(MemberAddresses(longest, longest, longest))) <= ADDRESS_BYTES_MAX
