r"""The text of a transaction, as `raftctl txn` reads it.

One thing in a line; what stands first says what it is::

    # Take the lead, if nobody has it.
    if
      absent leader
      value state != "shutting down"
    then
      put leader web-1 lease=42
      increment terms
      get config
    else
      get leader

    block        lines
    -----        -----
    if           exists KEY · absent KEY · TARGET KEY RELATION OPERAND
                     TARGET: value version created modified lease    RELATION: == != < >
    then, else   get KEY
                 put KEY VALUE [lease=ID] [previous]
                 delete KEY [previous]
                 increment KEY [N]
                 range LOW HIGH [limit=N] [keys-only]      prefix PREFIX [limit=N] [keys-only]
                 delete-range LOW HIGH [limit=N]           delete-prefix PREFIX [limit=N]
                 transaction, with blocks of its own, and then end

Without `if`, `then` is done. Words are apart by spaces. One with spaces, or an empty one, stands in double quotes; in
it as outside, `\n \t \r \\ \" \xNN` are what raftctl itself prints for what it cannot print. `#` at the beginning of a
word begins a remark. Indentation is for people.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from raftd.cli.parameters import U64_MAX
from raftd.client import Condition, Delete, DeleteRange, Get, Increment, Put, Range
from raftd.kv.operations import CompareTarget, Relation

_WORD: Final = re.compile(r'\s*(?:(?P<remark>#.*)|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>(?:[^\s"\\]|\\.)+))(?=\s|$)')
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))")
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"'}
_RELATIONS: Final = {
    "==": Relation.EQUAL,
    "!=": Relation.NOT_EQUAL,
    "<": Relation.LESS,
    ">": Relation.GREATER,
}
_TARGETS: Final = {
    "value": CompareTarget.VALUE,
    "version": CompareTarget.VERSION,
    "created": CompareTarget.CREATE_REVISION,
    "modified": CompareTarget.MODIFY_REVISION,
    "lease": CompareTarget.LEASE,
}
_BLOCKS: Final = ("", "if", "then", "else")
"""In their order; "": none has begun."""
_STRUCTURE: Final = ("if", "then", "else", "transaction", "end")
_PROBLEMS_MAX: Final = 20

SingleOperation: TypeAlias = Get | Range | Put | Delete | Increment | DeleteRange


class FormatError(ValueError):
    """A line cannot be understood; the message says why."""


@dataclass(slots=True)
class Draft:
    """A transaction that was read."""

    conditions: list[Condition] = field(default_factory=list)
    then: "list[SingleOperation | Draft]" = field(default_factory=list)
    otherwise: "list[SingleOperation | Draft]" = field(default_factory=list)


@dataclass(slots=True)
class _Open:
    """A transaction whose lines are being read."""

    draft: Draft
    line: int
    block: str = ""


def parse(text: str) -> tuple[Draft, list[str]]:
    """Read a transaction.

    Returns:
        The transaction, and what is wrong with it: all problems, up to a bound, each with its line.
    """
    reader = _Reader()
    for number, line in enumerate(text.split("\n"), 1):
        try:
            reader.take(number, list(words_of(line)))
        except FormatError as error:
            reader.problems.append(f"line {number}: {error}")
            if len(reader.problems) == _PROBLEMS_MAX:
                break
    else:
        reader.end()
    return reader.outermost, reader.problems


def words_of(line: str) -> Iterator[bytes]:
    """The words of a line, without remarks. Raises: FormatError: it is not made of words."""
    at, end = 0, len(line.rstrip())
    while at < end:
        match = _WORD.match(line, at)
        if match is None:
            raise FormatError("a quote is not closed, or stands inside of a word, or the line ends with a backslash")
        if match["remark"] is not None:
            return
        yield _unescape(match["bare"] if match["quoted"] is None else match["quoted"])
        at = match.end()


def _unescape(word: str) -> bytes:
    encoded = b""
    at = 0
    for match in _ESCAPE.finditer(word):
        encoded += word[at : match.start()].encode("utf-8", "surrogateescape")
        at = match.end()
        if match[1] is not None:
            encoded += bytes.fromhex(match[1])
        elif match[2] in _ESCAPED:
            encoded += _ESCAPED[match[2]].encode()
        else:
            raise FormatError(f"\\{match[2]} escapes nothing; a backslash itself is \\\\")
    return encoded + word[at:].encode("utf-8", "surrogateescape")


class _Reader:
    """Takes line by line."""

    def __init__(self) -> None:
        self.outermost = Draft()
        self.problems: list[str] = []
        self._open = [_Open(self.outermost, 0)]

    def take(self, number: int, words: Sequence[bytes]) -> None:
        """Take a line. Raises: FormatError."""
        if not words:
            return
        name, arguments = _shown(words[0]), words[1:]
        if name in _STRUCTURE and arguments:
            raise FormatError(f"{name} stands alone in its line")
        current = self._open[-1]
        if name in _BLOCKS:
            if _BLOCKS.index(name) <= _BLOCKS.index(current.block):
                raise FormatError(f"{name} cannot follow {current.block}")
            current.block = name
        elif name == "end":
            if len(self._open) == 1:
                raise FormatError("there is no transaction inside of another one to end")
            self._open.pop()
        elif not current.block:
            raise FormatError(f"begin with if or then, not with '{name}'")
        elif current.block == "if":
            current.draft.conditions.append(_condition(name, arguments))
        elif name == "transaction":
            nested = Draft()
            self._branch.append(nested)
            self._open.append(_Open(nested, number))
        else:
            self._branch.append(_operation(name, arguments))

    def end(self) -> None:
        """Note what is missing at the end."""
        for each in self._open[1:]:
            self.problems.append(f"line {each.line}: this transaction has no end")
        if not (self.problems or self.outermost.then or self.outermost.otherwise):
            self.problems.append("there is nothing to do in it")

    @property
    def _branch(self) -> list[SingleOperation | Draft]:
        current = self._open[-1]
        return current.draft.then if current.block == "then" else current.draft.otherwise


def _condition(name: str, words: Sequence[bytes]) -> Condition:
    if name in {"exists", "absent"}:
        (key,) = _exactly(words, f"{name} KEY", 1)
        relation = Relation.GREATER if name == "exists" else Relation.EQUAL
        return Condition(CompareTarget.VERSION, relation, key, 0)
    if name not in _TARGETS:
        raise FormatError(f"'{name}' is no condition; there are exists, absent, {', '.join(_TARGETS)}")
    key, sign, operand = _exactly(words, f"{name} KEY RELATION OPERAND", 3)
    relation_name = _shown(sign)
    if relation_name not in _RELATIONS:
        raise FormatError(f"'{relation_name}' is no relation; there are {' '.join(_RELATIONS)}")
    target = _TARGETS[name]
    if target is CompareTarget.VALUE:
        return Condition(target, _RELATIONS[relation_name], key, operand)
    return Condition(target, _RELATIONS[relation_name], key, _number(operand, 0, U64_MAX))


def _operation(name: str, words: Sequence[bytes]) -> SingleOperation:
    if name not in _OPERATIONS:
        raise FormatError(f"'{name}' is no operation; there are {', '.join(_OPERATIONS)}, transaction")
    return _OPERATIONS[name](words)


def _get(words: Sequence[bytes]) -> Get:
    return Get(*_exactly(words, "get KEY", 1))


def _put(words: Sequence[bytes]) -> Put:
    (key, value), options = _with_options(words, "put KEY VALUE", 2, "lease=", "previous")
    lease = _number(options["lease="], 1, U64_MAX) if "lease=" in options else None
    return Put(key, value, lease, previous="previous" in options)


def _delete(words: Sequence[bytes]) -> Delete:
    (key,), options = _with_options(words, "delete KEY", 1, "previous")
    return Delete(key, previous="previous" in options)


def _increment(words: Sequence[bytes]) -> Increment:
    if len(words) == 1:
        return Increment(words[0])
    key, delta = _exactly(words, "increment KEY [N]", 2)
    return Increment(key, _number(delta, -(1 << 63), (1 << 63) - 1))


def _range(words: Sequence[bytes]) -> Range:
    (low, high), options = _with_options(words, "range LOW HIGH", 2, "limit=", "keys-only")
    return Range(low, high, limit=_limit(options), keys_only="keys-only" in options)


def _prefix(words: Sequence[bytes]) -> Range:
    (prefix,), options = _with_options(words, "prefix PREFIX", 1, "limit=", "keys-only")
    return Range(prefix=prefix, limit=_limit(options), keys_only="keys-only" in options)


def _delete_range(words: Sequence[bytes]) -> DeleteRange:
    (low, high), options = _with_options(words, "delete-range LOW HIGH", 2, "limit=")
    return DeleteRange(low, high, limit=_limit(options))


def _delete_prefix(words: Sequence[bytes]) -> DeleteRange:
    (prefix,), options = _with_options(words, "delete-prefix PREFIX", 1, "limit=")
    return DeleteRange(prefix=prefix, limit=_limit(options))


_OPERATIONS: Final[dict[str, Callable[[Sequence[bytes]], SingleOperation]]] = {
    "get": _get,
    "put": _put,
    "delete": _delete,
    "increment": _increment,
    "range": _range,
    "prefix": _prefix,
    "delete-range": _delete_range,
    "delete-prefix": _delete_prefix,
}


def _shown(word: bytes) -> str:
    """A word in a message; whoever prints that makes control characters visible."""
    return word.decode(errors="surrogateescape")


def _exactly(words: Sequence[bytes], form: str, count: int) -> Sequence[bytes]:
    if len(words) != count:
        raise FormatError(f"it is {form}")
    return words


def _with_options(
    words: Sequence[bytes], form: str, count: int, *allowed: str
) -> tuple[Sequence[bytes], dict[str, bytes]]:
    """The first words, and the options behind them: by their names, which end with = where a value follows."""
    if len(words) < count:
        raise FormatError(f"it is {form}")
    options: dict[str, bytes] = {}
    for word in words[count:]:
        name, equals, value = word.partition(b"=")
        option = _shown(name + equals)
        if option not in allowed:
            raise FormatError(f"'{option}' cannot follow {form}; {' and '.join(allowed)} can")
        if option in options:
            raise FormatError(f"'{option}' is given twice")
        options[option] = value
    return words[:count], options


def _limit(options: dict[str, bytes]) -> int | None:
    return _number(options["limit="], 1, (1 << 32) - 1) if "limit=" in options else None


def _number(word: bytes, low: int, high: int) -> int:
    if re.fullmatch(rb"-?[0-9]{1,20}", word) and low <= int(word) <= high:
        return int(word)
    raise FormatError(f"'{_shown(word)}' is not a number from {low} to {high}")
