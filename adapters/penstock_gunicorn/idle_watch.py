"""The last watch over the connections of a process that ends: each is closed once its client has nothing to send."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from time import monotonic

from penstock_gunicorn.direct_protocol import DirectProtocol

QUIET = 0.25
"""Seconds for which a connection must be idle: longer than a request on its way to us usually takes.

A client that has its answer, but not yet our end of the stream, may send its next request meanwhile.
"""


class IdleWatch:
    """Closes connections that have been idle for ``QUIET`` seconds, as long as it is asked how far it is.

    Parameters
    ----------
    connections:
        All open connections; the watch looks at the set again at each sweep.
    """

    def __init__(self, connections: AbstractSet[DirectProtocol]) -> None:
        self._connections = connections
        self._idle_since: dict[DirectProtocol, float] = {}

    def is_handed_over(self) -> bool:
        """Return whether each connection that is left has its last request. To be asked repeatedly."""
        self._sweep(monotonic())
        return not any(connection.may_get_another for connection in self._connections)

    def is_over(self) -> bool:
        """Return whether no connection is left. To be asked repeatedly."""
        self._sweep(monotonic())
        return not self._connections

    def refuse_rest(self) -> bool:
        """Answer the requests that are still arriving; return whether any connection is open."""
        left = list(self._connections)
        for connection in left:
            connection.refuse_rest()
        return bool(left)

    def _sweep(self, now: float) -> None:
        before, self._idle_since = self._idle_since, {}
        for connection in list(self._connections):
            if connection.is_idle:
                since = self._idle_since[connection] = before.get(connection, now)
                if now - since >= QUIET:
                    connection.close_if_idle()
