import shutil
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from raftd import pki
from raftd.errors import RaftdError, TlsError
from raftd.pki import files, rotation
from raftd.pki.certificates import load_certificate, load_certificates
from raftd.pki.issue import create_next_authority
from raftd.pki.rotation import Phase, reissue, trust_both, trust_new
from raftd.wire.identity import node_identity, user_identity


@pytest.fixture
def own(directory: Path, tmp_path: Path) -> Path:
    """A copy of the directory that a test may change."""
    return Path(shutil.copytree(directory, tmp_path / "own"))


def problems(anchors: Path, directory: Path, stem: str) -> list[str]:
    """What somebody who trusts `anchors` has against a certificate in `directory`."""
    is_user = stem.startswith("user")
    return pki.check_files(
        authority=anchors,
        certificate=directory / f"{stem}.crt",
        key=directory / f"{stem}.key",
        identity=user_identity("demo", "admin") if is_user else node_identity("demo", 1),
        purpose=pki.Purpose.USER if is_user else pki.Purpose(stem.rpartition(".")[2].replace("client", "server")),
    )


@pytest.mark.parametrize(("name", "stems"), [("peer", ["node-1.peer"]), ("client", ["node-1.client", "user-admin"])])
def test_neighbouring_steps_accept_each_other(
    own: Path, tmp_path: Path, name: files.AuthorityName, stems: list[str]
) -> None:
    """Whoever is one step ahead or behind is still understood, in both directions; two steps apart, not."""
    steps: list[Callable[[], object]] = [
        lambda: trust_both(own, name),
        lambda: reissue(own, name),
        lambda: trust_new(own, name),
    ]
    stages = [Path(shutil.copytree(own, tmp_path / "stage-0"))]
    for number, step in enumerate(steps, 1):
        step()
        stages.append(Path(shutil.copytree(own, tmp_path / f"stage-{number}")))
    for one, (first, second) in enumerate(pairwise(stages)):
        for stem in stems:
            assert problems(first / f"{name}-ca.crt", second, stem) == [], (one, stem)
            assert problems(second / f"{name}-ca.crt", first, stem) == [], (one, stem)
    for stem in stems:
        assert problems(stages[0] / f"{name}-ca.crt", stages[3], stem)
        assert problems(stages[3] / f"{name}-ca.crt", stages[0], stem)


def test_the_other_authority_is_left_alone(own: Path) -> None:
    """Each has its own rotation."""
    before = {path.name: path.read_bytes() for path in own.iterdir() if "client" in path.name or "user" in path.name}
    for step in (trust_both, reissue, trust_new):
        step(own, "peer")
    assert {name: (own / name).read_bytes() for name in before} == before


def test_each_step_taken_twice_changes_nothing_more(own: Path) -> None:
    """So it can be taken again after an interruption, by whoever does not know how far it came."""
    for step, phase in ((trust_both, Phase.TRUST_BOTH), (reissue, Phase.REISSUE), (trust_new, Phase.NONE)):
        step(own, "client")
        before = {path.name: path.read_bytes() for path in own.iterdir()}
        step(own, "client")
        assert {path.name: path.read_bytes() for path in own.iterdir()} == before
        found = rotation.rotation(own, "client")
        assert (found.phase, found.stale) == (phase, ())
        assert found.issuing in found.trusted
    assert not [path.name for path in own.iterdir() if "next" in path.name or "old" in path.name]


def test_no_step_is_left_out(own: Path) -> None:
    """Who would be locked out by it is told what comes first."""
    with pytest.raises(TlsError, match="trust-both"):
        reissue(own, "client")
    assert not trust_new(own, "client")
    trust_both(own, "client")
    with pytest.raises(TlsError, match="reissue"):
        trust_new(own, "client")
    reissue(own, "client")
    with pytest.raises(TlsError, match="trust-new"):
        trust_both(own, "client")
    shutil.copy(own / "user-admin.crt", own / "user-late.crt")
    old = pki.issue_user(own, "eve")
    assert load_certificate(old.certificate).issuer == load_certificate(own / "client-ca.crt").issuer
    assert rotation.rotation(own, "client").stale == ()


