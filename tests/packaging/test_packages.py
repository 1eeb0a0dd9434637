"""The packages as files: complete, the same each time, and what the distributions' own tools ask for."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from raftd.version import checkout_commit
from raftd_build.source import read_source
from tests.packaging.conftest import ROOT, build, copy_tree

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg is not installed")


def run(*command: str | Path) -> str:
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def other_checkout(tree: Path) -> Path:
    """What somebody else has of this commit: other times, and nobody else's to read."""
    for path in copy_tree(tree).rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)
        os.utime(path)
    git = ROOT / ".git"
    if git.is_file():  # of one of several work trees
        git = ROOT / git.read_text().strip().removeprefix("gitdir: ")
    if git.is_dir():
        (tree / ".git").write_text(f"gitdir: {git.resolve()}\n")
    return tree


@pytest.mark.parametrize("kind", ["deb", "rpm"])
def test_two_builds_are_the_same_bytes(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Whoever builds it again, from a tree elsewhere, later, and with another environment, gets the same file."""
    tree = other_checkout(tmp_path / "a place with another name")
    (home := tmp_path / "home").mkdir()
    # Git asks the settings in HOME whether it may look into somebody else's directory: so it is told the date.
    date = str(read_source().epoch)
    environment = {"HOME": str(home), "TZ": "ELSE-13:45", "LC_ALL": "C", "SOURCE_DATE_EPOCH": date}
    old_umask = os.umask(0o077)
    try:
        again = build(kind, tmp_path / "elsewhere", tree, environment)
    finally:
        os.umask(old_umask)
    first: Path = request.getfixturevalue(kind)
    assert first.name == again.name
    assert first.read_bytes() == again.read_bytes()


def test_lintian_has_nothing_to_say(deb: Path) -> None:
    """Debian's own checker finds neither errors nor warnings."""
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not installed")
    assert run("lintian", "--allow-root", "--display-info", "--fail-on", "error,warning,info", deb) == ""


def test_it_depends_on_the_distribution_s_packages(deb: Path) -> None:
    """Each dependency of pyproject.toml is a Debian package, at the version that pyproject.toml has for its floor."""
    depends = run("dpkg-deb", "--field", deb, "Depends")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        name, floor = requirement.split(">=")
        debian = "python3-yaml" if name == "PyYAML" else f"python3-{name}"
        assert f"{debian} (>= {floor})" in depends
    assert len(depends.split(", ")) == len(project["dependencies"]) + 2


def test_all_files_are_root_s_and_nobody_else_may_write(deb: Path) -> None:
    """No file is owned or writable by anybody but root, and only programs can be executed."""
    for line in run("dpkg-deb", "--contents", deb).splitlines():
        mode, owner, *_, path = line.split()
        assert owner == "root/root"
        expected = "drwxr-xr-x" if path.endswith("/") else "-rwxr-xr-x" if "/bin/" in path else "-rw-r--r--"
        assert mode == expected, line


def test_the_whole_package_is_in_it(installed: Path) -> None:
    """Every module and data file of raftd, every unit and manual page is there, and no cache of anybody's."""
    library = installed / "usr/lib/python3/dist-packages"
    patterns = ("*.py", "*.css", "*.js")
    files = {path.relative_to(ROOT) for pattern in patterns for path in (ROOT / "raftd").rglob(pattern)}
    assert files == {path.relative_to(library) for pattern in patterns for path in library.rglob(pattern)}
    assert {path.name for path in files} >= {"page.css", "page.js"}
    units = {path.name for pattern in ("*.service", "*.timer", "*.target") for path in (ROOT / "systemd").glob(pattern)}
    assert units == {path.name for path in (installed / "lib/systemd/system").iterdir()}
    for page in ("man1/raftctl.1.gz", "man5/raftd.yaml.5.gz", "man8/raftd.8.gz"):
        assert (installed / "usr/share/man" / page).is_file()
    assert not list(installed.rglob("__pycache__"))


def test_the_version_names_the_commit(installed: Path) -> None:
    """`--version` of what is installed says version and commit, without git."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    commit = checkout_commit(ROOT)
    expected = f"{project['version']}+{commit[:12]}" if commit else project["version"]
    library = installed / "usr/lib/python3/dist-packages"
    script = f"import sys; sys.path.insert(0, {str(library)!r}); from raftd.version import version; print(version())"
    assert run(sys.executable, "-IB", "-c", script).strip() == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_are_shell_code(installed: Path, shell: str) -> None:
    """What completes commands is accepted by its shell, where that is installed."""
    files = [path for path in installed.rglob("*") if path.is_file() and "completions" in path.parent.name]
    (mine,) = [
        path for path in files if shell in str(path).replace("vendor-completions", "zsh") and "raftctl" in path.name
    ]
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    run(shell, "-n", mine)


def test_scripts_are_sound(deb: Path, tmp_path: Path) -> None:
    """The maintainer scripts are shell code, and neither start nor restart anything."""
    run("dpkg-deb", "--control", deb, tmp_path / "control")
    for name in ("postinst", "prerm", "postrm"):
        script = tmp_path / "control" / name
        run("sh", "-n", script)
        assert not re.search(r"\b(re)?start\b", re.sub("#.*", "", script.read_text()))


def test_the_rpm_holds_the_same(rpm: Path, installed: Path) -> None:
    """The RPM has the Debian package's files, but for those that have another place or are Debian's own."""
    if shutil.which("rpm") is None:
        pytest.skip("rpm is not installed")
    places = (
        ("/usr/lib/raftd/", "/usr/lib/python3/dist-packages/"),
        ("/usr/lib/systemd/system/", "/lib/systemd/system/"),
    )
    names = set(run("rpm", "--query", "--list", "--package", rpm).split())
    for there, here in places:
        names = {name.replace(there, here) for name in names}
    debian_only = {"/usr/share/doc/raftd/changelog.Debian.gz", "/usr/share/lintian/overrides/raftd"}
    assert names | debian_only == {f"/{path.relative_to(installed)}" for path in installed.rglob("*") if path.is_file()}


def test_the_rpm_s_program_finds_its_own_library(rpm: Path, tmp_path: Path) -> None:
    """The program imports raftd from the package's private directory, whatever else there is."""
    if shutil.which("rpm2cpio") is None or shutil.which("cpio") is None:
        pytest.skip("rpm2cpio or cpio is not installed")
    run("sh", "-c", f"cd {tmp_path} && rpm2cpio {rpm} | cpio --quiet -id")
    program = (tmp_path / "usr/bin/raftd").read_text()
    assert program.startswith("#!/usr/bin/python3 -I\n")
    moved = program.replace('"/usr/lib/raftd"', f'"{tmp_path}/usr/lib/raftd"').replace(
        "raftd()", "print(raftd.__module__)"
    )
    script = f"{moved}\nimport raftd\nprint(raftd.__file__)"
    assert run(sys.executable, "-I", "-c", script).split() == [
        "raftd.cli.entry",
        f"{tmp_path}/usr/lib/raftd/raftd/__init__.py",
    ]
