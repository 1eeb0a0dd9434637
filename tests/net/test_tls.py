import os
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from raftd.errors import TlsError
from raftd.net.tls import TlsFiles, client_context, explain, remote_expiry, remote_identity, server_context
from raftd.wire.identity import IdentityError
from tests.net.loopback import Certificates


class Shown:
    """A transport that shows a certificate as `ssl` would."""

    def __init__(self, certificate: object) -> None:
        self._certificate = certificate

    def get_extra_info(self, name: str) -> object:
        assert name == "peercert"
        return self._certificate


@pytest.mark.parametrize("make_context", [server_context, client_context])
def test_both_sides_demand_tls_1_3_and_a_certificate(certificates: Certificates, make_context: object) -> None:
    """There is no way to get a context that accepts less."""
    context = make_context(certificates.node(1))  # type: ignore[operator]  # two functions in one list
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_no_session_is_resumed(certificates: Certificates) -> None:
    """A ticket would admit whom a certificate does not admit any more."""
    assert server_context(certificates.node(1)).num_tickets == 0


def test_each_unusable_file_is_named(certificates: Certificates, tmp_path: Path) -> None:
    """One line, which says which of the three files is wrong, and what is."""
    good = certificates.node(1)
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    missing = tmp_path / "missing.pem"
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    cases = [
        (TlsFiles(missing, good.certificate, good.key), f"{missing}: No such file or directory"),
        (TlsFiles(good.authority, tmp_path, good.key), f"{tmp_path}: Is a directory"),
        (TlsFiles(good.authority, good.certificate, fifo), f"{fifo}: not a regular file"),
        (TlsFiles(garbage, good.certificate, good.key), f"{garbage}: not a PEM certificate of an authority"),
        (TlsFiles(good.authority, garbage, good.key), f"{garbage}, {good.key}: not a PEM certificate and its key"),
        (TlsFiles(good.authority, good.certificate, garbage), f"{good.certificate}, {garbage}: not a PEM cert"),
        (
            TlsFiles(good.authority, good.certificate, certificates.node(2).key),
            f"{certificates.node(2).key}: not the key of the certificate {good.certificate}",
        ),
    ]
    for files, message in cases:
        with pytest.raises(TlsError) as caught:
            server_context(files)
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(
    certificates: Certificates, tmp_path: Path
) -> None:
    """A daemon that waits for a password at a terminal that nobody looks at would never start and never say why."""
    good = certificates.node(1)
    key = serialization.load_pem_private_key(good.key.read_bytes(), None)
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(TlsError, match="not a PEM certificate and its key"):
        server_context(TlsFiles(good.authority, good.certificate, encrypted))


@pytest.mark.parametrize("certificate", [None, {}, {"subject": ()}, {"subjectAltName": (("DNS", "raftd://a/user/b"),)}])
def test_who_shows_no_identity_is_nobody(certificate: object) -> None:
    """A common name or a host name is no identity."""
    with pytest.raises(IdentityError):
        remote_identity(Shown(certificate))  # type: ignore[arg-type]  # all that is asked of a transport


def test_the_identity_is_the_uri() -> None:
    """Exactly the URI of the subject alternative name."""
    names = (("DNS", "host"), ("URI", "raftd://demo/node/2"))
    assert remote_identity(Shown({"subjectAltName": names})).node_id == 2  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (TimeoutError(), "no answer in time"),
        (ConnectionAbortedError("SSL handshake is taking longer"), "SSL handshake is taking longer"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_failures_are_explained_in_words(error: OSError, words: str) -> None:
    """No error number, no class's name where there are words, and never nothing."""
    assert explain(error) == words


@pytest.mark.parametrize("certificate", [None, {}, {"notAfter": "some day"}])
def test_a_certificate_without_an_end_is_refused(certificate: object) -> None:
    """Nobody would know when the connection must be judged again."""
    with pytest.raises(IdentityError, match="until when it holds"):
        remote_expiry(Shown(certificate))  # type: ignore[arg-type]  # all that is asked of a transport is there


def test_a_certificate_says_until_when_it_holds() -> None:
    """In seconds since the epoch."""
    shown = Shown({"notAfter": "Jan  5 09:34:43 2030 GMT"})
    assert remote_expiry(shown) == 1893836083.0  # type: ignore[arg-type]  # as above


def test_a_name_that_is_no_text_is_explained() -> None:
    """`ssl` cannot read it, and says so in a way that people cannot."""
    error = UnicodeDecodeError("ascii", b"\xff", 0, 1, "ordinal not in range(128)")
    assert explain(error) == "its certificate has a name that is no text"