def test_a_newcomer_that_nobody_trusts_yet_issues_nothing(own: Path) -> None:
    """It was made and the bundle not yet written: the first step goes on with this one, and none goes past it."""
    newcomer = load_certificate(create_next_authority(own, "client").certificate)
    assert rotation.rotation(own, "client").phase is Phase.NONE
    with pytest.raises(TlsError, match="trust-both"):
        reissue(own, "client")
    trust_both(own, "client")
    assert load_certificates(own / "client-ca.crt")[1:] == [newcomer]
    assert rotation.rotation(own, "client").phase is Phase.TRUST_BOTH


def test_the_old_key_is_kept_until_nobody_trusts_it(own: Path) -> None:
    """Should the new authority have to be given up, the old one is still there; then it is destroyed."""
    before = (own / "client-ca.key").read_bytes()
    trust_both(own, "client")
    reissue(own, "client")
    assert (own / "client-ca.old.key").read_bytes() == before
    trust_new(own, "client")
    assert not (own / "client-ca.old.key").exists()


def test_each_step_is_told_when_it_is_and_for_how_long(own: Path) -> None:
    """The new authority and what is issued anew hold from then on."""
    now = datetime(2030, 1, 1, 12, tzinfo=UTC)
    trust_both(own, "client", days=30, now=now)
    assert pki.describe(own / "client-ca.next.crt").not_after == now + timedelta(days=30)
    reissue(own, "client", days=10, now=now)
    for stem in ("node-1.client", "user-admin"):
        assert pki.describe(own / f"{stem}.crt").not_after == now + timedelta(days=10)


def test_what_would_be_locked_out_is_named(own: Path, directory: Path) -> None:
    """A certificate of the old authority that came back, from a backup for example."""
    trust_both(own, "client")
    reissue(own, "client")
    for suffix in ("crt", "key"):
        shutil.copy(directory / f"user-admin.{suffix}", own / f"user-admin.{suffix}")
    with pytest.raises(TlsError, match=r"user-admin\.crt"):
        trust_new(own, "client")
    assert [path.name for path in reissue(own, "client")] == ["user-admin.crt"]
    assert trust_new(own, "client")


def test_hosts_identity_and_uses_stay(own: Path) -> None:
    """A certificate that is issued anew is for the same, with another key, readable by its owner only."""
    before, key = pki.describe(own / "node-1.client.crt"), (own / "node-1.client.key").read_bytes()
    trust_both(own, "client")
    reissue(own, "client", days=10)
    after = pki.describe(own / "node-1.client.crt")
    assert (after.identity, after.alternative_names) == (before.identity, before.alternative_names)
    assert after.serial != before.serial
    assert (own / "node-1.client.key").read_bytes() != key
    for path in own.glob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_an_expired_authority_can_be_taken_over_from(tmp_path: Path) -> None:
    """That is when it is needed most; what it has issued is lost by then anyway."""
    long_ago = datetime.now(UTC) - timedelta(days=30)
    pki.create_authorities(tmp_path, "demo", days=10, now=long_ago)
    pki.issue_user(tmp_path, "admin", days=5, now=long_ago)
    for step in (trust_both, reissue, trust_new):
        step(tmp_path, "client")
    assert problems(tmp_path / "client-ca.crt", tmp_path, "user-admin") == []


@pytest.mark.parametrize("broken_write", range(1, 12))
def test_a_crash_anywhere_is_recovered_by_the_same_step(
    own: Path, broken_write: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever write of the three steps was the last, taking that step again leads to the end."""
    count = 0
    real_sync = files._sync_directory

    def crash(directory: Path) -> None:
        nonlocal count
        count += 1
        if count == broken_write:
            raise OSError(5, "crash")
        real_sync(directory)

    monkeypatch.setattr(files, "_sync_directory", crash)
    for step in (trust_both, reissue, trust_new):
        try:
            step(own, "client")
        except RaftdError:
            step(own, "client")
    assert count > broken_write
    assert rotation.rotation(own, "client").phase is Phase.NONE
    assert len(rotation.rotation(own, "client").trusted) == 1
    for stem in ("node-1.client", "user-admin"):
        assert problems(own / "client-ca.crt", own, stem) == []
    assert not [path.name for path in own.iterdir() if "next" in path.name or "old" in path.name]
