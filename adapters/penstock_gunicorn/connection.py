"""One client's connection, which can say whether it is in use."""

from __future__ import annotations

import asyncio
from typing import Any

from gunicorn.asgi.protocol import ASGIProtocol


class TrackedProtocol(ASGIProtocol):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's HTTP connection, registered in ``worker.connections`` while it is open.

    gunicorn itself only counts connections, and at its end waits for idle ones as long as for busy ones.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register, then serve."""
        self.worker.connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up, then forget."""
        super().connection_lost(exc)
        self.worker.connections.discard(self)

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a request, and no application call of an earlier one still runs."""
        return bool(self._awaiting_request and not self._finishing_calls)

    @property
    def has_unsent(self) -> bool:
        """Whether some bytes of a response still wait for the client to read."""
        transport: Any = self.transport
        return transport is not None and transport.get_write_buffer_size() > 0

    def close_if_idle(self) -> None:
        """Close an idle connection as its keep-alive time-out would."""
        if self.is_idle:
            self._keepalive_timeout()

    def abort(self) -> None:
        """Close at once, whatever is unsent."""
        if self.transport is not None:
            self.transport.abort()
