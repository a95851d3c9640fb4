"""TLS: the context that a server's certificate, key and settings make, or the reason why they make none."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, NoReturn

from penstock_gunicorn.start_errors import StartError

EVENT = "tls-failed"
# A client that does not answer the end of the session loses its connection.
SHUTDOWN_LIMIT = 5.0


def tls_options(cfg: Any, handshake_limit: float) -> dict[str, Any]:
    """Return the options of an event loop for servers, with a context that is made now; none without TLS.

    Parameters
    ----------
    cfg:
        gunicorn's settings.
    handshake_limit:
        Seconds in which a client must complete its handshake.

    Raises
    ------
    StartError
        If the certificate or its key cannot be used.
    """
    if not cfg.is_ssl:
        return {}
    return {
        "ssl": server_context(cfg),
        "ssl_handshake_timeout": handshake_limit,
        "ssl_shutdown_timeout": min(handshake_limit, SHUTDOWN_LIMIT),
    }


def server_context(cfg: Any) -> ssl.SSLContext:
    """Return a context for TLS 1.2 or newer and HTTP/1.1, from gunicorn's settings.

    Parameters
    ----------
    cfg:
        gunicorn's settings. ``certfile``, ``keyfile``, ``ca_certs``, ``cert_reqs``, ``ciphers`` and the hook
        ``ssl_context`` are used.

    Raises
    ------
    StartError
        If a file cannot be read, the key is not the certificate's, or a setting is wrong.
    """

    def default() -> ssl.SSLContext:
        return _default_context(cfg)

    try:
        context: ssl.SSLContext = cfg.ssl_context(cfg, default)
    except StartError:
        raise
    except Exception as error:  # the hook is the operator's
        raise StartError(f"the hook ssl_context raised {type(error).__name__}: {error}", event=EVENT) from error
    return context


def _default_context(cfg: Any) -> ssl.SSLContext:
    key = cfg.keyfile or cfg.certfile
    _check_file("certificate", cfg.certfile, b"CERTIFICATE-----")
    advice = "" if cfg.keyfile else "; --keyfile names the file that has it"
    _check_file("private key", key, b"PRIVATE KEY-----", advice)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load_certificate(context, cfg.certfile, key)
    if cfg.ca_certs is not None:
        _check_file("certificate", cfg.ca_certs, b"CERTIFICATE-----")
        context.load_verify_locations(cfg.ca_certs)
    context.verify_mode = cfg.cert_reqs
    if cfg.ciphers:
        try:
            context.set_ciphers(cfg.ciphers)
        except ssl.SSLError:
            raise StartError(f"the setting ciphers selects none: {cfg.ciphers!r}", event=EVENT) from None
    return context


def _check_file(content: str, path: str, mark: bytes, advice: str = "") -> None:
    try:
        is_there = mark in Path(path).read_bytes()
    except OSError as error:
        raise StartError(f"the {content} in {path} cannot be read: {error.strerror}", event=EVENT) from None
    if not is_there:
        raise StartError(f"{path} has no {content} in PEM format{advice}", event=EVENT)


def _load_certificate(context: ssl.SSLContext, certificate: str, key: str) -> None:
    def refuse() -> NoReturn:  # otherwise OpenSSL would ask at the terminal, in each process
        raise StartError(f"the key in {key} is encrypted; decrypt it with openssl pkey", event=EVENT)

    try:
        context.load_cert_chain(certificate, key, password=refuse)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message = f"the key in {key} does not belong to the certificate in {certificate}"
        else:
            message = f"the certificate in {certificate} and the key in {key} cannot be used: {error}"
        raise StartError(message, event=EVENT) from None
