from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from raftd import pki
from raftd.pki import Purpose
from raftd.pki.rehearsal import rehearse

LAST_YEAR = datetime.now(UTC) - timedelta(days=400)


@pytest.mark.parametrize(
    ("authority", "file", "purpose", "refusal"),
    [
        ("peer-ca", "node-1.peer", Purpose.PEER, None),
        ("client-ca", "node-1.client", Purpose.SERVER, None),
        ("client-ca", "user-admin", Purpose.USER, None),
        ("client-ca", "node-1.peer", Purpose.PEER, "as a server: unable to get local issuer certificate"),
        ("peer-ca", "user-admin", Purpose.USER, "as a client: unable to get local issuer certificate"),
        ("client-ca", "node-1.client", Purpose.PEER, "as a client: unsuitable certificate purpose"),
        ("client-ca", "user-admin", Purpose.SERVER, "as a server: unsuitable certificate purpose"),
    ],
)
def test_a_handshake_is_the_judge(
    directory: Path, authority: str, file: str, purpose: Purpose, refusal: str | None
) -> None:
    """The right authority and purpose are accepted; a user's certificate opens no peer port, nor the other way."""
    result = rehearse(
        authority=directory / f"{authority}.crt",
        certificate=directory / f"{file}.crt",
        key=directory / f"{file}.key",
        purpose=purpose,
    )
    assert result == refusal


@pytest.mark.parametrize(
    ("now", "refusal"),
    [(LAST_YEAR, "certificate has expired"), (datetime.now(UTC) + timedelta(days=2), "certificate is not yet valid")],
)
def test_time_is_judged(directory: Path, now: datetime, refusal: str) -> None:
    """By the same library, at both ends."""
    files = pki.issue_node(directory, 2, ["n2"], days=30, now=now).peer
    result = rehearse(
        authority=directory / "peer-ca.crt", certificate=files.certificate, key=files.key, purpose=Purpose.PEER
    )
    assert result == f"as a server: {refusal}"


def test_an_authority_of_the_same_name_is_another(directory: Path, tmp_path: Path) -> None:
    """The name of a cluster is no secret; its key is."""
    pki.create_authorities(tmp_path / "evil", "demo")
    files = pki.issue_user(tmp_path / "evil", "admin")
    result = rehearse(
        authority=directory / "client-ca.crt", certificate=files.certificate, key=files.key, purpose=Purpose.USER
    )
    assert result is not None


def test_files_that_cannot_be_loaded_are_a_refusal(directory: Path) -> None:
    """Not an exception."""
    assert rehearse(
        authority=directory / "peer-ca.key",
        certificate=directory / "node-1.peer.crt",
        key=directory / "peer-ca.key",
        purpose=Purpose.PEER,
    )
