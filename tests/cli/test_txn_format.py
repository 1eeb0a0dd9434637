from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftd.cli import txn_format
from raftd.cli.output import printable
from raftd.cli.txn_format import Draft, FormatError, parse, words_of
from raftd.client import Condition, Delete, DeleteRange, Get, Increment, Put, Range
from raftd.kv.operations import CompareTarget, Relation


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("   # nothing", []),
        ("put a 1", [b"put", b"a", b"1"]),
        ("\tput  a\t1  ", [b"put", b"a", b"1"]),
        ('put "a b" ""', [b"put", b"a b", b""]),
        ('put "#" #not', [b"put", b"#"]),
        ("put a#b c", [b"put", b"a#b", b"c"]),
        (r'put \x00\n "\"\\\xff"', [b"put", b"\x00\n", b'"\\\xff']),
        ("put \udcff ü", [b"put", b"\xff", "ü".encode()]),
        ("put a\r", [b"put", b"a"]),
    ],
)
def test_words(line: str, words: list[bytes]) -> None:
    """Apart by spaces, quoted, escaped; a remark begins where a word would."""
    assert list(words_of(line)) == words


@pytest.mark.parametrize("line", ['put "a', 'put a"b', 'put "a"b', "put a\\", r"put \q", r"put \x1", 'put "\\"'])
def test_what_is_not_made_of_words(line: str) -> None:
    """It is an error, not a guess."""
    with pytest.raises(FormatError):
        list(words_of(line))


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=4))
def test_what_raftctl_shows_can_be_written_so(words: list[bytes]) -> None:
    """Any bytes, as they are shown, in quotes."""
    shown = [printable(word).replace('"', '\\"') for word in words]
    assert list(words_of(" ".join(f'"{word}"' for word in shown))) == words


EVERYTHING = r"""
# All that there is.
if
  exists a
  absent b
  value a == "x y"
  version a != 1
  created a < 18446744073709551615
  modified a > 0
  lease a == 0
then
  get a
  put a 1
  put a "" lease=7 previous
  delete a
  delete a previous
  increment n
  increment n -5
  range a b
  range "" "" limit=2 keys-only
  prefix a/
  prefix "" keys-only
  delete-range a b limit=3
  delete-prefix a/
  transaction
    if
      exists c
    then
      get c
    else
      get d
  end
  get last
else
  get a
"""


def test_everything_there_is() -> None:
    """Each line becomes what it says, in its order."""
    draft, problems = parse(EVERYTHING)
    assert problems == []
    assert draft.conditions == [
        Condition(CompareTarget.VERSION, Relation.GREATER, b"a", 0),
        Condition(CompareTarget.VERSION, Relation.EQUAL, b"b", 0),
        Condition(CompareTarget.VALUE, Relation.EQUAL, b"a", b"x y"),
        Condition(CompareTarget.VERSION, Relation.NOT_EQUAL, b"a", 1),
        Condition(CompareTarget.CREATE_REVISION, Relation.LESS, b"a", (1 << 64) - 1),
        Condition(CompareTarget.MODIFY_REVISION, Relation.GREATER, b"a", 0),
        Condition(CompareTarget.LEASE, Relation.EQUAL, b"a", 0),
    ]
    assert draft.then == [
        Get(b"a"),
        Put(b"a", b"1"),
        Put(b"a", b"", 7, previous=True),
        Delete(b"a"),
        Delete(b"a", previous=True),
        Increment(b"n"),
        Increment(b"n", -5),
        Range(b"a", b"b"),
        Range(b"", b"", limit=2, keys_only=True),
        Range(prefix=b"a/"),
        Range(prefix=b"", keys_only=True),
        DeleteRange(b"a", b"b", limit=3),
        DeleteRange(prefix=b"a/"),
        Draft([Condition(CompareTarget.VERSION, Relation.GREATER, b"c", 0)], [Get(b"c")], [Get(b"d")]),
        Get(b"last"),
    ]
    assert draft.otherwise == [Get(b"a")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "there is nothing to do in it"),
        ("if\nexists a\nthen\n", "there is nothing to do in it"),
        ("get a", "line 1: begin with if or then, not with 'get'"),
        ("then\nget a\nif\n", "line 3: if cannot follow then"),
        ("then\nget a\nthen\n", "line 3: then cannot follow then"),
        ("then\nelse\nthen\n", "line 3: then cannot follow else"),
        ("then x\n", "line 1: then stands alone in its line"),
        ("then\nget a\nend\n", "line 3: there is no transaction inside of another one to end"),
        ("then\ntransaction\nthen\nget a\n", "line 2: this transaction has no end"),
        ("then\ntransaction\nget a\nend\n", "line 3: begin with if or then, not with 'get'"),
        ("if\nget a\nthen\nget a\n", "line 2: 'get' is no condition; there are exists, absent, value, "),
        ("if\nvalue a = 1\nthen\nget a", "line 2: '=' is no relation; there are == != < >"),
        ("if\nvalue a ==\nthen\nget a", "line 2: it is value KEY RELATION OPERAND"),
        ("if\nversion a == x\nthen\nget a", "line 2: 'x' is not a number from 0 to 18446744073709551615"),
        ("if\nexists a b\nthen\nget a", "line 2: it is exists KEY"),
        ("then\nset a 1", "line 2: 'set' is no operation; there are get, put, "),
        ("then\nput a", "line 2: it is put KEY VALUE"),
        ("then\nput a b c", "line 2: 'c' cannot follow put KEY VALUE; lease= and previous can"),
        ("then\nput a b lease=0", "line 2: '0' is not a number from 1 to "),
        ("then\nput a b previous previous", "line 2: 'previous' is given twice"),
        ("then\nincrement a 9223372036854775808", "line 2: '9223372036854775808' is not a number from "),
        ("then\nincrement a 1 2", "line 2: it is increment KEY [N]"),
        ("then\nrange a", "line 2: it is range LOW HIGH"),
        ("then\nprefix a limit=0", "line 2: '0' is not a number from 1 to 4294967295"),
        ('then\nput a "b', "line 2: a quote is not closed"),
        ("then\nget \\xff\\xfg", "line 2: \\x escapes nothing"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, problem: str) -> None:
    """And nothing else."""
    _, problems = parse(text)
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_all_that_is_wrong_is_told_at_once() -> None:
    """Up to a bound: a file of another kind has a problem in each line."""
    _, problems = parse("then\nput a\nget a b\n")
    assert [problem.partition(":")[0] for problem in problems] == ["line 2", "line 3"]
    _, problems = parse("nonsense\n" * 1000)
    assert len(problems) == 20


@given(st.text())
def test_no_text_is_a_bug(text: str) -> None:
    """Whatever it is, it is a transaction or has problems."""
    draft, problems = parse(text)
    assert problems or draft.then or draft.otherwise


def test_the_document_says_the_same() -> None:
    """The table in the module's own text names each operation and each condition."""
    text = txn_format.__doc__ or ""
    for word in (*txn_format._OPERATIONS, *txn_format._TARGETS, *txn_format._STRUCTURE, "exists", "absent"):
        assert word in text, word
    document = (Path(__file__).parents[2] / "docs" / "raftctl.md").read_text()
    for word in (*txn_format._OPERATIONS, *txn_format._TARGETS, *txn_format._STRUCTURE, "exists", "absent"):
        assert word in document, word
