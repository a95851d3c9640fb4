"""Another server in the gunicorn workers, for another protocol: on their event loop, and with their engine."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol


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
