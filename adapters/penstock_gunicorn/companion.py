"""Another server in the gunicorn workers, for another protocol: on their event loop, and with their engine."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Protocol

from penstock_gunicorn.start_errors import StartError
from penstock_gunicorn.tls import EVENT, tls_options


class Companion(Protocol):
    """The server of another protocol, as a gunicorn worker starts and stops it.

    The worker accepts its connections, with the sockets and the TLS that it has for HTTP: so none is lost to a reload,
    and several HTTP processes serve one port.

    Attributes
    ----------
    scheme:
        The scheme of its URLs, without and with TLS.
    application_protocol:
        The name by which clients ask for the protocol in the handshake of TLS (ALPN).
    """

    scheme: tuple[str, str]
    application_protocol: str

    async def start(self) -> None:
        """Start; connections may then be passed to ``new_connection``."""

    def new_connection(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""

    def status(self) -> dict[str, Any]:
        """Return what it adds to the status page, under its scheme."""

    def ask_to_leave(self, *, has_successor: bool) -> None:
        """Ask all clients to use other connections from now on, whether or not a successor serves them."""

    @property
    def is_left(self) -> bool:
        """True if no connection is open."""

    @property
    def is_idle(self) -> bool:
        """True if nothing is being served."""

    async def stop(self) -> None:
        """End what is left, and close all connections."""


def companion_tls(companion: Companion, cfg: Any, handshake_limit: float, own: dict[str, Any]) -> dict[str, Any]:
    """Return the options of an event loop for the companion's connections, as ``tls_options`` does.

    Parameters
    ----------
    companion:
        The server.
    cfg, handshake_limit:
        As for ``tls_options``.
    own:
        The options for HTTP.

    Raises
    ------
    StartError
        If the operator's hook returns the same context for both: they speak different protocols.
    """
    options = tls_options(cfg, handshake_limit)
    context: ssl.SSLContext | None = options.get("ssl")
    if context is not None:
        if context is own.get("ssl"):
            raise StartError("the hook ssl_context must return a new context each time it is called", event=EVENT)
        context.set_alpn_protocols([companion.application_protocol])
    return options
