import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftd.wire.address import Address, AddressError, is_host, is_ip_address, parse_address

hosts = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]([a-z0-9]{0,5}))?", fullmatch=True),
)


@given(hosts, st.integers(1, 65535))
def test_an_address_is_read_back_from_its_text(host: str, port: int) -> None:
    """Host and port survive, for names, IPv4 and IPv6 alike."""
    assert parse_address(str(Address(host, port)), 1) == Address(host, port)


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    """Nothing but AddressError, and what is accepted can be written and read again."""
    try:
        address = parse_address(text, 7400)
    except AddressError:
        return
    assert parse_address(str(address), 1) == address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("n1", "n1", 7400),
        ("n1.example.net", "n1.example.net", 7400),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("[::1]", "::1", 7400),
        ("[0:0:0:0:0:0:0:1]:65535", "::1", 65535),
        ("n_1:80", "n_1", 80),
        ("N1.Example.NET.:80", "n1.example.net", 80),
        ("n1.", "n1", 7400),
        ("[FE80::1%Eth0]:80", "fe80::1%Eth0", 80),
    ],
)
def test_the_port_may_be_left_out(text: str, host: str, port: int) -> None:
    """The default port stands in, with a name and with both kinds of IP address."""
    assert parse_address(text, 7400) == Address(host, port)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "neither a host's name"),
        (":7400", "neither a host's name"),
        ("n1:", "port ''"),
        ("n1:0", "port '0'"),
        ("n1:07", "port '07'"),
        ("n1:65536", "port '65536'"),
        ("n1:\u0661", "port"),
        ("n1:+1", "port"),
        ("::1", r"\[::1\]:7400"),
        ("[::1", r"\[::1\]:7400"),
        ("[::1]7400", r"\[::1\]:7400"),
        ("[n1]:7400", "not an IPv6 address"),
        ("[127.0.0.1]:7400", "not an IPv6 address"),
        ("[::g]:7400", "not an IPv6 address"),
        ("10.0.0.256", "neither a host's name"),
        ("7400", "neither a host's name"),
        ("-n1", "neither a host's name"),
        ("n1..net", "neither a host's name"),
        ("n1..", "neither a host's name"),
        (".", "neither a host's name"),
        ("127.0.0.1.", "neither a host's name"),
        ("n 1", "neither a host's name"),
        ("http://n1", "port"),
        ("n1\n", "neither a host's name"),
        (f"{'a' * 64}.net", "neither a host's name"),
        (".".join(["abcdefgh"] * 30), "neither a host's name"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, reason: str) -> None:
    """The message says which part is wrong."""
    with pytest.raises(AddressError, match=reason):
        parse_address(text, 7400)


def test_the_longest_names_are_hosts() -> None:
    """63 characters of a label and 253 of a name (RFC 1035 §2.3.4), and not one more."""
    label = "a" * 63
    longest = ".".join([label, label, label, "b" * 61])
    assert len(longest) == 253
    assert is_host(longest)
    assert not is_host(longest + "b")
    assert not is_host(f"{label}a.net")


def test_wildcards_are_known() -> None:
    """One can listen on them, but no one can connect to them."""
    assert Address("0.0.0.0", 1).is_wildcard  # noqa: S104 - nothing binds here
    assert Address("::", 1).is_wildcard
    assert not Address("127.0.0.1", 1).is_wildcard
    assert not Address("n1", 1).is_wildcard


def test_ip_addresses_are_hosts() -> None:
    """Both kinds, without brackets."""
    assert is_ip_address("::1")
    assert not is_ip_address("[::1]")
    assert is_host("::1")
    assert is_host("10.0.0.1")
    assert not is_host("")
