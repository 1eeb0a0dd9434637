from pathlib import Path

import pytest
import yaml

from raftd.errors import SettingsError
from raftd.settings.document import place_of, read_document, resolved, scalar_of


def problem_of(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "f"
    path.write_bytes(data)
    with pytest.raises(SettingsError) as caught:
        read_document(path)
    assert len(caught.value.problems) == 1
    return str(caught.value).removeprefix(f"{path}")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", ": the file is empty"),
        (b"# nothing but this\n", ": the file is empty"),
        (b"\xef\xbb\xbf", ": the file is empty"),
        (b"a: b\nc: \xff\n", ":2:4: is not UTF-8: byte 0xff"),
        (b"\xef\xbb\xbfa: \xff\n", ":1:4: is not UTF-8: byte 0xff"),
        (b"a: \x01\n", ":1:4: the character U+0001 is not allowed in YAML"),
        ("a: b\u2028c: d\re: \x01\n".encode(), ":3:4: the character U+0001 is not allowed in YAML\n    e:"),
        (b"a:\n\tb: 1\n", ":2:1: not valid YAML: a tab; indent with spaces"),
        (b"a: 1\n---\nb: 2\n", ":2:1: a second document begins here"),
        (b"a: [::1]:7400\n", ":1:5: not valid YAML while parsing a flow node: expected the node content"),
        (b"a: {b: pki/{node}.crt, c: d}\n", ":1:12: not valid YAML while parsing a flow mapping: expected ',' or '}'"),
        (b"a: {node}/x\n", ":1:10: not valid YAML while parsing a block mapping: expected <block end>"),
        (b"name:demo\nb: 1\n", ":2:2: not valid YAML: mapping values are not allowed here; a space is missing"),
        (b"a:b: c: d\n", ":1:7: not valid YAML: mapping values are not allowed here; a space is missing"),
        (b"a: *x\nname:demo", ":1:4: not valid YAML: found undefined alias 'x'\n"),
        (b"a: b: c\t# d\n", ":1:5: not valid YAML: mapping values are not allowed here\n"),
        (b"a: 1\n  \tb: 2\n", ":2:3: not valid YAML: a tab; indent with spaces"),
        (b'a: "x\n', ":2:1: not valid YAML while scanning a quoted scalar: found unexpected end of stream"),
        (b"a: *x\n", ":1:4: not valid YAML: found undefined alias 'x'"),
        (b"a: &x 1\nb: &x 2\n", ":2:4: not valid YAML found duplicate anchor"),
        (b"%YAML 9.9\n---\na: 1\n", ":1:1: not valid YAML: found incompatible YAML document"),
    ],
)  # fmt: skip
def test_what_is_no_yaml_is_told_with_its_place(tmp_path: Path, data: bytes, problem: str) -> None:
    """One problem, with line and column, and a hint for what people really get wrong."""
    assert problem_of(tmp_path, data).startswith(problem)


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"b: 1\na: [::1]:7400", 'an IPv6 address must be in quotes: "[::1]:7400"'),
        (b"a: {b: pki/{node}.crt, c: d}\n", "a path with {node} must be in quotes"),
        (b"a: {node}/x\n", "a path with {node} must be in quotes"),
    ],
)
def test_values_that_yaml_takes_apart_get_a_hint(tmp_path: Path, data: bytes, hint: str) -> None:
    """PyYAML's own words for these say nothing to somebody who typed an address or a path."""
    assert hint in problem_of(tmp_path, data)


def test_size_and_depth_are_bounded(tmp_path: Path) -> None:
    """Neither a large nor a deep file costs more than it takes to refuse it."""
    assert problem_of(tmp_path, b"#" * ((1 << 20) + 1)).startswith(": is over 1 MiB")
    assert ":1:1048576: is not UTF-8" in problem_of(tmp_path, b"#" * ((1 << 20) - 1) + b"\xff")
    for deep in (b"[" * 100_000, b"- " * 10_000, b"[" * 21 + b"]" * 21):
        assert "nested more than 20 deep" in problem_of(tmp_path, deep)
    (tmp_path / "f").write_bytes(b"[" * 20 + b"]" * 20)
    node, _ = read_document(tmp_path / "f")
    assert isinstance(node, yaml.SequenceNode)


def test_an_alias_bomb_is_not_expanded(tmp_path: Path) -> None:
    """Nine levels of nine aliases stay nine nodes."""
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 16)]
    path = tmp_path / "f"
    path.write_text("\n".join(lines))
    node, _ = read_document(path)
    assert isinstance(node, yaml.MappingNode)


def test_a_byte_order_mark_is_no_key(tmp_path: Path) -> None:
    """Some editors write one; it counts for nothing, not even for columns."""
    path = tmp_path / "f"
    path.write_bytes(b"\xef\xbb\xbfa: b\n")
    node, _ = read_document(path)
    assert isinstance(node, yaml.MappingNode)
    assert node.value[0][0].value == "a"
    assert place_of(node.value[0][1]).column == 3
    assert problem_of(tmp_path, b"\xef\xbb\xbfa: *x\n").endswith("\n    a: *x\n       ^")


@pytest.mark.parametrize(
    ("text", "yaml_type"),
    [
        ("on", "bool"),
        ("1:30", "int"),
        ("1.10", "float"),
        ("~", "null"),
        ("", "null"),
        ("x", "str"),
        ("2024-01-01", "timestamp"),
    ],
)
def test_scalars_keep_their_text_and_say_what_yaml_thinks(tmp_path: Path, text: str, yaml_type: str) -> None:
    """Nothing is converted; quoted, each of them is text."""
    path = tmp_path / "f"
    path.write_text(f"a: {text}\nb: '{text}'\n")
    node, _ = read_document(path)
    assert isinstance(node, yaml.MappingNode)
    plain, quoted = (scalar_of(value) for _, value in node.value)
    assert (plain.text, plain.yaml_type) == (text, yaml_type)
    assert (quoted.text, quoted.yaml_type) == (text, "str")
    assert resolved(text) == plain


def test_no_tag_makes_an_object(tmp_path: Path) -> None:
    """A document is nodes, whatever its tags promise."""
    path = tmp_path / "f"
    marker = tmp_path / "made"
    path.write_text(f"a: !!python/object/apply:os.mkdir ['{marker}']\n")
    read_document(path)
    assert not marker.exists()
