from collections.abc import Callable

import pytest

from raftd.settings import Settings
from raftd.settings.changes import compare


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "log: {level: debug}\n", (("log.level",), (), ())),
        ("", "log: {level: debug, format: json}\n", (("log.level",), ("log.format",), ())),
        ("prefix: app/", "prefix: apps/", (("access",), (), ())),
        ("pki/client-ca.crt", "pki/bundle.crt", (("tls.client.authority",), (), ())),
        (
            "",
            "limits: {connections: 7, segment_size: 8 MiB}\n",
            (("limits.connections",), ("limits.segment_size",), ()),
        ),
        ("", "timing: {tick: 25 ms}\ndata_directory: /elsewhere/{node}\n", ((), ("data_directory", "timing.tick"), ())),
        ("name: demo", "name: other", ((), (), ("cluster.name",))),
        ("", "# a comment\n", ((), (), ())),
        ("", "log: {level: info}\n", ((), (), ())),
    ],
)
def test_what_differs_is_named_by_when_it_counts(
    valid: str,
    load_text: Callable[[str], Settings],
    old: str,
    new: str,
    expected: tuple[tuple[str, ...], ...],
) -> None:
    """By the schema's word for it; what means the same is no change."""
    changed = valid.replace(old, new, 1) if old else valid + new
    changes = compare(load_text(valid).document, load_text(changed).document, 1)
    assert (changes.reloaded, changes.waiting, changes.forbidden) == expected


def test_a_node_s_own_address_waits_for_its_restart(valid: str, load_text: Callable[[str], Settings]) -> None:
    """It is bound to; where the others are, is news only."""
    old, new = load_text(valid).document, load_text(valid.replace("n2.", "n2b.")).document
    assert compare(old, new, 1).waiting == ()
    assert compare(old, new, 2).waiting == ("nodes[id=2]",)
    assert compare(old, new, 1).reloaded == compare(old, new, 2).reloaded == ("nodes",)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("client_address: n2.", "client_address: n2b."),
        ("peer_address: n2.", "peer_address: n2b."),
        ("http_address: n2.", "http_address: n2b."),
        ("  - id: 2\n", "  - id: 2\n    no_lead: true\n"),
    ],
)
def test_each_of_what_a_node_has_from_its_start_waits(
    valid: str, load_text: Callable[[str], Settings], old: str, new: str
) -> None:
    """One of its addresses alone is enough, or whether it is to lead; whether it joined once does not matter to it."""
    before, after = load_text(valid).document, load_text(valid.replace(old, new, 1)).document
    assert compare(before, after, 2).waiting == ("nodes[id=2]",)
    assert compare(before, after, 3).waiting == ()
    joined = load_text(valid.replace("  - id: 2\n", "  - id: 2\n    joins: true\n", 1)).document
    assert compare(before, joined, 2).waiting == ()
