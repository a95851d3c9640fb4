"""Guards around the streams that routes of plug-ins return."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from penstock.errors import HookError, PenstockError
from penstock.hooks.cancellations import is_cancellation


class GuardedStream:
    """The stream of a route's response. If the plug-in's code fails, it raises ``HookError``.

    Parameters
    ----------
    stream:
        The plug-in's own iterator.
    failed:
        Records a failure, and returns the error for the caller that it affects.
    """

    def __init__(self, stream: AsyncIterator[bytes], failed: Callable[[BaseException], HookError]) -> None:
        self._stream = stream
        self._failed = failed

    def __aiter__(self) -> GuardedStream:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await anext(self._stream)
            if not isinstance(piece, bytes):
                raise TypeError(f"a stream yielded a {type(piece).__name__} instead of bytes")
        except (StopAsyncIteration, PenstockError):
            raise
        except BaseException as error:
            if is_cancellation(error):
                raise
            raise self._failed(error) from error
        return piece

    async def aclose(self) -> None:
        """Close the iterator, if it can be closed, as generators can."""
        close: Callable[[], Any] | None = getattr(self._stream, "aclose", None)
        if close is None:
            return
        try:
            await close()
        except BaseException as error:
            if is_cancellation(error):
                raise
            self._failed(error)
