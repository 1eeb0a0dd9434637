from pathlib import Path

import click
import pytest

from raftd.cli import target as target_module
from raftd.cli.raftctl import group
from raftd.cli.target import Target, target_of
from raftd.client import ConfigurationError
from raftd.client.config import PartialConfig

FULL = "endpoints: [file:7400]\ncacert: ca.crt\ncert: me.crt\nkey: me.key\ntimeout: 2s\n"


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A personal place and one for everybody, both empty."""
    found = (tmp_path / "personal.yaml", tmp_path / "everybody.yaml")
    monkeypatch.setattr(target_module, "CONFIG_PLACES", found)
    return found


def test_what_is_given_counts_more_than_the_file(places: tuple[Path, Path], tmp_path: Path) -> None:
    """Value by value; what neither says has its default."""
    places[0].write_text(FULL.replace("timeout: 2s\n", ""))
    config = Target(None, PartialConfig(endpoints=("flag:7400",), cert=Path("flag.crt"))).resolve()
    assert config.endpoints == ("flag:7400",)
    assert (config.tls.cacert, config.tls.cert, config.tls.key) == (
        tmp_path / "ca.crt",
        Path("flag.crt"),
        tmp_path / "me.key",
    )
    assert config.timeout == 5.0


def test_the_personal_file_comes_first(places: tuple[Path, Path]) -> None:
    """Then the one for everybody; a file that is named counts alone."""
    places[1].write_text(FULL.replace("file", "everybody"))
    assert Target(None, PartialConfig()).resolve().endpoints == ("everybody:7400",)
    places[0].write_text(FULL.replace("file", "personal"))
    assert Target(None, PartialConfig()).resolve().endpoints == ("personal:7400",)
    assert Target(places[1], PartialConfig()).resolve().endpoints == ("everybody:7400",)


def test_a_file_for_everybody_and_personal_certificates(places: tuple[Path, Path]) -> None:
    """A file may leave out who one is; a flag says it, and what is missing still is named."""
    places[1].write_text("endpoints: [n1]\ncacert: ca.crt\n")
    with pytest.raises(click.UsageError, match=r"everybody.yaml leaves something out; give --cert, --key too"):
        Target(None, PartialConfig()).resolve()
    assert Target(None, PartialConfig(cert=Path("c"), key=Path("k"))).resolve().tls.key == Path("k")


@pytest.mark.usefixtures("places")
def test_without_anything_it_says_what_to_give() -> None:
    """All that is missing, and the places where a file could be."""
    with pytest.raises(click.UsageError, match=r"--config, or --endpoints, --key, or write .*personal.yaml"):
        Target(None, PartialConfig(cacert=Path("a"), cert=Path("c"))).resolve()


def test_a_broken_file_is_no_missing_file(places: tuple[Path, Path]) -> None:
    """It is not passed over for the next place."""
    places[0].write_text("endpoints: 5\n")
    places[1].write_text(FULL)
    with pytest.raises(ConfigurationError, match=r"personal\.yaml: endpoints must be a list"):
        Target(None, PartialConfig()).resolve()


def test_a_place_that_cannot_be_looked_into_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with the home directory of somebody else, or none at all."""
    (tmp_path / "f.yaml").write_text(FULL)
    unusable = (Path("~nobody-of-this-name/raftctl.yaml"), tmp_path / ("x" * 300))
    monkeypatch.setattr(target_module, "CONFIG_PLACES", (*unusable, tmp_path / "f.yaml"))
    assert Target(None, PartialConfig()).resolve().endpoints == ("file:7400",)


def test_the_options_of_the_group() -> None:
    """Each is taken by its name, the namespace too, which counts more than the file's."""
    said = {"config": Path("f"), "endpoints": ("n1:7400",), "cacert": None, "cert": None, "key": None, "timeout": 1.5}
    target = target_of({**said, "namespace": "a/", "other": "ignored"})
    assert target == Target(Path("f"), PartialConfig(("n1:7400",), timeout=1.5, namespace="a/"))


def test_a_namespace_in_the_file(places: tuple[Path, Path]) -> None:
    """It counts where nothing else is said; an empty one is none."""
    places[0].write_text(FULL + "namespace: file/\n")
    assert Target(None, PartialConfig()).resolve().namespace == "file/"
    assert Target(None, PartialConfig(namespace="flag/")).resolve().namespace == "flag/"
    assert Target(None, PartialConfig(namespace="")).resolve().namespace == ""


@pytest.mark.parametrize(
    ("variable", "arguments", "namespace"),
    [
        (None, [], "file/"),
        ("", [], ""),
        ("variable/", [], "variable/"),
        ("variable/", ["--namespace", ""], ""),
        ("", ["--namespace", "flag/"], "flag/"),
    ],
)
def test_an_empty_namespace_is_said(
    places: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    variable: str | None,
    arguments: list[str],
    namespace: str,
) -> None:
    """By a flag or a variable: it counts more than the file's, and a command that is run is told so."""
    places[0].write_text(FULL + "namespace: file/\n")
    if variable is not None:
        monkeypatch.setenv("RAFTCTL_NAMESPACE", variable)
    context = group.make_context("raftctl", [*arguments, "status"])
    target = target_of(context.params)
    assert target.resolve().namespace == namespace
    told = target.variables.get("RAFTCTL_NAMESPACE")
    assert told == (None if namespace == "file/" else namespace.encode())


@pytest.mark.parametrize("namespace", ["\ud800", "a\udcff", "x" * 4096])
def test_what_can_be_no_namespace(namespace: str) -> None:
    """A usage error."""
    with pytest.raises(click.BadParameter, match="a namespace"):
        group.make_context("raftctl", ["--namespace", namespace, "status"])
