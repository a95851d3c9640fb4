"""Uploads that must be over by a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from time import monotonic
from typing import Any, TypeVar

T = TypeVar("T")

# Most bodies have arrived before they are read. A late one is noticed at most this late.
INTERVAL_SECONDS = 0.01


class UploadWatch:
    """A timer that ends uploads at their deadlines. All uploads share it, as calls share ``HangupWatch``.

    A task is cancelled again until it has ended its upload: before Python 3.12, ``asyncio.wait_for`` swallows a
    cancellation that comes together with what it waits for, and gunicorn waits for the pieces of a body in that way.
    """

    def __init__(self) -> None:
        self._deadlines: dict[asyncio.Task[Any], float] = {}
        self._cancels: dict[asyncio.Task[Any], int] = {}  # the number that each task has had from here
        self._is_ticking = False

    async def read_by(self, deadline: float, reading: Coroutine[Any, Any, T]) -> T | None:
        """Return what ``reading`` returns, or None if that is not before the deadline."""
        task = asyncio.current_task()
        assert task is not None, "a request is served in a task"
        self._add(task, deadline)
        try:
            body = await reading
        except asyncio.CancelledError:
            if task not in self._cancels:
                raise
            return None
        finally:
            self._discard(task)
        return body if monotonic() < deadline else None

    def _add(self, task: asyncio.Task[Any], deadline: float) -> None:
        """Cancel the task at the deadline, unless it is discarded before."""
        self._deadlines[task] = deadline
        if not self._is_ticking:
            self._is_ticking = True
            asyncio.get_running_loop().call_later(INTERVAL_SECONDS, self._tick)

    def _discard(self, task: asyncio.Task[Any]) -> None:
        """Forget a task whose upload is over, and have it forget that it was cancelled."""
        self._deadlines.pop(task, None)
        for _ in range(self._cancels.pop(task, 0)):
            task.uncancel()

    def _tick(self) -> None:
        now = monotonic()
        for task in [task for task, deadline in self._deadlines.items() if deadline <= now]:
            self._cancels[task] = self._cancels.get(task, 0) + 1
            task.cancel()
        self._is_ticking = bool(self._deadlines)
        if self._is_ticking:
            asyncio.get_running_loop().call_later(INTERVAL_SECONDS, self._tick)
