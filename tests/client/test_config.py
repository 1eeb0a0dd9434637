import os
from dataclasses import replace
from pathlib import Path

import pytest

from raftd.client import ClientConfig, ConfigurationError
from raftd.client.config import DEFAULT_TIMEOUT_SECONDS, PartialConfig, parse_endpoint, parse_endpoints

GOOD = "endpoints: [n1:7400, '[::1]:7401', n3]\ncacert: ca.crt\ncert: /etc/x.crt\nkey: sub/x.key\n"


def load(tmp_path: Path, text: str) -> ClientConfig:
    path = tmp_path / "raftctl.yaml"
    path.write_text(text)
    return ClientConfig.load(path)


def test_what_is_in_the_file(tmp_path: Path) -> None:
    """Endpoints get the default port, relative paths are the file's neighbours, the timeout has a default."""
    config = load(tmp_path, GOOD)
    assert config.endpoints == ("n1:7400", "[::1]:7401", "n3:7400")
    assert (config.tls.cacert, config.tls.cert, config.tls.key) == (
        tmp_path / "ca.crt",
        Path("/etc/x.crt"),
        tmp_path / "sub/x.key",
    )
    assert config.timeout == 5.0
    assert load(tmp_path, GOOD + "timeout: 3s\n").timeout == 3.0
    assert load(tmp_path, GOOD + "timeout: 250ms\n").timeout == 0.25
    assert config.namespace == ""
    assert load(tmp_path, GOOD + "namespace: app/\n").namespace == "app/"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a mapping"),
        ("- a", "expected a mapping"),
        ("endpoints: [", "expected"),
        ("a: \x00", "not allowed"),
        (GOOD + "colour: red", "unknown key 'colour'"),
        (GOOD + "key: other", "line 5: 'key' is given twice"),
        (GOOD.replace("cacert: ca.crt\n", ""), "cacert is missing"),
        (GOOD.replace("cert: /etc/x.crt", "cert: 5"), "cert must be the path"),
        (GOOD.replace("ca.crt", "''"), "cacert must be the path"),
        (GOOD.replace("[n1:7400, '[::1]:7401', n3]", "n1:7400"), "endpoints must be a list"),
        (GOOD.replace("[n1:7400, '[::1]:7401', n3]", "[]"), "endpoints must be a list"),
        (GOOD.replace("[n1:7400, '[::1]:7401', n3]", "[1]"), "endpoints must be a list"),
        (GOOD.replace("n3", "1"), "endpoints must be a list"),
        (GOOD.replace("n3", "n1"), "same node twice"),
        (GOOD.replace("n3", "n3:0"), "port"),
        (GOOD.replace("n3", "'::1'"), "brackets"),
        (GOOD + "namespace: [a]", "namespace must be text"),
        (GOOD + 'namespace: "\\ud800"', r"namespace '\\ud800' is no text"),
        (GOOD.replace("ca.crt", '"a\\0b"'), r"cacert 'a\\x00b' is not the path of a file"),
        (GOOD.replace("ca.crt", '"~a\\ud800b/c"'), r"cacert '~a\\ud800b/c' is not the path of a file"),
        (GOOD.replace("/etc/x.crt", '"a\\ud800b"'), r"cert 'a\\ud800b' is not the path of a file"),
        (GOOD + "timeout: " + "1" * 5000, "line 5: this value cannot be read"),
        (GOOD + "timeout: 2026-02-31", "line 5: this value cannot be read"),
        (GOOD + "timeout: !!bool maybe", "line 5: this value cannot be read"),
        (GOOD + "timeout: !!timestamp soon", "line 5: this value cannot be read"),
        (GOOD + "timeout: !!set 5", "expected a mapping node"),
        (GOOD + "timeout: 0s", "timeout must be more than 0"),
        (GOOD + "timeout: -1s", "is not a duration"),
        (GOOD + "timeout: 5", "no unit; write it with one, such as 5s"),
        (GOOD + "timeout: 1:30", "timeout has no unit"),
        (GOOD + "timeout: .nan", "timeout has no unit"),
        (GOOD + "timeout: yes", "timeout must be a duration"),
        (GOOD + "timeout:", "timeout must be a duration"),
        (GOOD + "timeout: soon", "is not a duration"),
        (GOOD.replace("cert: /etc/x.crt\nkey: sub/x.key\n", ""), "cert and key are missing"),
        (GOOD.replace("ca.crt", "~nobody-of-this-name/ca.crt"), "whose home directory"),
        ("[" * 20000, "nests too deeply"),
        ("#" * (65 << 10), "is over 64 KiB"),
        (GOOD + "? [a, b]\n: c", "hashable|unknown key"),
    ],
)
def test_what_is_wrong_with_the_file(tmp_path: Path, text: str, message: str) -> None:
    """Each mistake is one line with the file's path, and says what is wrong."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/raftctl.yaml: ")
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    """A file that is not there, or is no file, is one line too."""
    with pytest.raises(ConfigurationError, match="No such file"):
        ClientConfig.load(tmp_path / "none.yaml")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        ClientConfig.load(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ConfigurationError, match="fifo: not a regular file"):
        ClientConfig.load(tmp_path / "fifo")


def test_not_utf8(tmp_path: Path) -> None:
    """Bytes that are no text are refused, not guessed at."""
    path = tmp_path / "raftctl.yaml"
    path.write_bytes(b"endpoints: [\xff\xfe]")
    with pytest.raises(ConfigurationError):
        ClientConfig.load(path)


def test_python_objects_are_not_made(tmp_path: Path) -> None:
    """A tag that would run code is refused."""
    with pytest.raises(ConfigurationError):
        load(tmp_path, GOOD + "timeout: !!python/object/apply:os.getpid []")


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [("n1", "n1:7400"), ("n1:1", "n1:1"), ("10.0.0.1:65535", "10.0.0.1:65535"), ("[::1]", "[::1]:7400")],
)
def test_endpoints(endpoint: str, expected: str) -> None:
    """An endpoint without a port means 7400."""
    assert str(parse_endpoint(endpoint)) == expected


@pytest.mark.parametrize("endpoint", ["", ":7400", "a b:1", "n1:", "n1:99999", "n1:x", "::1", "[::1", "n1:7400:1"])
def test_no_endpoints(endpoint: str) -> None:
    """What is not host:port is refused, and quoted."""
    with pytest.raises(ConfigurationError, match="endpoint "):
        parse_endpoint(endpoint)


def test_a_file_may_leave_out_what_another_source_says(tmp_path: Path) -> None:
    """A file for everybody and a personal certificate come together, and the source in front counts."""
    path = tmp_path / "raftctl.yaml"
    path.write_text("endpoints: [n1]\ncacert: ca.crt\ntimeout: 2s\n")
    shared = PartialConfig.load(path)
    assert shared.missing == ("cert", "key")
    personal = PartialConfig(cert=Path("me.crt"), key=Path("me.key"), timeout=0.5)
    config = personal.over(shared).complete()
    assert config.endpoints == ("n1:7400",)
    assert (config.tls.cacert, config.tls.cert, config.tls.key) == (tmp_path / "ca.crt", Path("me.crt"), Path("me.key"))
    assert config.timeout == 0.5
    assert shared.over(personal).timeout == 2.0
    path.write_text("cacert: ca.crt\n")
    assert PartialConfig.load(path).missing == ("endpoints", "cert", "key")


def test_completing_names_what_is_missing() -> None:
    """Nothing is guessed but the timeout."""
    with pytest.raises(ConfigurationError, match="not known: endpoints, cacert, cert, key"):
        PartialConfig().complete()
    path = Path("x")
    whole = PartialConfig(("n1:7400",), path, path, path)
    for name in ("endpoints", "cacert", "cert", "key"):
        with pytest.raises(ConfigurationError, match=f"not known: {name}$"):
            replace(whole, **{name: None}).complete()
    assert whole.complete().timeout == DEFAULT_TIMEOUT_SECONDS


def test_a_list_of_endpoints_names_one() -> None:
    """Also where it comes from elsewhere than a file."""
    with pytest.raises(ConfigurationError, match="names no node"):
        parse_endpoints([])


def test_the_longest_file(tmp_path: Path) -> None:
    """64 KiB are not too many."""
    assert load(tmp_path, GOOD.ljust(64 << 10, "#")).namespace == ""


def test_a_file_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be named by a tilde, as a path in it may."""
    monkeypatch.setenv("HOME", str(tmp_path))
    load(tmp_path, GOOD.replace("ca.crt", "~/ca.crt"))
    assert ClientConfig.load("~/raftctl.yaml").tls.cacert == tmp_path / "ca.crt"
