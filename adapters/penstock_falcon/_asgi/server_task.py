"""The task that serves a request, as its streamed body sees it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol


class TrioStreamCutShort(Exception):
    """The end of a response on trio that must not end cleanly.

    An ``AsgiApplication`` catches it and returns, whereupon the server closes the connection. Under any other Falcon
    application the server does the same, and logs a traceback.
    """


class ServerTask(Protocol):
    """The part of an asyncio task that a streamed body needs."""

    def cancel(self) -> object:
        """Cancel the request, whatever it waits for."""

    def add_done_callback(self, callback: Callable[[Any], None], /) -> object:
        """Call ``callback`` when the task has ended."""

    def remove_done_callback(self, callback: Callable[[Any], None], /) -> object:
        """Forget a callback."""


task_on_trio: ContextVar[ServerTask | None] = ContextVar("task_on_trio", default=None)
"""Set while an ``AsgiApplication`` serves a request on trio. A request of any other Falcon application has none."""
