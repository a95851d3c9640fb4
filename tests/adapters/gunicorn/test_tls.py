"""Certificates and keys: what makes a context, and why other files do not."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from gunicorn.config import Config

from penstock_gunicorn import StartError
from penstock_gunicorn.tls import server_context
from tests.certificates import write_certificate


def context_of(certificate: object, key: object = None, **settings: Any) -> ssl.SSLContext:
    cfg = Config()
    for name, value in {"certfile": str(certificate), "keyfile": None if key is None else str(key), **settings}.items():
        cfg.set(name, value)
    return server_context(cfg)


def test_a_certificate_and_its_key_make_a_context(tmp_path: Path) -> None:
    """In two files or in one; the protocol is TLS 1.2 at least, and clients need no certificate."""
    certificate, key = write_certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    for context in (context_of(certificate, key), context_of(both)):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.verify_mode == ssl.CERT_NONE


def test_files_that_cannot_be_used_are_refused_with_the_reason(tmp_path: Path) -> None:
    """Never with a question at the terminal."""
    certificate, key = write_certificate(tmp_path)
    _, other = write_certificate(tmp_path, "other")
    _, secret = write_certificate(tmp_path, "secret", password=b"x")
    cut = tmp_path / "cut.pem"
    cut.write_bytes(certificate.read_bytes()[:100])
    for files, reason in (
        ((certificate, other), f"the key in {other} does not belong to the certificate in {certificate}"),
        ((certificate, secret), "is encrypted"),
        ((certificate, None), "has no private key in PEM format; --keyfile"),
        ((certificate, certificate), "has no private key in PEM format$"),
        ((key, key), "has no certificate in PEM format"),
        ((cut, key), "cannot be used"),
        ((tmp_path / "none.pem", key), "none.pem cannot be read: No such file"),
        ((certificate, tmp_path), "cannot be read: Is a directory"),
    ):
        with pytest.raises(StartError, match=reason):
            context_of(*files)


def test_further_settings_are_checked_too(tmp_path: Path) -> None:
    """Clients may need a certificate; ciphers may be chosen; a hook may do anything else."""
    files = certificate, key = write_certificate(tmp_path)
    context = context_of(*files, ca_certs=str(certificate), cert_reqs=ssl.CERT_REQUIRED, ciphers="ECDHE+AESGCM")
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert [names[0][1] for names in context_of(*files, ca_certs=str(certificate)).get_ca_certs()[0]["subject"]]
    for settings, reason in (
        ({"ciphers": "nonsense"}, "selects none: 'nonsense'"),
        ({"ca_certs": str(key)}, "has no certificate"),
        ({"ssl_context": lambda _cfg, _default: 1 / 0}, "the hook ssl_context raised ZeroDivisionError"),
    ):
        with pytest.raises(StartError, match=reason):
            context_of(*files, **settings)
