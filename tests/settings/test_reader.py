from collections.abc import Callable
from pathlib import Path

import pytest

from raftd.errors import SettingsError
from raftd.settings import Document, Settings, load
from raftd.settings.document import read_document
from raftd.settings.reader import read


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("  name: demo\n", "", "2:3: cluster.name is missing: The cluster's name"),
        ("  name: demo\n", "  name:\n", "2:8: cluster.name has no value"),
        ("  name: demo\n", "  name: [demo]\n", "2:9: cluster.name is a list where one cluster's name is"),
        ("  name: demo\n", "  name: {a: b}\n", "2:9: cluster.name is a mapping where one cluster's name"),
        ("  name: demo\n", "  name: !x demo\n", '2:9: cluster.name "demo" has the tag !x'),
        ("  name: demo\n", "  name: demo\n  name: demo\n", "3:3: cluster.name is given twice; first on line 2"),
        ("  name: demo\n", "  name: a\n  name: B\n  name: c\n", "4:3: cluster.name is given twice; first on line 2"),
        ("cluster:\n", "clsuter:\n", '1:1: unknown key "clsuter"; did you mean "cluster"?'),
        ("  name: demo\n", "  Name: demo\n", '2:3: unknown key "Name" in cluster; did you mean "name"?'),
        ("cluster:\n", "tick: 50ms\ncluster:\n", '1:1: unknown key "tick"; did you mean timing.tick?'),
        ("cluster:\n", "peer-address: a\ncluster:\n", '1:1: unknown key "peer-address"; known here: cluster'),
        ("cluster:\n", "? [a]\n: b\ncluster:\n", '1:3: unknown key ""; known here: cluster'),
        ("cluster:\n", "cluster: &c\n  <<: *c\n", "2:3: cluster.<<: merge keys are not read here"),
        ("cluster:\n", "nodes: {}\ncluster:\n", "1:8: nodes is a mapping where a list is expected"),
        ("cluster:\n", "timing:\ncluster:\n", "1:8: timing has no value where a mapping with the keys tick,"),
        ("cluster:\n", "timing: 50ms\ncluster:\n", '1:9: timing is "50ms" where a mapping with the keys tick'),
        ("allow: [read]", "allow: read", '28:40: access[1].allow is "read" where a list is expected'),
        ("allow: [read]", "allow: []", "28:40: access[1].allow has 0 items; 1 to 3 are allowed"),
        ("allow: [read]", "allow: [raed]", '28:41: access[1].allow "raed" is none of read, write, admin; did'),
        ("prefix: app/", 'prefix: "\\ud800x"', "28:27: access[1].prefix has half of a surrogate pair ("),
        ("pki/node-{node}.peer.key", '"\\udfff"', "21:10: tls.peer.key has half of a surrogate pair ("),
        ("pki/node-{node}.peer.key", "{node}", "21:10: tls.peer.key is a mapping where one path is expected; a"),
        ("http_address: n3.example.net", "http_address: [::1]", "16:20: not valid YAML"),
        (
            "http_address: n3.example.net",
            "http_address: [n3]",
            "16:19: nodes[2].http_address is a list where one address is expected; an IPv6 address must be in quotes",
        ),
        ("cluster:\n", "timing: !!map 5\ncluster:\n", '1:9: timing is "5" where a mapping with the keys tick'),
        ("cluster:\n", "timing: !x {}\ncluster:\n", "1:9: timing has the tag !x where a mapping with the keys tick"),
        ("allow: [read]", "allow: !!seq read", '28:40: access[1].allow is "read" where a list is expected'),
        ("allow: [read]", "allow: !x [read]", "28:40: access[1].allow has the tag !x where a list is expected"),
        (
            "allow: [read]",
            "allow: !!python/tuple [read]",
            "28:40: access[1].allow has the tag python/tuple where a list is expected",
        ),
        ("name: demo", "name: Dämon", '2:9: cluster.name "Dämon" is not a cluster\'s name'),
        ("name: demo", f"name: {'X' * 60}", f'2:9: cluster.name "{"X" * 60}" is not a cluster\'s name'),
        ("name: demo", f"name: {'X' * 60}Y", f'2:9: cluster.name "{"X" * 60}…" is not a cluster\'s name'),
    ],
)  # fmt: skip
def test_each_mistake_is_told_where_it_is(
    old: str, new: str, problem: str, valid: str, problems_of: Callable[[str], list[str]]
) -> None:
    """The place is that of the key or value at fault, and the message names it by its path."""
    assert old in valid
    assert any(found.startswith(f"raftd.yaml:{problem}") for found in problems_of(valid.replace(old, new, 1)))


def test_the_file_must_be_a_mapping(problems_of: Callable[[str], list[str]]) -> None:
    """A list or a word is one problem, not ten missing keys."""
    for text in ("- cluster\n", "cluster\n", "~\n"):
        assert len(problems_of(text)) == 1


def test_cycles_and_aliases_end(problems_of: Callable[[str], list[str]]) -> None:
    """A node that contains itself is read as deep as the schema goes."""
    assert problems_of("cluster: &x {name: *x, id: *x}\nnodes: &y [*y, *y]\ntls: &z {peer: *z, client: *z}\n")


def test_an_alias_is_its_node(valid: str, load_text: Callable[[str], Settings]) -> None:
    """A value may be given once and used twice."""
    text = valid.replace("allow: [read, write, admin]", "allow: &all [read]").replace("allow: [read]}", "allow: *all}")
    loaded = load_text(text.replace("app/, allow: [read]", "app/, allow: *all"))
    assert loaded.document.access[1].allow == loaded.document.access[0].allow == ("read",)


def test_more_than_nine_voters_are_too_many(valid: str, problems_of: Callable[[str], list[str]]) -> None:
    """The bound is named, as is what was given."""
    node = "  - {{id: {0}, client_address: m{0}, peer_address: m{0}, http_address: m{0}}}\n"
    text = valid.replace("tls:\n", "".join(node.format(id_) for id_ in range(4, 11)) + "tls:\n", 1)
    assert problems_of(text) == ["raftd.yaml:5:3: nodes has 10 items; 1 to 9 are allowed"]
    assert "nodes has 0 items" in problems_of("nodes: []\n")[-1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  name: demo\n", "  name: demo\n  name: demo\n"),
        ("  name: demo\n", "  name: demo\n  more: demo\n"),
        ("  name: demo\n", "  name: Demo\n"),
        ("  name: demo\n", ""),
        ("allow: [read]", "allow: [raed]"),
        ("allow: [read]", "allow: read"),
        ("{user: app-*", "{user: a b"),
        ("access:\n", "access: []\nlater:\n"),
        ("tls:\n", "listen: []\ntls:\n"),
    ],
)
def test_of_a_broken_file_there_is_no_document(tmp_path: Path, old: str, new: str, valid: str) -> None:
    """Whatever is wrong, and however deep: nobody gets to work with the rest of it."""
    path = tmp_path / "raftd.yaml"
    path.write_text(valid)
    assert read(Document, *read_document(path))[0] == load(path).document
    path.write_text(valid.replace(old, new, 1))
    document, reading = read(Document, *read_document(path))
    assert document is None
    with pytest.raises(SettingsError):
        reading.report.raise_problems()
