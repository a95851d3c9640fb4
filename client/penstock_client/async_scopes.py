"""The ends of waits in a loop: at an instant, and by hanging up."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import AsyncIterator
from typing import Self

import anyio
import httpx2

from penstock_client.transport_faults import BROKEN


class _Unlimited:
    """A scope that nothing cancels, which costs nothing."""

    cancelled_caught = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


_UNLIMITED = _Unlimited()


def until(instant: float) -> anyio.CancelScope | _Unlimited:
    """Return a scope that is cancelled at an instant of ``time.monotonic``, whatever clock the loop has."""
    if instant == math.inf:
        return _UNLIMITED
    return anyio.CancelScope(deadline=anyio.current_time() + max(0.0, instant - time.monotonic()))


async def hang_up(pieces: AsyncIterator[bytes], response: httpx2.Response) -> None:
    """Close a response that is not read to its end.

    The transport reads it by generators within generators, and closing the outer one leaves the inner ones to the
    garbage collector, which has no loop to close them in. A cancelled read goes through all of them.
    """
    with anyio.CancelScope(shield=True):
        with anyio.CancelScope() as scope, contextlib.suppress(*BROKEN):
            scope.cancel()
            async for _ in pieces:
                pass
        await response.aclose()
