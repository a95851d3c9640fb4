"""Carries out the plan of a call without an event loop."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

import httpx2

from penstock_client.answer_watch import AnswerWatch
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
from penstock_client.watched_connections import ReadDeadline, fresh

Streamed = tuple[httpx2.Response, Mapping[str, str], tuple[Attempt, ...], AnswerWatch]
Answer = TypeVar("Answer")


class Driver(ClientBase[httpx2.Client]):
    """The part of the client that has input and output: it carries out the plan of each call."""

    _is_own: bool

    def _answered(
        self, outgoing: OutgoingRequest, read: Callable[[tuple[Attempt, ...], HeadArrived], Answer]
    ) -> Answer:
        shared = self._state()
        plan = self._plan(outgoing, shared)
        with outgoing.trace, outgoing.ending:
            with self._slot(outgoing, plan, shared):
                attempts, _, arrived = self._run(outgoing, plan, shared, is_stream=False)
            try:
                return read(attempts, arrived)
            except ClientError as error:
                raise explained(error, attempts, outgoing) from None

    @contextlib.contextmanager
    def _streamed(self, outgoing: OutgoingRequest) -> Iterator[Streamed]:
        shared = self._state()
        plan = self._plan(outgoing, shared)
        with outgoing.trace, outgoing.ending, self._slot(outgoing, plan, shared):
            attempts, response, arrived = self._run(outgoing, plan, shared, is_stream=True)
            outgoing.ending.over()
            watch = AnswerWatch(outgoing.spec.timeouts, outgoing.spec.deadline, time.monotonic())
            try:
                yield response, arrived.headers, attempts, watch
            finally:
                response.close()

    def _slot(
        self, outgoing: OutgoingRequest, plan: Plan, shared: SharedState[httpx2.Client]
    ) -> contextlib.AbstractContextManager[None]:
        return UNLIMITED if shared.slots is None else self._limited(outgoing, plan, shared)

    @contextlib.contextmanager
    def _limited(self, outgoing: OutgoingRequest, plan: Plan, shared: SharedState[httpx2.Client]) -> Iterator[None]:
        slots: threading.Semaphore = shared.slots
        left = outgoing.spec.deadline - time.monotonic()
        if not slots.acquire(timeout=None if left == math.inf else max(0.0, left)):
            error = LimitTimeout(f"{shared.limits.max_concurrent} calls were running for the whole time of this one")
            error.retryable = True
            raise plan.fail(error, time.monotonic(), refused="deadline").error
        try:
            yield
        finally:
            slots.release()

    def _run(
        self, outgoing: OutgoingRequest, plan: Plan, shared: SharedState[httpx2.Client], *, is_stream: bool
    ) -> tuple[tuple[Attempt, ...], httpx2.Response, HeadArrived]:
        command = plan.start(time.monotonic())
        response: httpx2.Response | None = None
        event: Event = TimePassed()
        try:
            while True:
                if isinstance(command, Send):
                    response, event = self._send(outgoing, command, shared, is_stream=is_stream)
                elif isinstance(command, Sleep):
                    time.sleep(command.seconds)
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

    def _send(
        self, outgoing: OutgoingRequest, command: Send, shared: SharedState[httpx2.Client], *, is_stream: bool
    ) -> tuple[httpx2.Response | None, Event]:
        outgoing.ending.sent += 1
        with outgoing.trace.request(is_stream=is_stream) as request:
            if request.headers:
                command = replace(command, headers={**command.headers, **request.headers})
            response, event = self._exchange(outgoing, command, shared, is_stream=is_stream)
            request.met(event)
        return response, event

    def _exchange(
        self, outgoing: OutgoingRequest, command: Send, shared: SharedState[httpx2.Client], *, is_stream: bool
    ) -> tuple[httpx2.Response | None, Event]:
        trace = RequestTrace(is_certain=self._is_own)
        request = shared.http.build_request(
            outgoing.method,
            outgoing.url,
            content=outgoing.content or None,
            headers=self._all_headers(outgoing, command.headers),
            extensions={"trace": trace, "timeout": command.timeouts},
        )
        try:
            with ReadDeadline(command.deadline):
                response = fresh(shared.http.send(request, stream=True, follow_redirects=False))
        except (httpx2.TransportError, OSError) as error:
            return None, trace.failed(error, time.monotonic(), command.deadline)
        if is_stream and response.status_code < 300:
            watch = AnswerWatch(outgoing.spec.timeouts, command.deadline, time.monotonic())
            _set_read_timeout(command, watch)
            return response, HeadArrived(response.status_code, dict(response.headers.items()))
        return response, _whole(response, command, outgoing.spec.timeouts)


def _set_read_timeout(command: Send, watch: AnswerWatch) -> None:
    # The transport reads it once, when the body begins.
    limit = watch.next_limit()
    command.timeouts["read"] = None if limit == math.inf else max(0.001, limit - time.monotonic())


def _whole(response: httpx2.Response, command: Send, timeouts: Timeouts) -> Event:
    """Return the response with its body; of an error's body, as much as arrives in time."""
    is_error = response.status_code >= 300
    watch = AnswerWatch(timeouts, command.deadline, time.monotonic())
    _set_read_timeout(command, watch)
    body = bytearray()
    failed: RequestFailed | None = None
    try:
        with ReadDeadline(command.deadline):
            for piece in response.iter_bytes():
                body += piece
                now = time.monotonic()
                watch.on_piece(now, has_event=True)
                fault = watch.passed(now)
                if fault is not None:
                    failed = RequestFailed(fault, partial=bytes(body))
                    break
                if is_error and len(body) > LARGEST_ERROR_BODY:
                    break
    except httpx2.TimeoutException:
        failed = RequestFailed(watch.of_silence(time.monotonic()), partial=bytes(body))
    except BROKEN as error:
        failed = RequestFailed(Fault.CUT, detail_of(error), partial=bytes(body))
    finally:
        response.close()
    if failed is not None and not is_error:
        return failed
    return HeadArrived(response.status_code, dict(response.headers.items()), bytes(body))
