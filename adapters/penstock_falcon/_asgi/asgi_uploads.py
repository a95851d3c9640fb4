"""Uploads that must be over by a deadline."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

# Most bodies have arrived before they are read. A late one is noticed at most this late.
INTERVAL_SECONDS = 0.01


class UploadWatch:
    """A timer that ends uploads at their deadlines. All uploads share it, as calls share ``HangupWatch``."""

    def __init__(self) -> None:
        self._deadlines: dict[asyncio.Task[Any], float] = {}
        self._ended: set[asyncio.Task[Any]] = set()
        self._is_ticking = False

    def add(self, task: asyncio.Task[Any], deadline: float) -> None:
        """Cancel the task at the deadline, unless it is discarded before."""
        self._deadlines[task] = deadline
        if not self._is_ticking:
            self._is_ticking = True
            asyncio.get_running_loop().call_later(INTERVAL_SECONDS, self._tick)

    def has_ended(self, task: asyncio.Task[Any]) -> bool:
        """Return whether the task was cancelled because its deadline had passed."""
        return task in self._ended

    def discard(self, task: asyncio.Task[Any]) -> None:
        """Forget a task whose upload is over."""
        self._deadlines.pop(task, None)
        self._ended.discard(task)

    def _tick(self) -> None:
        now = monotonic()
        for task in [task for task, deadline in self._deadlines.items() if deadline <= now]:
            del self._deadlines[task]
            self._ended.add(task)
            task.cancel()
        self._is_ticking = bool(self._deadlines)
        if self._is_ticking:
            asyncio.get_running_loop().call_later(INTERVAL_SECONDS, self._tick)
