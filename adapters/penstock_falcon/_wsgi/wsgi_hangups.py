"""Waiting for a call on the server's thread, and noticing that its client has gone."""

from __future__ import annotations

import select
from typing import Any

from penstock.errors import PenstockError
from penstock.hosting import Encoded, ThreadedCall
from penstock_falcon.hangups import GIVEN_UP, GONE

# Linux reports that the other side has closed; elsewhere only a connection that is closed both ways shows.
_CLIENT_GONE = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class WsgiWatchedCall:
    """A wait for a call, which is cancelled when its client goes away.

    Parameters
    ----------
    call:
        The call.
    client:
        The client's socket, or None if the server does not expose it; then the client is not watched.
    """

    is_gone = False
    """Not known for certain: the client may have closed only its own half of the connection."""

    def __init__(self, call: ThreadedCall, client: Any) -> None:
        self.call = call
        self._poll = select.poll()
        self._poll.register(call.fileno(), select.POLLIN)
        self._client = None if client is None else client.fileno()
        if self._client is not None:
            self._poll.register(self._client, _CLIENT_GONE)

    def block(self, timeout: float | None = None) -> None:
        """Return when there is an outcome or a chunk to take, or after ``timeout`` seconds."""
        events = self._poll.poll(None if timeout is None else timeout * 1e3)
        if self._client is not None and any(fd == self._client for fd, _ in events):
            # The outcome follows at once, and ends the wait.
            self._poll.unregister(self._client)
            self._client = None
            self.call.cancel(GONE)

    async def wait(self) -> None:
        """Block until there is an outcome or a chunk to take."""
        self.block()

    def take(self) -> tuple[list[bytes], Encoded | PenstockError | None]:
        """Return all chunks that have arrived, and the outcome, if there was one before they were taken."""
        # In this order: in the engine's thread, chunks may arrive and the job may end between the two look-ups.
        outcome = self.call.outcome
        return self.call.take(), outcome

    def close(self, reason: str = GIVEN_UP) -> None:
        """Free the call's descriptors, and cancel it if it has no outcome."""
        if self.call.outcome is None:
            self.call.cancel(reason)
        self.call.close()
