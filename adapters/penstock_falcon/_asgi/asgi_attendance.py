"""Waiting for a call on the event loop, and noticing that its client has gone."""

from __future__ import annotations

import asyncio

from penstock.errors import PenstockError
from penstock.hosting import Call, Encoded
from penstock_falcon._asgi.asgi_requests import Receive
from penstock_falcon.attendance import GIVEN_UP, GONE

# Most jobs end sooner, and are never listened for. A client that leaves earlier is still reported to a late listener.
PATIENCE_SECONDS = 0.01
# A piece counts as read when the server asks for the next one. Large pieces would make a slow reader look like one that
# does not read at all.
PIECE_BYTES = 1 << 16


class HangupWatch:
    """A timer that lets each attendance listen once it has lasted between one and two ``PATIENCE_SECONDS``.

    All attendances share it: a timer for each request would cost more than the rest of its watching.
    """

    def __init__(self) -> None:
        self._young: set[AsgiAttendance] = set()
        self._old: set[AsgiAttendance] = set()
        self._is_ticking = False

    def add(self, attendance: AsgiAttendance) -> None:
        """Add an attendance that has just begun."""
        self._young.add(attendance)
        if not self._is_ticking:
            self._is_ticking = True
            asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._tick)

    def discard(self, attendance: AsgiAttendance) -> None:
        """Remove an attendance that has ended."""
        self._young.discard(attendance)
        self._old.discard(attendance)

    def _tick(self) -> None:
        for attendance in self._old:
            attendance.listen()
        self._old, self._young = self._young, set()
        self._is_ticking = bool(self._old)
        if self._is_ticking:
            asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._tick)


class AsgiAttendance:
    """A wait for a call, which is cancelled when its client goes away.

    Parameters
    ----------
    call:
        The call.
    receive:
        The server's own ``receive``, or None if it is not available; then the client is not watched.
    watch:
        Starts the listening once it is worth its cost.
    """

    __slots__ = ("_receive", "_task", "_watch", "call", "wait")

    def __init__(self, call: Call, receive: Receive | None, watch: HangupWatch) -> None:
        self.call = call
        self.wait = call.wait
        self._receive = receive
        self._task: asyncio.Task[None] | None = None
        self._watch = watch
        if receive is not None:
            watch.add(self)

    def listen(self) -> None:
        """Start to listen for the client's disconnection."""
        assert self._receive is not None, "the watch has only attendances that can listen"
        self._task = asyncio.get_running_loop().create_task(self._listen(self._receive))

    async def _listen(self, receive: Receive) -> None:
        # A trailing empty piece of the body may still be unread.
        while (await receive())["type"] != "http.disconnect":
            pass
        self.call.cancel(GONE)

    def take(self) -> tuple[list[bytes], Encoded | PenstockError | None]:
        """Return chunks of bounded size together; and the outcome, once no chunk is left."""
        chunks = self.call.take(PIECE_BYTES)
        return chunks, None if self.call.has_chunks else self.call.outcome

    def close(self, reason: str = GIVEN_UP) -> None:
        """Stop listening: on some servers a listener left behind would swallow the next request's events."""
        self._watch.discard(self)
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self.call.outcome is None:
            self.call.cancel(reason)
