"""Over TLS a fetch is bounded as it is without, and a server that nobody vouches for is not read."""

import datetime
import ipaddress
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from logfactory import LogFactory
from logserver import LogServer, slow_body, slow_header

from ledger.client.bounded import BoundedHttp
from ledger.client.publiclog import Unreachable


def _certificate(folder: Path) -> Path:
    """A key with a certificate for 127.0.0.1 that it signed itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "server.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LogServer]:
    server = LogServer(LogFactory())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(tmp_path))
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    with server:
        yield server


def _url(server: LogServer) -> str:
    return server.url.replace("http://", "https://") + "checkpoint"


def test_a_server_with_a_certificate_that_is_trusted_is_read_and_bounded(
    server: LogServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    http = BoundedHttp(answer_seconds=1.0)
    assert http.get(_url(server), 1 << 20) == server.note
    for slow in (slow_body, slow_header):
        server.wrong["checkpoint"] = slow
        began = time.monotonic()
        with pytest.raises(Unreachable, match="no whole answer within 1 seconds"):
            http.get(_url(server), 1 << 20)
        assert time.monotonic() - began < 5
    http.close()


def test_a_server_whose_certificate_nobody_vouches_for_is_not_read(
    server: LogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    http = BoundedHttp(attempts=1)
    with pytest.raises(Unreachable, match="cannot be reached"):
        http.get(_url(server), 1 << 20)
    http.close()
