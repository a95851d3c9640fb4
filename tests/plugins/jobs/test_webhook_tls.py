"""Webhooks over TLS: the certificate must be that of the name, although an address is connected."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from penstock_jobs.postings import Posting
from penstock_jobs.webhook_addresses import target_of
from penstock_jobs.webhook_posting import WebhookPoster

NAME = "hooks.internal"


def write_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a certificate for a name, signed by itself, and its key; return both paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "tls.pem", folder / "tls.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


class TlsReceiver:
    """Answers each request with 204, and remembers the names that clients asked for."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.names: list[str | None] = []
        self.requests: list[bytes] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._context.sni_callback = lambda _socket, name, _context: self.names.append(name)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with contextlib.suppress(OSError), connection:
                    connection.settimeout(10)
                    with self._context.wrap_socket(connection, server_side=True) as secure:
                        self.requests.append(secure.recv(65536))
                        secure.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                        secure.recv(65536)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[TlsReceiver]:
    receiver = TlsReceiver(*write_certificate(tmp_path, NAME))
    yield receiver
    receiver.close()


def post(host: str, port: int, ca_file: Path | None) -> Posting:
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async def send() -> Posting:
        poster = WebhookPoster(timeout=5.0, ca_file=None if ca_file is None else str(ca_file), resolve=resolve)
        return await poster.post(target_of(f"https://{host}:{port}/hook", [host]), {}, b"{}")

    return trio.run(send)


def test_the_receiver_sees_the_name_and_not_the_address(receiver: TlsReceiver, tmp_path: Path) -> None:
    """In the handshake (SNI) and in ``Host``, so that a host of many names finds the right one."""
    assert post(NAME, receiver.port, tmp_path / "tls.pem").status == 204
    assert receiver.names == [NAME]
    assert f"\r\nhost: {NAME}:{receiver.port}\r\n".encode() in receiver.requests[0].lower()


def test_a_certificate_of_another_name_is_refused(receiver: TlsReceiver, tmp_path: Path) -> None:
    """Otherwise the owner of the address could read the messages."""
    posting = post("other.internal", receiver.port, tmp_path / "tls.pem")
    assert posting.error == "the receiver does not accept a connection, or its certificate is not valid"
    assert receiver.requests == []


def test_a_certificate_of_an_unknown_authority_is_refused(receiver: TlsReceiver) -> None:
    """Unless the operator trusts it."""
    assert not post(NAME, receiver.port, None).is_delivered
    assert receiver.requests == []
