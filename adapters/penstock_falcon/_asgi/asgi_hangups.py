"""Waiting for a call on the event loop, and noticing that its client has gone."""

from __future__ import annotations

from penstock.errors import PenstockError
from penstock.hosting import Call, Encoded
from penstock_falcon._asgi.asgi_scope import Receive
from penstock_falcon._asgi.server_connection import ServerConnection
from penstock_falcon._asgi.server_loop import LoopHandle, running_loop
from penstock_falcon.hangups import GIVEN_UP, GONE

# Most jobs end sooner, and are never listened for. A client that leaves earlier is still reported to a late listener.
PATIENCE_SECONDS = 0.01
# A piece counts as read when the server asks for the next one. Large pieces would make a slow reader look like one that
# does not read at all.
PIECE_BYTES = 1 << 16


class HangupWatch:
    """A timer that starts to listen for a client once its call has lasted between one and two ``PATIENCE_SECONDS``.

    All calls share it: a timer for each request would cost more than everything else that watching costs.
    """

    def __init__(self) -> None:
        self._young: set[AsgiWatchedCall] = set()
        self._old: set[AsgiWatchedCall] = set()
        self._is_ticking = False

    def add(self, watched: AsgiWatchedCall) -> None:
        """Add a call that has just begun."""
        self._young.add(watched)
        if not self._is_ticking:
            self._is_ticking = True
            running_loop().call_later(PATIENCE_SECONDS, self._tick)

    def discard(self, watched: AsgiWatchedCall) -> None:
        """Remove a call that has ended."""
        self._young.discard(watched)
        self._old.discard(watched)

    def _tick(self) -> None:
        for watched in self._old:
            watched.listen()
        self._old, self._young = self._young, set()
        self._is_ticking = bool(self._old)
        if self._is_ticking:
            running_loop().call_later(PATIENCE_SECONDS, self._tick)


class AsgiWatchedCall:
    """A wait for a call, which is cancelled when its client goes away.

    Parameters
    ----------
    call:
        The call.
    receive:
        The server's own ``receive``, or None if it is not available; then the client is not watched.
    watch:
        Starts the listening once it is worth its cost.
    connection:
        The client's connection, if the server lets the application have it.
    """

    __slots__ = ("_receive", "_task", "_watch", "call", "connection", "is_gone", "wait")

    def __init__(
        self, call: Call, receive: Receive | None, watch: HangupWatch, connection: ServerConnection | None = None
    ) -> None:
        self.call = call
        self.is_gone = False
        self.connection = connection
        self.wait = call.wait
        self._receive = receive
        self._task: LoopHandle | None = None
        self._watch = watch
        if receive is not None:
            watch.add(self)

    def listen(self) -> None:
        """Start to listen for the client's disconnection."""
        assert self._receive is not None, "only a call with a receive is added to the watch"
        self._task = running_loop().create_task(self._listen(self._receive))

    async def _listen(self, receive: Receive) -> None:
        # A trailing empty piece of the body may still be unread.
        while (await receive())["type"] != "http.disconnect":
            pass
        self.is_gone = True
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
