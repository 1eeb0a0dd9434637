import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftd.wire.identity import (
    NODE_ID_MAX,
    URI_CHARACTERS_MAX,
    Identity,
    IdentityError,
    IdentityKind,
    authority_identity,
    identity_among,
    identity_of_alternative_names,
    node_identity,
    parse_identity,
    user_identity,
)

clusters = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
users = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}", fullmatch=True)
identities = st.one_of(
    st.builds(node_identity, clusters, st.integers(1, NODE_ID_MAX)),
    st.builds(user_identity, clusters, users),
    st.builds(authority_identity, clusters, st.sampled_from(["peer", "client"])),
)


@given(identities)
def test_every_identity_is_read_back_from_its_uri(identity: Identity) -> None:
    """An identity and its URI stand for each other."""
    assert parse_identity(identity.uri) == identity
    assert str(identity) == identity.uri
    assert len(identity.uri) <= URI_CHARACTERS_MAX


@given(st.text(max_size=80) | st.builds(lambda tail: f"raftd://{tail}", st.text(max_size=80)))
def test_any_text_is_an_identity_of_exactly_itself_or_refused(text: str) -> None:
    """No two texts are the same identity: what is read is, character for character, what was given."""
    try:
        identity = parse_identity(text)
    except IdentityError:
        return
    assert identity.uri == text


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "raftd:",
        "raftd://",
        "raftd://demo",
        "raftd://demo/",
        "raftd://demo/node",
        "raftd://demo/node/",
        "raftd://demo/node/0",
        "raftd://demo/node/01",
        "raftd://demo/node/+1",
        "raftd://demo/node/-1",
        "raftd://demo/node/1/",
        "raftd://demo/node/1\n",
        "raftd://demo/node/1?x=1",
        "raftd://demo/node/1#x",
        "raftd://demo/node/%31",
        "raftd://demo/node/\u0661",
        f"raftd://demo/node/{NODE_ID_MAX + 1}",
        "raftd://demo/Node/1",
        "raftd://demo/group/1",
        "raftd://Demo/node/1",
        "raftd://-demo/node/1",
        "raftd://demo:7400/node/1",
        "raftd://me@demo/node/1",
        f"raftd://{'d' * 64}/node/1",
        "raftd:///node/1",
        "RAFTD://demo/node/1",
        "raft://demo/node/1",
        "raftd:/demo/node/1",
        "raftd:/x/demo/node/1",
        " raftd://demo/node/1",
        "raftd://demo/user/",
        "raftd://demo/user/.",
        "raftd://demo/user/..",
        "raftd://demo/user/a b",
        "raftd://demo/user/*",
        "raftd://demo/user/a\0",
        "raftd://demo/user/ädmin",
        f"raftd://demo/user/{'u' * 64}",
        "raftd://demo/authority/root",
        f"raftd://demo/user/{'u' * 10_000}",
    ],
)
def test_what_is_almost_an_identity_is_refused(uri: str) -> None:
    """There is one spelling; whatever else another library might accept is refused, in one short line."""
    with pytest.raises(IdentityError) as caught:
        parse_identity(uri)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_only_a_node_has_an_id_and_only_a_user_a_name() -> None:
    """The kinds cannot be taken for each other: a user named 1 is not node 1."""
    node, user = node_identity("demo", 1), user_identity("demo", "1")
    assert (node.kind, node.node_id, node.user) == (IdentityKind.NODE, 1, None)
    assert (user.kind, user.node_id, user.user) == (IdentityKind.USER, None, "1")
    assert authority_identity("demo", "peer").node_id is None
    assert authority_identity("demo", "peer").user is None
    assert node != user


@pytest.mark.parametrize("name", ["../x", "", "a/b", "x" * 64])
def test_a_name_cannot_smuggle_a_path_into_an_identity(name: str) -> None:
    """Identities that are made, not read, are checked just as well."""
    with pytest.raises(IdentityError):
        user_identity("demo", name)
    with pytest.raises(IdentityError):
        node_identity(f"demo/{name}", 1)


def test_exactly_one_of_a_certificates_uris_must_be_an_identity() -> None:
    """URIs of others are ignored, none or two of ours are refused, and an odd spelling of ours is not ignored."""
    ours, other = "raftd://demo/node/1", "spiffe://example/x"
    assert identity_among([other, ours]) == node_identity("demo", 1)
    for uris in ([], [other], [ours, ours], [ours, "raftd://demo/user/admin"], [ours, "RAFTD://demo/node/2"]):
        with pytest.raises(IdentityError):
            identity_among(uris)


def test_only_uris_among_alternative_names_count() -> None:
    """A host name that looks like an identity is a host name."""
    names = [("DNS", "raftd://demo/node/2"), ("URI", "raftd://demo/node/1"), ("IP Address", "127.0.0.1")]
    assert identity_of_alternative_names(names) == node_identity("demo", 1)
    with pytest.raises(IdentityError, match="names no identity"):
        identity_of_alternative_names(names[:1])


def test_ids_have_63_bits_and_uris_an_end() -> None:
    """The bounds are part of what a certificate can say; a longer text is not even looked into."""
    assert parse_identity("raftd://demo/node/9223372036854775807").node_id == (1 << 63) - 1
    with pytest.raises(IdentityError, match="a number from 1 to 9223372036854775807"):
        node_identity("demo", 1 << 63)
    with pytest.raises(IdentityError, match="is not of the form"):
        parse_identity("x" * 256)
    with pytest.raises(IdentityError, match="an identity of 257 characters; at most 256 are allowed"):
        parse_identity("x" * 257)
