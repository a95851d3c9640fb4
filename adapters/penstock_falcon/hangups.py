"""Noticing that an ASGI client has gone while its job waits or runs."""

from __future__ import annotations

import asyncio

from penstock.hosting import Call
from penstock_falcon.bodies import Receive

GONE = "the client went away"
# Most jobs are over sooner, and nobody listens for them; a hang-up before that is still reported to a late listener.
PATIENCE_SECONDS = 0.01


class Watch:
    """Lets those hang-ups listen that have waited for between one and two ``PATIENCE_SECONDS``.

    One timer for all: one for each request would cost more than the rest of the request's watching.
    """

    def __init__(self) -> None:
        self._young: set[Hangup] = set()
        self._old: set[Hangup] = set()
        self._is_ticking = False

    def add(self, hangup: Hangup) -> None:
        """Begin to wait."""
        self._young.add(hangup)
        if not self._is_ticking:
            self._is_ticking = True
            asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._tick)

    def discard(self, hangup: Hangup) -> None:
        """Wait no more."""
        self._young.discard(hangup)
        self._old.discard(hangup)

    def _tick(self) -> None:
        for hangup in self._old:
            hangup.listen()
        self._old, self._young = self._young, set()
        self._is_ticking = bool(self._old)
        if self._is_ticking:
            asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._tick)


class Hangup:
    """Cancels a call when its client goes away; to be stopped when the response is complete.

    Parameters
    ----------
    call:
        The call to cancel.
    receive:
        The server's own ``receive``, or None where it cannot be had: then nobody listens.
    watch:
        Where it waits until listening is worth its cost.
    """

    __slots__ = ("_call", "_receive", "_task", "_watch")

    def __init__(self, call: Call, receive: Receive | None, watch: Watch) -> None:
        self._call = call
        self._receive = receive
        self._task: asyncio.Task[None] | None = None
        self._watch = watch
        if receive is not None:
            watch.add(self)

    def listen(self) -> None:
        """Listen from now on."""
        assert self._receive is not None, "only those who can listen wait for it"
        self._task = asyncio.get_running_loop().create_task(self._listen(self._receive))

    async def _listen(self, receive: Receive) -> None:
        # A trailing empty piece of the body may still be unread.
        while (await receive())["type"] != "http.disconnect":
            pass
        self._call.cancel(GONE)

    def stop(self) -> None:
        """Listen no more. A listener left behind would swallow the next request's events on some servers."""
        self._watch.discard(self)
        if self._task is not None:
            self._task.cancel()
            self._task = None
