from pathlib import Path

import pytest

from tests.hosts import requirements


def test_what_is_missing_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without the programs is told which packages have them."""
    monkeypatch.setenv("PATH", str(tmp_path))
    (reason,) = (reason for reason in requirements.lacking() if reason.startswith("missing"))
    assert reason == (
        "missing: apt-get install iproute2 mmdebstrap nftables openssh-client systemd-container util-linux"
    )


def test_who_is_not_root_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without root nothing is tried, and the reason is told."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "namespaces and mounts need root" in requirements.lacking()


@pytest.mark.parametrize(
    ("environment", "required"),
    [({}, False), ({"CI": "true"}, True), ({"RAFTD_HOSTS": "required"}, True), ({"CI": "false"}, False)],
)
def test_when_hosts_are_required(environment: dict[str, str], required: bool) -> None:
    """A build that has to vouch for the hosts fails where others skip."""
    assert requirements.are_required(environment) is required
