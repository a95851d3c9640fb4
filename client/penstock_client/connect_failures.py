"""The sentence about a connection that could not be made: the server, the cause, and what to look at first."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import httpx2

from penstock_client.argument_checks import without_password


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
    known = next(filter(None, map(_known_cause, _chain(error))), "")
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
        return f"its certificate is not trusted ({cause}); pass http_client= with its authority"
    if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
        return f"it refuses the handshake of TLS ({cause}); does it want a client certificate?"
    if isinstance(cause, ssl.SSLError):
        return f"TLS fails ({cause}); does the server speak https on this port?"
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes; those of each address that was tried, too."""
    for _ in range(10):  # a chain may be a circle
        if error is None:
            return
        yield error
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                yield from _chain(each)
        error = error.__cause__ or error.__context__
