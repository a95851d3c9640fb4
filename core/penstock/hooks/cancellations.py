"""Telling the cancellation of a coroutine from its failure."""

from __future__ import annotations

import asyncio
import sys


def is_cancellation(error: BaseException) -> bool:
    """Return whether this is how asyncio, trio or Python itself ends a coroutine, so that it has to be passed on."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit | KeyboardInterrupt):
        return True
    trio = sys.modules.get("trio")  # not imported only to be asked
    return trio is not None and isinstance(error, trio.Cancelled)
