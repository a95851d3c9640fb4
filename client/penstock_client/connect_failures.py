"""The sentence about a connection that could not be made: the server, the cause, and what to look at first."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Final

import httpx2

from penstock_client.argument_checks import without_password

_OF_HANDSHAKES: Final = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "HANDSHAKE_FAILURE")
"""Parts of the names of TLS's alerts that end a handshake."""


def connect_detail(error: Exception) -> str:
    """Return the server that was not reached, the cause, and a question that leads to the fix.

    Parameters
    ----------
    error:
        The exception of httpx2.
    """
    try:
        server = without_password(error.request.url) if isinstance(error, httpx2.RequestError) else ""
    except RuntimeError:  # a transport of the program's own has raised it, without its request
        server = ""
    return f"{server}: {_cause(error)}".removeprefix(": ")


def _cause(error: Exception) -> str:
    known = next(filter(None, map(_known_cause, chain_of(error))), "")
    if known:
        return known
    if isinstance(error, httpx2.ConnectTimeout):
        return "it did not accept the connection in time; is the server running, and is the network open?"
    if isinstance(error, httpx2.ProxyError):
        return f"the proxy refuses: {error}"
    return f"{error}; is the server running?" if str(error) else "is the server running?"


def _known_cause(cause: BaseException) -> str:
    if isinstance(cause, ConnectionRefusedError):
        return "it refuses the connection; is the server running, and is this its port?"
    if isinstance(cause, socket.gaierror):
        return f"its name has no address ({cause.strerror}); is it spelled correctly?"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({cause.verify_message}); pass http_client= with its authority"
    if alert_of(cause):
        return f"it ends the TLS handshake ({alert_of(cause)}); does it accept the certificate of http_client=?"
    if isinstance(cause, ssl.SSLError):
        return f"TLS fails ({cause.reason or cause}); does the server speak https on this port?"
    return ""


def alert_of(cause: BaseException) -> str:
    """Return TLS's words for why the server has ended the handshake; "" for any other exception.

    Other alerts may come after the request was read.
    """
    reason = cause.reason or "" if isinstance(cause, ssl.SSLError) else ""
    _, _, alert = reason.partition("ALERT_")
    return alert.replace("_", " ").lower() if any(part in alert for part in _OF_HANDSHAKES) else ""


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes; those of each address that was tried, too."""
    for _ in range(10):  # a chain may be a circle
        if error is None:
            return
        yield error
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                yield from chain_of(each)
        error = error.__cause__ or error.__context__
