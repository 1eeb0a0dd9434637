import dataclasses
import re
import uuid
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftd.settings import (
    AccessLine,
    Address,
    Listen,
    Log,
    Settings,
    Timing,
    render,
)

names = st.sampled_from(["admin", "no", "on", "7", "1.5", "1e5", "null", "a@b", "app-*", "*", "y", "0x1", "true"])
prefixes = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["1:30", "~", "a: b", "#x", "- a", "{node}", "2024-01-01", "\n", " ", "'", '"', "\\", "\x00", "\x85", "\ufeff"]
)
access = st.lists(
    st.builds(AccessLine, names, prefixes, st.sampled_from([("read",), ("read", "write")])),
    unique_by=lambda line: (line.user, line.prefix),
    max_size=4,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=access, level=st.sampled_from(["info", "debug"]), identity=st.uuids().filter(lambda value: value.int))
def test_what_is_rendered_is_read_back_the_same(
    lines: list[AccessLine], level: str, identity: uuid.UUID, valid: str, load_text: Callable[[str], Settings]
) -> None:
    """Whatever names and prefixes are, YAML's traps among them."""
    base = load_text(valid).document
    document = dataclasses.replace(
        base,
        access=tuple(lines),
        log=Log(level=level),
        cluster=dataclasses.replace(base.cluster, id=identity),
        timing=Timing(0.01, 0.02, 86.4 / 86.4),
        listen=Listen(peer=Address("::", 7401)),
        data_directory="{node}: # data",
    )
    assert load_text(render(document)).document == document


def test_the_rendered_file_says_what_its_parts_are(valid: str, load_text: Callable[[str], Settings]) -> None:
    """A person who opens it finds a comment above each part, and no line too long to read."""
    text = render(load_text(valid).document)
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if line and line[0].isalpha():
            assert lines[number - 1].startswith("# ")
    assert max(map(len, lines)) <= 120
    assert "    certificate: pki/node-{node}.peer.crt\n" in text
    assert "timing" not in text


@pytest.mark.parametrize("prefix", ["a:", "{node}", "{node}/x", "{node}:", "a b " * 50, "", "-", "x{node}"])
def test_what_yaml_would_take_apart_is_quoted(prefix: str, valid: str, load_text: Callable[[str], Settings]) -> None:
    """A value stays on its line and stays itself, wherever it stands."""
    lines = (AccessLine("a", prefix, ("read",)), AccessLine("b", "x", ("read", "write")))
    document = dataclasses.replace(load_text(valid).document, access=lines, data_directory="{node}/data")
    assert load_text(render(document)).document == document
    assert re.search(r"\n  - user: a\n    prefix: .+\n    allow: \[read\]\n", render(document))


def test_only_parts_of_the_whole_have_comments(valid: str, load_text: Callable[[str], Settings]) -> None:
    """What stands below them is short, and named well enough."""
    _, *lines = render(load_text(valid + "timing: {tick: 20ms}\n").document).split("\n")
    for line, following in pairwise(lines):
        assert not line.startswith("# ") or following.startswith("# ") or following[0].isalpha()
    assert max(map(len, lines)) <= 100
