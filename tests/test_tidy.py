"""Rules of the tree that no linter knows. Each failure lists every place at once."""

import ast
import gc
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = ROOT / "raftd"
TESTS = ROOT / "tests"
SOURCES = sorted(path for place in (CODE, TESTS, ROOT / "packaging") for path in place.rglob("*.py"))
DIRECTORIES = ("raftd", "tests", "docs", "deploy", "systemd", "packaging")
TEXTS = sorted(
    path
    for pattern in ("*.md", "*.toml", "Makefile", *(f"{name}/**/*" for name in DIRECTORIES))
    for path in ROOT.glob(pattern)
    if path.is_file() and "__pycache__" not in path.parts
)

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tell(problems: list[str], rule: str) -> None:
    assert not problems, f"{rule}:\n" + "\n".join(f"  {problem}" for problem in problems)


def parsed(path: Path) -> ast.Module:
    """A file's syntax tree.

    Not with the garbage collector on: whoever measures that (Hypothesis does) calls back into Python while the tree is
    built, and Python 3.11.7 takes that for a mistake of its own (CPython's issue 106905).
    """
    gc.disable()
    try:
        return ast.parse(path.read_text())
    finally:
        gc.enable()


def comments(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def test_files_are_short() -> None:
    """A file that does not fit into a head does not fit into a review."""
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCES}
    tell(
        [f"{name(path)}: {length} lines" for path, length in lengths.items() if length > FILE_LINES_MAX],
        f"no file has more than {FILE_LINES_MAX} lines",
    )


def test_functions_are_short() -> None:
    """A function fits on a screen."""
    tell(
        [
            f"{name(path)}:{node.lineno}: {node.name} has {length} lines"
            for path in SOURCES
            for node in ast.walk(parsed(path))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
        ],
        f"no function has more than {FUNCTION_LINES_MAX} lines",
    )


def test_each_module_has_its_tests() -> None:
    """raftd/x/y.py is tested by tests/x/test_y.py, so that everyone knows where to look."""
    modules = [path.relative_to(CODE) for path in CODE.rglob("*.py") if not path.name.startswith("__")]
    expected = {module: TESTS / module.parent / f"test_{module.name}" for module in modules}
    tell(
        [f"raftd/{module} has no {name(test)}" for module, test in sorted(expected.items()) if not test.is_file()],
        "each module has a test module of its own",
    )


def test_exceptions_to_the_rules_have_reasons() -> None:
    """A suppressed warning says which one, and why."""
    reasoned = re.compile(r"#\s*(noqa: [A-Z]+\d+(, ?[A-Z]+\d+)*|type: ignore\[[a-z-]+(, ?[a-z-]+)*\])\s+(#|-) ?\S+")
    tell(
        [
            f"{name(path)}:{line}: {comment}"
            for path in SOURCES
            for line, comment in comments(path)
            if re.match(r"#\s*(noqa|type:\s*ignore)", comment) and not reasoned.match(comment)
        ],
        "`noqa: CODE - reason`, `type: ignore[code]  # reason`",
    )


def test_tests_do_not_sleep() -> None:
    """A test that sleeps is slow on a fast machine and wrong on a slow one: wait for the event instead."""
    tell(
        [
            f"{name(path)}:{node.lineno}"
            for path in sorted(TESTS.rglob("*.py"))
            for node in ast.walk(parsed(path))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep"
        ],
        "no test calls time.sleep",
    )


def test_no_developer_s_machine_is_named() -> None:
    """Paths of the machine on which something was written are of no use on another."""
    homes = re.compile(r"(?<![\w.])/(?:home|root|work|Users)/[\w.-]+")
    tell(
        [
            f"{name(path)}:{number}: {line.strip()}"
            for path in TEXTS
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
            if homes.search(line)
        ],
        "no file holds an absolute path of somebody's machine",
    )


def test_playbooks_take_no_name_that_others_could_take() -> None:
    """Everybody may write in these directories: who makes a file there first can read what is then written into it."""
    fixed = re.compile(r"/(?:tmp|dev/shm)/[\w{]")
    tell(
        [
            f"{name(path)}:{number}: {line.strip()}"
            for path in TEXTS
            if path.suffix in {".yml", ".j2"} and path.is_relative_to(ROOT / "deploy")
            for number, line in enumerate(path.read_text().splitlines(), 1)
            if fixed.search(line)
        ],
        "no file of deploy/ has a fixed name in /tmp, /var/tmp or /dev/shm: ansible.builtin.tempfile makes one",
    )


def test_slow_tests_are_where_they_are_looked_for() -> None:
    """`make test` names these directories, and collects nothing else in the stages that run them."""
    places = {"e2e": TESTS / "e2e", "hosts": TESTS / "hosts", "seeds": TESTS / "sim"}
    tell(
        [
            f"{name(path)}: marks tests as {marker}"
            for path in TESTS.rglob("test_*.py")
            for marker in re.findall(r"pytest\.mark\.(e2e|hosts|seeds)\b", path.read_text())
            if not path.is_relative_to(places[marker])
        ],
        "a test that takes long is in the directory that its marker stands for",
    )


def test_the_readme_names_the_two_commands() -> None:
    """Whoever has just cloned this finds out how to try it and how to test it."""
    readme = (ROOT / "README.md").read_text()
    assert all(re.search(rf"^    {command}\b", readme, re.MULTILINE) for command in ("make demo", "make test"))
