import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftd.kv.limits import KEY_BYTES_MAX
from raftd.settings import kinds
from raftd.settings.document import resolved
from raftd.settings.kinds import Kind, Misfit, Scalar
from raftd.wire.address import Address
from raftd.wire.identity import NODE_ID_MAX, USER_NAME

ANY_DURATION = kinds.duration("0s", "999999d")
ANY_SIZE = kinds.size("0B", "999999999GiB")
KINDS: list[Kind[Any]] = [
    kinds.text("name", USER_NAME, "a name"),
    kinds.choice("info", "debug"),
    kinds.integer(0, 1000),
    ANY_DURATION,
    ANY_SIZE,
    kinds.address(7400),
    kinds.path(has_placeholder=True),
    kinds.cluster_id(),
    kinds.cluster_name(),
    kinds.user_pattern(),
    kinds.key_prefix(),
    kinds.node_id(),
]


@given(st.sampled_from(KINDS), st.text(max_size=40) | st.from_regex(r"[0-9]{1,20}(\.[0-9]+)?[a-zA-Z:]{0,4}"))
def test_any_scalar_is_read_or_refused(kind: Kind[Any], text: str) -> None:
    """Nothing but Misfit comes out, and what is read can be shown and read again."""
    for scalar in (resolved(text), Scalar(text, "str")):
        try:
            value = kind.read(scalar)
        except Misfit:
            continue
        shown = kind.show(value)
        yaml_type = "int" if kind.label == "number" else "str"
        assert kind.read(Scalar(shown, yaml_type)) == value


@given(st.integers(0, 10**15 - 1))
def test_a_size_survives_being_shown(value: int) -> None:
    """Every number of bytes has a text, which means the same."""
    assert kinds.size_bytes(kinds.show_size(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0B", 0),
        ("1B", 1),
        ("1023B", 1023),
        ("1KiB", 1 << 10),
        ("1536B", 1536),
        ("3MiB", 3 << 20),
        ("1025MiB", 1025 << 20),
        ("2GiB", 2 << 30),
    ],
)
def test_a_size_is_shown_in_its_largest_unit(text: str, value: int) -> None:
    """Each unit counts as it should, and none is shown that would need a fraction."""
    assert kinds.show_size(value) == text
    assert kinds.size_bytes(text) == value


@pytest.mark.parametrize("kind", [*KINDS, kinds.boolean(), kinds.ratio()], ids=lambda kind: kind.label)
def test_a_key_without_a_value_is_called_that(kind: Kind[Any]) -> None:
    """Whatever would be allowed there, `key:` alone was forgotten and not misspelled."""
    for text in ("", "~", "null"):
        with pytest.raises(Misfit, match=r"^has no value$"):
            kind.read(resolved(text))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("1.5s", 1.5), ("90 s", 90), ("2m", 120), ("1h", 3600), ("7d", 604_800), ("0s", 0), ("0.5m", 30)],
)
def test_durations_have_a_unit(text: str, seconds: float) -> None:
    """Each unit counts as it should."""
    assert ANY_DURATION.read(resolved(text)) == seconds


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("50", "has no unit; write it with one of ms, s, m, h, d, as in 50ms or 50s"),
        ("1.10", "has no unit"),
        ("1:30", "number to base 60"),
        ("1:30.5", "number to base 60"),
        ("", "has no value"),
        ("~", "has no value"),
        ("-1s", "not a duration"),
        ("1us", "not a duration"),
        ("1 parsec", "not a duration"),
        ("1s ", "not a duration"),
        ("0.0001s", "finer than a millisecond"),
        ("9999999999999999s", "not a duration"),
        ("\u0663s", "not a duration"),
    ],
)
def test_other_durations_are_refused(text: str, reason: str) -> None:
    """A bare number could be anything, and 1:30 is the number 90 to YAML."""
    with pytest.raises(Misfit, match=reason):
        ANY_DURATION.read(resolved(text))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("64", "has no unit"),
        ("64MB", "write 64MiB"),
        ("64M", "write 64MiB"),
        ("64 kb", "write 64KiB"),
        ("0x40", "has no unit"),
        ("1.5GiB", "not a size"),
        ("64 TiB", "not a size"),
        ("", "has no value"),
    ],
)
def test_other_sizes_are_refused(text: str, reason: str) -> None:
    """MB would leave open whether it counts by 1000."""
    with pytest.raises(Misfit, match=reason):
        ANY_SIZE.read(resolved(text))


