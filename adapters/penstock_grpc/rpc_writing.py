"""The end of a call: its messages, each once the client has room for it, and its status."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

from grpc.aio import AbortError, BaseError

from penstock.errors import Cancelled, PenstockError
from penstock_grpc.rpc_errors import RpcFailure

GONE: Final = "the client went away"
UNREAD: Final = "the client does not read"
# A limit that the engine applies too, with a better message, is applied here this much later.
LAST_WRITE_SECONDS: Final = 1.0


async def write(context: Any, message: bytes, call: Any) -> None:
    """Send a message, once the client has taken enough of those before it.

    Raises
    ------
    PenstockError
        If the client does not read for as long as the endpoint's ``idle``, or has gone.
    """
    loop = asyncio.get_running_loop()
    idle = call.timeouts.idle
    due = None if idle is None else loop.time() + idle + LAST_WRITE_SECONDS
    try:
        async with asyncio.timeout_at(due) as limit:
            call.on_progress = partial(_hurry, call, limit, loop)
            await context.write(message)
    except TimeoutError:
        raise _unread(call) from None
    except BaseError:
        raise Cancelled(GONE) from None
    finally:
        call.on_progress = None


def _hurry(call: Any, limit: asyncio.Timeout, loop: asyncio.AbstractEventLoop) -> None:
    """Wait little longer for a client that does not read: its job has failed."""
    if isinstance(call.outcome, PenstockError):
        soon = loop.time() + LAST_WRITE_SECONDS
        due = limit.when()
        if due is None or soon < due:
            limit.reschedule(soon)


def _unread(call: Any) -> PenstockError:
    call.cancel(UNREAD)
    outcome = call.outcome
    return outcome if isinstance(outcome, PenstockError) else Cancelled(UNREAD)


async def finish(context: Any, failure: RpcFailure, metadata: list[tuple[str, str | bytes]]) -> None:
    """End a call that failed. A client that does not read does not hold it up.

    Raises
    ------
    grpc.aio.AbortError
        Always, unless the client has gone, or does not read: by it, the library learns that the call is over.
    """
    named = {name for name, _ in failure.trailing}
    trailing = tuple(failure.trailing + [pair for pair in metadata if pair[0] not in named])
    try:
        async with asyncio.timeout(LAST_WRITE_SECONDS):
            await context.abort(failure.status, failure.message, trailing)
    except TimeoutError:
        return
    except AbortError:
        raise
    except BaseError:
        return
