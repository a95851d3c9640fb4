"""Noticing that an ASGI client has gone while its job waits or runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from penstock_falcon.bodies import Receive

if TYPE_CHECKING:
    from penstock.engine import Call

GONE = "the client went away"
# Most jobs are over sooner, and pay for a timer only; a hang-up before that is still reported to a late listener.
PATIENCE_SECONDS = 0.02


class Hangup:
    """Cancels a call when its client goes away; to be stopped when the response is complete.

    Parameters
    ----------
    call:
        The call to cancel.
    receive:
        The server's own ``receive``, or None where it cannot be had: then nobody listens.
    """

    __slots__ = ("_call", "_receive", "_task", "_timer")

    def __init__(self, call: Call, receive: Receive | None) -> None:
        self._call = call
        self._receive = receive
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        if receive is not None:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._begin, receive)

    def _begin(self, receive: Receive) -> None:
        self._task = asyncio.get_running_loop().create_task(self._listen(receive))

    async def _listen(self, receive: Receive) -> None:
        # A trailing empty piece of the body may still be unread.
        while (await receive())["type"] != "http.disconnect":
            pass
        self._call.cancel(GONE)

    def stop(self) -> None:
        """Listen no more. A listener left behind would swallow the next request's events on some servers."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
