"""The watch over all connections: clients that send or read too slowly, and connections beyond the limit."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Set as AbstractSet
from time import monotonic
from typing import Any

from penstock.hooks import log_event
from penstock_gunicorn.direct_protocol import DirectProtocol
from penstock_gunicorn.peer_settings import PeerSettings

LONGEST_INTERVAL = 1.0
# Short enough, during a stop, to distinguish a client that reads in bursts from one that does not read.
STOP_INTERVAL = 0.25
# A stop does not wait for a client that has read nothing for this long.
STOP_PATIENCE = 2.0
REPORT_INTERVAL = 10.0
# At the limit, a connection on which nothing has come for this long makes room for another.
FIRST_REQUEST_PATIENCE = 1.0
# Connections beyond the limit that may at any time be waiting for their client to read the refusal.
REFUSALS = 16

# Why connections were closed, as the log and the status page have it.
HEADER_TIMEOUT, BODY_TIMEOUT = "header_timeout", "body_timeout"
UNREAD, TOO_MUCH_UNREAD = "unread", "too_much_unread"
IDLE_AT_LIMIT, OVER_LIMIT = "idle_at_limit", "over_limit"


class PeerWatch:
    """One timer for all connections, which ends what their clients hold for too long.

    Parameters
    ----------
    loop:
        The event loop.
    connections:
        All open connections; the watch looks at the set again at each sweep.
    settings:
        The limits.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connections: AbstractSet[DirectProtocol], settings: PeerSettings
    ) -> None:
        self._loop = loop
        self._connections = connections
        self._settings = settings
        shortest = min(settings.header_timeout, settings.body_timeout)
        self._interval = min(LONGEST_INTERVAL, shortest / 4)
        self._patience = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._unread_bytes = 0
        self._closed: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self._report_at = 0.0
        self._may_make_room = True
        self.max_connections: int | None = None
        """The most connections, from the limit on descriptors; None until it is known."""

    def start(self) -> None:
        """Sweep from now on."""
        self._timer = self._loop.call_later(self._interval, self._sweep)

    def hurry(self) -> None:
        """Have less patience with clients that do not read, because the server is stopping and would wait for them."""
        self.stop()
        self._patience = STOP_PATIENCE
        self._interval = min(self._interval, STOP_INTERVAL)
        self.start()

    def stop(self) -> None:
        """Sweep no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def status(self) -> dict[str, Any]:
        """Return the part of the status page that is about connections."""
        return {
            "open": len(self._connections),
            "limit": self.max_connections,
            "unread_bytes": sum(connection.held_bytes for connection in self._connections),
            "closed": dict(self._closed),
        }

    # ---- the number of connections

    def admits_another(self) -> bool:
        """Return whether there is room for the newest connection, if need be in place of one that is idle."""
        if self.max_connections is None or len(self._connections) <= self.max_connections:
            return True
        if self._may_make_room:
            silent_by = monotonic() - FIRST_REQUEST_PATIENCE
            idle = next((peer for peer in self._connections if peer.is_unused_since(silent_by)), None)
            if idle is not None:
                idle.close_if_idle()
                self._count(IDLE_AT_LIMIT)
                return True
            self._may_make_room = False  # until the next sweep: looking costs time for each connection
        self._count(OVER_LIMIT)
        return False

    def may_linger(self) -> bool:
        """Return whether a refused connection may wait until its client has read the refusal."""
        return self.max_connections is None or len(self._connections) <= self.max_connections + REFUSALS

    # ---- what is held for clients that do not read

    def writing_paused(self, connection: DirectProtocol) -> None:
        """Count what a connection now holds. The count is only too high until it exceeds the limit: then it is made."""
        self._unread_bytes += connection.held_bytes
        if self._unread_bytes > self._settings.max_unread:
            self._bound_unread()

    def _bound_unread(self) -> None:
        # One that was aborted in this turn of the loop is here until the next one.
        held = {peer: peer.held_bytes for peer in self._connections if peer.has_unsent and not peer.is_aborted}
        self._unread_bytes = sum(held.values())
        if self._unread_bytes <= self._settings.max_unread:
            return
        now = monotonic()
        slowest_first = sorted(held, key=lambda peer: (peer.read_last(now), -held[peer]))
        for peer in slowest_first[:-1]:  # a single response may be larger than the limit
            self._count(TOO_MUCH_UNREAD)
            peer.abort()
            self._unread_bytes -= held[peer]
            if self._unread_bytes <= self._settings.max_unread:
                return

    # ---- sweeping

    def _sweep(self) -> None:
        self._timer = self._loop.call_later(self._interval, self._sweep)
        now = monotonic()
        settings = self._settings
        for connection in list(self._connections):
            if connection.head_began_by(now - settings.header_timeout):
                self._count(HEADER_TIMEOUT)
                connection.refuse_head(settings.header_timeout)
            elif connection.sends_too_slowly(now, settings):
                self._count(BODY_TIMEOUT)
                connection.refuse_body(settings)
            elif connection.outlives_keep_alive(now):
                connection.close_if_idle()
            if connection.reads_too_slowly(now, self._patience):
                self._count(UNREAD)
                connection.abort()
        self._bound_unread()
        self._may_make_room = True
        if now >= self._report_at and self._closed != self._reported:
            self._report_at = now + REPORT_INTERVAL
            self._report()

    def _count(self, reason: str) -> None:
        self._closed[reason] += 1

    def _report(self) -> None:
        """Log what was closed since the last report: a line for each connection would be one that clients can force."""
        news = self._closed - self._reported
        self._reported = self._closed.copy()
        refused = news.pop(OVER_LIMIT, 0)
        if refused:
            log_event(
                logging.WARNING,
                "connections-full",
                f"refused {refused} connections: {self.max_connections} are open, which is the limit; to allow more, "
                "raise the limit on open files (ulimit -n, or LimitNOFILE in systemd)",
                refused=refused,
                limit=self.max_connections,
            )
        if news:
            reasons = ", ".join(f"{reason} {count}" for reason, count in news.items())
            log_event(
                logging.WARNING,
                "slow-clients",
                f"closed {news.total()} connections of clients that did not send, read or use them: {reasons}",
                **news,
            )