def test_bounds_are_included() -> None:
    """The two ends of a range are allowed; beside them nothing is."""
    kind, size, number = kinds.duration("10ms", "1s"), kinds.size("1KiB", "1MiB"), kinds.integer(1, 9)
    assert [kind.read(resolved(text)) for text in ("10ms", "1s", "1000ms")] == [0.01, 1, 1]
    assert [size.read(resolved(text)) for text in ("1KiB", "1MiB")] == [1024, 1 << 20]
    assert [number.read(resolved(text)) for text in ("1", "9")] == [1, 9]
    for read, texts in ((kind.read, ("9ms", "1001ms")), (size.read, ("1023B", "2MiB")), (number.read, ("0", "10"))):
        for text in texts:
            with pytest.raises(Misfit, match="out of bounds"):
                read(resolved(text))


def test_a_number_may_be_below_nothing_and_as_long_as_an_id() -> None:
    """An id has 63 bits and is not 0."""
    assert kinds.integer(-9, 9).read(resolved("-9")) == -9
    assert kinds.node_id().read(resolved("1")) == 1
    assert kinds.node_id().read(resolved(str(NODE_ID_MAX))) == NODE_ID_MAX
    for number in (0, NODE_ID_MAX + 1):
        with pytest.raises(Misfit, match="out of bounds"):
            kinds.node_id().read(resolved(str(number)))


def test_a_prefix_is_no_longer_than_a_key() -> None:
    """A longer one could not be the beginning of any."""
    kind = kinds.key_prefix()
    assert kind.read(Scalar("x" * KEY_BYTES_MAX, "str")) == "x" * KEY_BYTES_MAX
    with pytest.raises(Misfit, match="is not a prefix"):
        kind.read(Scalar("x" * (KEY_BYTES_MAX + 1), "str"))


def test_a_number_to_base_60_is_told_from_other_nonsense() -> None:
    """Who wrote a time of day is told what YAML took it for, and nobody else is."""
    with pytest.raises(Misfit, match="base 60"):
        kinds.integer(0, 9).read(resolved("1:30"))
    with pytest.raises(Misfit, match="not a plain decimal number"):
        kinds.integer(0, 9).read(resolved("1:x"))


@pytest.mark.parametrize("text", ["0644", "0x10", "0b1", "1_000", "1.0", "1e3", "+5", "one", "on", "", "1:30", "-0"])
def test_only_plain_decimals_are_numbers(text: str) -> None:
    """What YAML 1.1 makes of 0644 (420), 1_000 or 1:30 (90) is not what was meant."""
    with pytest.raises(Misfit):
        kinds.integer(-(10**6), 10**6).read(resolved(text))


def test_a_number_in_quotes_is_text() -> None:
    """As everywhere in YAML."""
    with pytest.raises(Misfit, match="not a plain decimal"):
        kinds.integer(0, 9).read(Scalar("7", "str"))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [("on", "boolean"), ("no", "boolean"), ("1.10", "number in"), ("123", "number in"), ("2024-01-01", "date")],
)
def test_text_that_yaml_takes_for_something_else_wants_quotes(text: str, meaning: str) -> None:
    """The file says on, the program would get True: refused unless it is in quotes."""
    with pytest.raises(Misfit, match=meaning) as caught:
        kinds.key_prefix().read(resolved(text))
    assert f'"{text}"' in str(caught.value)
    assert kinds.key_prefix().read(Scalar(text, "str")) == text


def test_a_sexagesimal_prefix_wants_quotes() -> None:
    """1:30 is the number 90 in YAML 1.1."""
    with pytest.raises(Misfit, match="base 60"):
        kinds.key_prefix().read(resolved("1:30"))


