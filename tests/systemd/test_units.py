"""The units are judged by systemd's own tools, which need no running systemd."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = "raftd@.service"
SERVICES = sorted(path.name for path in SYSTEMD.glob("*.service"))
TIMERS = sorted(path.name for path in SYSTEMD.glob("*.timer"))
DROP_INS = sorted((SYSTEMD / "examples").rglob("*.conf"))
EXPOSURE_MAX = 1.1
"""The most that systemd may find to reproach, of 10. A change that needs more has to say why, here."""

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def run(*command: str, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=directory, check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, starting a program that exists here: verify asks for it outside of ExecSearchPath too."""
    for path in (each for pattern in ("*.service", "*.target", "*.timer") for each in SYSTEMD.glob(pattern)):
        text = re.sub(r"^ExecStart=(raftd|raftctl) ", "ExecStart=/bin/true ", path.read_text(), flags=re.MULTILINE)
        (tmp_path / path.name).write_text(text)
    return tmp_path


def verify(units: Path) -> str:
    """What systemd complains about; its exit code is 0 for unknown directives, so the text decides."""
    instances = [f"./{name.replace('@.', '@1.')}" for name in (*SERVICES, *TIMERS)]
    ended = run("systemd-analyze", "verify", "--man=no", *instances, "./raftd.target", directory=units)
    return ended.stdout + ended.stderr


def directives(unit: str = UNIT) -> list[tuple[str, str]]:
    return [(name, value) for name, value in re.findall(r"^(\w+)=(.*)$", (SYSTEMD / unit).read_text(), re.MULTILINE)]


def hardening(unit: str) -> list[str]:
    """The directives that take something away from a service."""
    lines = (SYSTEMD / unit).read_text().splitlines()
    return [line for line in lines[lines.index("CapabilityBoundingSet=") :] if re.match(r"(?!WantedBy)\w+=", line)]


def test_systemd_has_nothing_to_complain_about(units: Path) -> None:
    """`systemd-analyze verify` prints nothing about any unit."""
    assert verify(units) == ""


@pytest.mark.parametrize(
    ("unit", "name"),
    sorted({(unit, name) for unit in (*SERVICES, *TIMERS) for name, _ in directives(unit)}),
)
def test_each_directive_is_known(units: Path, unit: str, name: str) -> None:
    """A typo in any directive's name would be noticed: systemd itself only ignores it."""
    path = units / unit
    path.write_text(re.sub(rf"^{name}=", f"{name}x=", path.read_text(), count=1, flags=re.MULTILINE))
    assert f"Unknown key '{name}x'" in verify(units)


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.name)
def test_the_examples_are_understood(units: Path, drop_in: Path) -> None:
    """Each drop-in that is given for an example fits its unit."""
    place = units / drop_in.parent.name
    place.mkdir()
    shutil.copy(drop_in, place)
    assert verify(units) == ""
    (place / drop_in.name).write_text(re.sub(r"^(\w+)=", r"\1x=", drop_in.read_text(), flags=re.MULTILINE))
    assert "Unknown key" in verify(units)


@pytest.mark.parametrize("service", SERVICES)
def test_the_sandbox_holds(units: Path, service: str) -> None:
    """By systemd's own offline judgement, no service is exposed by more than EXPOSURE_MAX."""
    ended = run("systemd-analyze", "security", "--offline=true", f"./{service}", directory=units)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", ended.stdout)
    assert found is not None, ended.stdout + ended.stderr
    assert float(found[1]) <= EXPOSURE_MAX, ended.stdout


def test_all_services_are_as_hardened_as_a_node() -> None:
    """What a node may not do, none of its helpers may do."""
    assert {service: hardening(service) for service in SERVICES} == dict.fromkeys(SERVICES, hardening(UNIT))


def test_proc_stays_visible() -> None:
    """ProcSubset=pid would hide what libraries look at, such as /proc/stat and /proc/meminfo."""
    assert "ProcSubset" not in dict(directives())


@pytest.mark.parametrize(
    ("unit", "name", "value"),
    [
        (UNIT, "Type", "notify"),
        (UNIT, "ExecStart", "raftd run --config /etc/raftd/raftd.yaml --node %i"),
        (UNIT, "KillMode", "mixed"),
        (UNIT, "Restart", "on-failure"),
        (UNIT, "RestartPreventExitStatus", "78 9 10"),
        (UNIT, "StateDirectory", "raftd/%i"),
        (UNIT, "StateDirectoryMode", "0700"),
        (UNIT, "PartOf", "raftd.target"),
        (UNIT, "WantedBy", "multi-user.target"),
        (UNIT, "TimeoutStartSec", "infinity"),
        (UNIT, "TimeoutStopSec", "30"),
        (
            "raftd-backup@.service",
            "ExecStart",
            "raftctl snapshot save --node %i --directory /var/lib/raftd/backup/%i --keep 14",
        ),
        ("raftd-backup@.service", "StateDirectory", "raftd/backup/%i"),
        ("raftd-backup@.service", "StateDirectoryMode", "0700"),
        ("raftd-certs@.service", "ExecStart", "raftctl cert check --node %i"),
        ("raftd-backup@.timer", "FixedRandomDelay", "yes"),
        ("raftd-certs@.timer", "FixedRandomDelay", "yes"),
    ],
)
def test_what_other_parts_rely_on(unit: str, name: str, value: str) -> None:
    """Exit codes, directories and signals are agreed with the daemon and the documentation."""
    assert dict(directives(unit))[name] == value


def test_the_user_exists_before_the_files(tmp_path: Path) -> None:
    """The sysusers and tmpfiles are accepted by their own tools, and speak of the same user."""
    if shutil.which("systemd-sysusers") is None:
        pytest.skip("systemd-sysusers is not installed")
    (tmp_path / "etc").mkdir()
    ended = run("systemd-sysusers", "--dry-run", f"--root={tmp_path}", str(SYSTEMD / "raftd.sysusers"))
    assert ended.returncode == 0, ended.stderr
    assert "Creating user 'raftd'" in ended.stderr
    assert re.findall(r"^d (\S+) (\S+) (\S+) (\S+)", (SYSTEMD / "raftd.tmpfiles").read_text(), re.MULTILINE) == [
        ("/etc/raftd", "0750", "root", "raftd"),
        ("/var/lib/raftd", "0755", "root", "root"),
    ]
