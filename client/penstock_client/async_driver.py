"""Carries out the plan of a call in an event loop: asyncio's or trio's."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import TypeVar

import anyio
import httpx2

from penstock_client.answer_watch import AnswerWatch
from penstock_client.async_flights import flights
from penstock_client.async_scopes import hang_up, until
from penstock_client.call_records import Attempt
from penstock_client.client_base import (
    LARGEST_ERROR_BODY,
    UNLIMITED,
    ClientBase,
    OutgoingRequest,
    SharedState,
    explained,
)
from penstock_client.errors import ClientError, LimitTimeout
from penstock_client.plan import Plan
from penstock_client.plan_messages import Event, Give, HeadArrived, Raise, RequestFailed, Send, Sleep, TimePassed
from penstock_client.retry_table import Fault
from penstock_client.timeouts import Timeouts
from penstock_client.transport_faults import BROKEN, RequestTrace, detail_of
from penstock_client.watched_connections import fresh_async

Streamed = tuple[httpx2.Response, Mapping[str, str], tuple[Attempt, ...], AnswerWatch]
Answer = TypeVar("Answer")


class AsyncDriver(ClientBase[httpx2.AsyncClient]):
    """The part of the client that has input and output: it carries out the plan of each call."""

    _is_own: bool

    async def _answered(
        self, outgoing: OutgoingRequest, read: Callable[[tuple[Attempt, ...], HeadArrived], Answer]
    ) -> Answer:
        shared = self._state()
        plan = self._plan(outgoing, shared)
        with outgoing.trace, outgoing.ending:
            async with self._slot(outgoing, plan, shared):
                attempts, _, arrived = await self._run(outgoing, plan, shared, is_stream=False)
            try:
                return read(attempts, arrived)
            except ClientError as error:
                raise explained(error, attempts, outgoing) from None

    @contextlib.asynccontextmanager
    async def _streamed(self, outgoing: OutgoingRequest) -> AsyncIterator[Streamed]:
        shared = self._state()
        plan = self._plan(outgoing, shared)
        with outgoing.trace, outgoing.ending:
            async with self._slot(outgoing, plan, shared):
                attempts, response, arrived = await self._run(outgoing, plan, shared, is_stream=True)
                outgoing.ending.over()
                watch = AnswerWatch(outgoing.spec.timeouts, outgoing.spec.deadline, time.monotonic())
                yield response, arrived.headers, attempts, watch

    def _slot(
        self, outgoing: OutgoingRequest, plan: Plan, shared: SharedState[httpx2.AsyncClient]
    ) -> contextlib.AbstractAsyncContextManager[None]:
        return UNLIMITED if shared.slots is None else self._limited(outgoing, plan, shared)

    @contextlib.asynccontextmanager
    async def _limited(
        self, outgoing: OutgoingRequest, plan: Plan, shared: SharedState[httpx2.AsyncClient]
    ) -> AsyncIterator[None]:
        slots: anyio.Semaphore = shared.slots
        is_taken = False
        with until(outgoing.spec.deadline):
            await slots.acquire()
            is_taken = True
        if not is_taken:
            error = LimitTimeout(f"{shared.limits.max_concurrent} calls were running for the whole time of this one")
            error.retryable = True
            raise plan.fail(error, time.monotonic(), refused="deadline").error
        try:
            yield
        finally:
            slots.release()

    async def _run(
        self, outgoing: OutgoingRequest, plan: Plan, shared: SharedState[httpx2.AsyncClient], *, is_stream: bool
    ) -> tuple[tuple[Attempt, ...], httpx2.Response, HeadArrived]:
        if shared.hedge is not None and outgoing.spec.may_hedge:
            return await self._run_hedged(outgoing, plan, shared, is_stream=is_stream)
        command = plan.start(time.monotonic())
        response: httpx2.Response | None = None
        event: Event = TimePassed()
        try:
            while True:
                if isinstance(command, Send):
                    response, event = await self._send(outgoing, command, shared, is_stream=is_stream)
                elif isinstance(command, Sleep):
                    await anyio.sleep(command.seconds)
                    event = TimePassed()
                elif isinstance(command, Raise):
                    raise command.error
                else:
                    assert isinstance(command, Give)  # there is nothing to wait for: one request at a time
                    assert response is not None
                    assert isinstance(event, HeadArrived)
                    return command.attempts, response, event
                command = plan.handle(event, time.monotonic())
        except BaseException:
            plan.abandon()
            raise

    async def _run_hedged(
        self, outgoing: OutgoingRequest, plan: Plan, shared: SharedState[httpx2.AsyncClient], *, is_stream: bool
    ) -> tuple[tuple[Attempt, ...], httpx2.Response, HeadArrived]:
        send = functools.partial(self._send, outgoing, shared=shared, is_stream=is_stream)
        try:
            async with flights(send) as group:
                command = plan.start(time.monotonic())
                number = 0
                event: Event = TimePassed()
                while not isinstance(command, Give | Raise):
                    if isinstance(command, Sleep):
                        await anyio.sleep(command.seconds)
                        number, event = 0, TimePassed()
                    else:
                        if isinstance(command, Send):
                            group.start(command)
                        number, event = await group.next()
                    command = plan.handle(event, time.monotonic(), number)
                if isinstance(command, Raise):
                    raise command.error
                assert isinstance(event, HeadArrived)
                return command.attempts, group.take(number), event
        except BaseException:
            plan.abandon()
            raise

    async def _send(
        self, outgoing: OutgoingRequest, command: Send, shared: SharedState[httpx2.AsyncClient], *, is_stream: bool
    ) -> tuple[httpx2.Response | None, Event]:
        outgoing.ending.sent += 1
        with outgoing.trace.request(is_stream=is_stream) as request:
            if request.headers:
                command = replace(command, headers={**command.headers, **request.headers})
            response, event = await self._exchange(outgoing, command, shared, is_stream=is_stream)
            request.met(event)
        return response, event

    async def _exchange(
        self, outgoing: OutgoingRequest, command: Send, shared: SharedState[httpx2.AsyncClient], *, is_stream: bool
    ) -> tuple[httpx2.Response | None, Event]:
        trace = RequestTrace(is_certain=self._is_own)
        request = shared.http.build_request(
            outgoing.method,
            outgoing.url,
            content=outgoing.content or None,
            headers=self._all_headers(outgoing, command.headers),
            extensions={"trace": trace.note, "timeout": command.timeouts},
        )
        response: httpx2.Response | None = None
        failed: RequestFailed | None = None
        with until(command.deadline):
            try:
                response = await fresh_async(await shared.http.send(request, stream=True, follow_redirects=False))
            except (httpx2.TransportError, OSError) as error:
                failed = trace.failed(error, time.monotonic(), command.deadline)
        if response is None:
            return None, failed or trace.out_of_time()
        if is_stream and response.status_code < 300:
            command.timeouts["read"] = None  # a stream has limits of its own
            return response, HeadArrived(response.status_code, dict(response.headers.items()))
        return response, await _whole(response, command, outgoing.spec.timeouts)


async def _whole(response: httpx2.Response, command: Send, timeouts: Timeouts) -> Event:
    """Return the response with its body; of an error's body, as much as arrives in time."""
    is_error = response.status_code >= 300
    command.timeouts["read"] = timeouts.idle  # the transport reads it once, when the body begins
    body = bytearray()
    failed: RequestFailed | None = None
    pieces = response.aiter_bytes()
    try:
        with until(command.deadline) as scope:
            async for piece in pieces:
                body += piece
                if is_error and len(body) > LARGEST_ERROR_BODY:
                    break
        if scope.cancelled_caught:
            failed = RequestFailed(Fault.TOTAL_TIMEOUT, partial=bytes(body))
    except httpx2.TimeoutException:
        failed = RequestFailed(Fault.IDLE_TIMEOUT, partial=bytes(body))
    except BROKEN as error:
        failed = RequestFailed(Fault.CUT, detail_of(error), partial=bytes(body))
    finally:
        if not response.is_closed:
            await hang_up(pieces, response)
    if failed is not None and not is_error:
        return failed
    return HeadArrived(response.status_code, dict(response.headers.items()), bytes(body))