def test_a_choice_tells_the_nearest_word() -> None:
    """Case and a slip of the finger are recognised, but not accepted."""
    kind = kinds.choice("info", "debug")
    assert kind.read(resolved("info")) == "info"
    with pytest.raises(Misfit, match="did you mean info"):
        kind.read(resolved("INFO"))
    with pytest.raises(Misfit, match=r"none of info, debug$"):
        kind.read(resolved("on"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "no value"), ("~/x", "shell"), ("a/{id}", "only {node}"), ("a/{node", "only {node}"), ("a}", "only {node}")],
)
def test_a_path_has_no_other_placeholder(text: str, reason: str) -> None:
    """Nothing but {node} is replaced, and what looks as if it were is refused."""
    with pytest.raises(Misfit, match=reason):
        kinds.path(has_placeholder=True).read(resolved(text))
    with pytest.raises(Misfit, match=r"nothing is replaced|no value|shell"):
        kinds.path(has_placeholder=False).read(resolved(text))


def test_an_empty_path_and_one_with_nul_are_refused() -> None:
    """Neither names a file."""
    for text in ("", "a\0b"):
        with pytest.raises(Misfit):
            kinds.path(has_placeholder=True).read(Scalar(text, "str"))


@pytest.mark.parametrize("text", ["1234", "{6f9c3c1e-0000-4000-8000-000000000000}", "6f9c3c1e000040008000000000000000"])
def test_a_uuid_has_one_spelling(text: str) -> None:
    """The usual one, with hyphens."""
    with pytest.raises(Misfit, match="not a UUID"):
        kinds.cluster_id().read(resolved(text))


def test_the_nil_uuid_names_no_cluster() -> None:
    """It is what a template that was never filled in would hold."""
    with pytest.raises(Misfit, match="nil"):
        kinds.cluster_id().read(resolved(str(uuid.UUID(int=0))))


def test_addresses_get_the_default_port() -> None:
    """And numbers are no addresses."""
    assert kinds.address(7400).read(resolved("n1")) == Address("n1", 7400)
    for text in ("1:30", "7400", "10.0", ""):
        with pytest.raises(Misfit):
            kinds.address(7400).read(resolved(text))


def test_users_may_be_named_by_a_beginning() -> None:
    """A star stands at the end only."""
    for text in ("admin", "app-*", "*", "a@b.example"):
        assert kinds.user_pattern().read(Scalar(text, "str")) == text
    for text in ("*a", "a*b", "a**", "", "../x"):
        with pytest.raises(Misfit):
            kinds.user_pattern().read(Scalar(text, "str"))


def test_foreign_tags_are_refused() -> None:
    """No tag makes an object."""
    with pytest.raises(Misfit, match="has the tag"):
        kinds.key_prefix().read(Scalar("x", "python/name:os.system"))


def test_a_boolean_is_true_or_false() -> None:
    """YAML 1.1 has eleven spellings more, and text in quotes is text."""
    assert [kinds.boolean().read(resolved(text)) for text in ("true", "false")] == [True, False]
    assert [kinds.boolean().show(value) for value in (True, False)] == ["true", "false"]
    for scalar in (*map(resolved, ("yes", "on", "True", "n", "1", "")), Scalar("true", "str")):
        with pytest.raises(Misfit):
            kinds.boolean().read(scalar)


def test_a_ratio_is_between_nothing_and_all() -> None:
    """Percent signs and exponents are refused, and what is shown is read again."""
    kind = kinds.ratio()
    for text, value in (("0", 0.0), ("0.1", 0.1), ("0.000001", 0.000001), ("1", 1.0), ("1.0", 1.0)):
        assert kind.read(resolved(text)) == value
        assert kind.read(resolved(kind.show(value))) == value
    for text in ("1.1", "10%", "-0.1", "1e-1", ".1", "0.1.2", "", "0:30", "0.0000001"):
        with pytest.raises(Misfit):
            kind.read(resolved(text))
    with pytest.raises(Misfit):
        kind.read(Scalar("0.1", "str"))
