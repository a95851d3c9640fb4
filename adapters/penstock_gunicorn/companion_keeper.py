"""The companion of a gunicorn worker, if it has one: started, listened for, and stopped with it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from penstock_gunicorn.companion import Companion
from penstock_gunicorn.start_errors import StartError
from penstock_gunicorn.tls import EVENT, server_context


class ServedProtocol(NamedTuple):
    """One of the protocols that a gunicorn worker serves.

    Parameters
    ----------
    new_connection:
        Returns the protocol of a new connection.
    tls:
        The event loop's options for TLS; empty without.
    schemes:
        The schemes of its URLs, without and with TLS.
    """

    new_connection: Callable[[], Any]
    tls: Mapping[str, Any]
    schemes: tuple[str, str]


class CompanionKeeper:
    """The companion, or none: all questions then have the answer that holds nothing up."""

    def __init__(self) -> None:
        self._companion: Companion | None = None
        self._tls: Mapping[str, Any] = {}

    def load(
        self,
        new_companion: Callable[[Any], Companion] | None,
        application: Any,
        cfg: Any,
        own_tls: Mapping[str, Any],
    ) -> None:
        """Create the companion for an ASGI application, if there is to be one.

        Raises
        ------
        StartError
            If the operator's hook returns the same TLS context for both: they speak different protocols.
        """
        if new_companion is None:
            return
        companion = self._companion = new_companion(application)
        if own_tls:
            self._tls = {**own_tls, "ssl": _context(companion, cfg, own_tls["ssl"])}

    async def listen(
        self, sockets: Sequence[Any], servers: list[asyncio.Server], own: ServedProtocol, backlog: int
    ) -> list[str]:
        """Start the companion, and accept connections for it and for HTTP; return the URLs.

        Parameters
        ----------
        sockets:
            The listening sockets.
        servers:
            The list to which the event loop's servers are added.
        own:
            HTTP.
        backlog:
            The number of connections that may wait to be accepted.
        """
        loop = asyncio.get_running_loop()
        urls = []
        beside = own
        if self._companion is not None:
            await self._companion.start()
            beside = ServedProtocol(self._companion.new_connection, self._tls, self._companion.scheme)
        for listener in sockets:
            new_connection, tls, schemes = beside if listener.is_companions else own
            servers.append(await listener.serve(loop, new_connection, backlog, tls))
            urls.append(listener.url(schemes[bool(tls)]))
        return urls

    def status(self) -> dict[str, Any]:
        """Return what it adds to the status page."""
        return {} if self._companion is None else {self._companion.scheme[0]: self._companion.status()}

    def ask_to_leave(self, *, has_successor: bool) -> None:
        """Ask its clients to use other connections from now on."""
        if self._companion is not None:
            self._companion.ask_to_leave(has_successor=has_successor)

    def left_once(self, condition: Callable[[], bool]) -> Callable[[], bool]:
        """Return the condition that another one holds, and that no connection of the companion is open."""
        return lambda: condition() and (self._companion is None or self._companion.is_left)

    def is_idle(self) -> bool:
        """Return whether it serves nothing."""
        return self._companion is None or self._companion.is_idle

    async def stop(self) -> None:
        """Stop it. Harmless when repeated."""
        companion, self._companion = self._companion, None
        if companion is not None:
            await companion.stop()


def _context(companion: Companion, cfg: Any, own: ssl.SSLContext) -> ssl.SSLContext:
    context: ssl.SSLContext = server_context(cfg)
    if context is own:
        raise StartError("the hook ssl_context must return a new context each time it is called", event=EVENT)
    context.set_alpn_protocols([companion.application_protocol])
    return context
