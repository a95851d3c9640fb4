"""The requests of one call that are on their way at the same time."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import anyio.abc
import httpx2

from penstock_client.async_scopes import until
from penstock_client.plan_messages import Event, HedgeDue, Send

Sender = Callable[[Send], Awaitable[tuple[httpx2.Response | None, Event]]]


class Flights:
    """Requests in tasks, each of which ends with an event.

    Parameters
    ----------
    tasks:
        Where they run.
    send:
        Sends one request.
    """

    def __init__(self, tasks: anyio.abc.TaskGroup, send: Sender) -> None:
        self._tasks = tasks
        self._send = send
        self._hedge_at = math.inf
        self._ended: deque[int] = deque()
        self._outcomes: dict[int, tuple[httpx2.Response | None, Event] | Exception] = {}
        self._has_ended = anyio.Event()

    def start(self, command: Send) -> None:
        """Send a request."""
        self._hedge_at = command.hedge_at
        self._tasks.start_soon(self._fly, command)

    async def next(self) -> tuple[int, Event]:
        """Return the number of the request that ended, with its event; or ``HedgeDue``, once."""
        if not self._ended:
            with until(self._hedge_at):
                await self._has_ended.wait()
        if not self._ended:
            self._hedge_at = math.inf
            return 0, HedgeDue()
        self._has_ended = anyio.Event()
        number = self._ended.popleft()
        outcome = self._outcomes[number]
        if isinstance(outcome, Exception):
            raise outcome
        return number, outcome[1]

    def take(self, number: int) -> httpx2.Response:
        """Return the response of a request; it is not closed with the others."""
        outcome = self._outcomes.pop(number)
        assert isinstance(outcome, tuple)
        assert outcome[0] is not None
        return outcome[0]

    async def aclose(self) -> None:
        """Hang up on all responses that were not taken."""
        with anyio.CancelScope(shield=True):
            for outcome in self._outcomes.values():
                if isinstance(outcome, tuple) and outcome[0] is not None:
                    await outcome[0].aclose()

    async def _fly(self, command: Send) -> None:
        try:
            self._outcomes[command.number] = await self._send(command)
        except Exception as error:  # it belongs to the call, not to the group of tasks
            self._outcomes[command.number] = error
        self._ended.append(command.number)
        self._has_ended.set()


@contextlib.asynccontextmanager
async def flights(send: Sender) -> AsyncIterator[Flights]:
    """Open a group of requests, and hang up at the end on all but the one whose response was taken.

    What the block raises comes out as it is, and not in an ``ExceptionGroup``.
    """
    failed: Exception | None = None
    tasks = anyio.create_task_group()
    group = Flights(tasks, send)
    try:
        async with tasks:
            try:
                yield group
            except Exception as error:
                failed = error
            finally:
                tasks.cancel_scope.cancel()
    finally:
        await group.aclose()  # when no task is left that could add one
    if failed is not None:
        raise failed
