"""The client for asyncio and trio."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Self

import anyio
import httpx2

from penstock_client.answer_watch import AnswerWatch
from penstock_client.call_records import Attempt, Record
from penstock_client.call_results import Result, decoded
from penstock_client.client_base import LARGEST_ERROR_BODY, ClientBase, OutgoingRequest, SharedState
from penstock_client.endpoint_breaker import BreakerSettings
from penstock_client.errors import ClientError, LimitTimeout
from penstock_client.limits import Limits
from penstock_client.plan import Plan
from penstock_client.plan_messages import Event, HeadArrived, Raise, RequestFailed, Send, Sleep, TimePassed
from penstock_client.retry_settings import Retries
from penstock_client.retry_table import Fault
from penstock_client.stream_state import StreamState
from penstock_client.timeouts import Timeouts
from penstock_client.transport_faults import RequestTrace

NO_HEADERS: Mapping[str, str] = {}


class AsyncEventStream:
    """The events of a stream, in their order; an ``async for`` loop reads them. Use it in an ``async with`` block.

    Leaving the block early hangs up, and the server stops the work.

    Attributes
    ----------
    partial:
        The events read so far.
    headers, request_id, attempts:
        Facts about the response and the call.
    """

    def __init__(self, response: httpx2.Response, state: StreamState) -> None:
        self._response = response
        self._state = state
        self._pieces = response.aiter_bytes()

    headers = property(lambda self: self._state.headers)
    request_id = property(lambda self: self._state.request_id)
    attempts = property(lambda self: self._state.attempts)
    partial = property(lambda self: self._state.partial)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        state = self._state
        state.watch.resume(time.monotonic())
        while True:
            with contextlib.suppress(IndexError):
                return state.pop()
            if state.is_over:
                raise StopAsyncIteration
            await self._read()

    async def text(self) -> str:
        """Return the whole stream as one text, once it has ended.

        Raises
        ------
        TypeError
            If an event is not text.
        """
        async for _ in self:
            pass
        return self._state.joined()

    async def aclose(self) -> None:
        """Hang up."""
        self._state.is_over = True
        await _hang_up(self._pieces, self._response)

    async def _read(self) -> None:
        failed: ClientError | None = None
        piece: bytes | None = None
        watch = self._state.watch
        with _until(watch.next_limit()) as scope:
            try:
                piece = await anext(self._pieces, None)
            except (httpx2.HTTPError, httpx2.StreamError) as error:
                failed = self._state.failed(error, time.monotonic())
        if scope.cancelled_caught:
            failed = self._state.timed_out(watch.of_silence(time.monotonic()))
        if failed is not None:
            raise failed
        if piece is None:
            self._state.on_end()
        else:
            self._state.on_piece(piece, time.monotonic())


class AsyncClient(ClientBase[httpx2.AsyncClient]):
    """Calls the endpoints of one server, from one event loop: asyncio's or trio's.

    Parameters
    ----------
    url:
        The server: ``http://host:port``, with a path if it is mounted on one.
    key:
        The key that is sent as a bearer token, or a callable that returns the current one.
    timeouts, retries, limits:
        See these classes.
    breaker:
        When the breaker of an endpoint opens; None for no breaker.
    headers:
        Headers of every request.
    on_event:
        Called with a frozen record for each retry, and at the end of each call.
    http_client:
        A client of httpx2 to send with: for a proxy, client certificates, or a test transport. It is not closed with
        this one, and must not be used in a forked process.

    Raises
    ------
    ValueError
        If the URL has no scheme or host, or has a password, or if the key cannot be sent.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | Callable[[], str] | None = None,
        timeouts: Timeouts | None = None,
        retries: Retries | None = None,
        breaker: BreakerSettings | None = BreakerSettings(),  # noqa: B008 - frozen
        limits: Limits | None = None,
        headers: Mapping[str, str] | None = None,
        on_event: Callable[[Record], None] | None = None,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        retries = retries or Retries()
        limits = limits or Limits()
        self._configure(
            url, key=key, timeouts=timeouts or Timeouts(), retries=retries, headers=headers, on_event=on_event
        )
        self._is_own = http_client is None
        pool = httpx2.Limits(
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.keepalive,
            keepalive_expiry=limits.keepalive_expiry,
        )
        self._shared = SharedState(
            lambda: http_client or httpx2.AsyncClient(limits=pool), anyio.Semaphore, retries, breaker, limits
        )

    async def call(
        self,
        endpoint: str,
        body: Any = None,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        idempotent: bool = False,
        method: str = "POST",
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Result:
        """Call an endpoint and return its whole answer.

        Parameters
        ----------
        endpoint:
            Its path: ``"classify"``, or ``"/v1/items?limit=5"``.
        body:
            Sent as JSON; ``bytes`` as they are, and None as no body.
        timeout:
            Seconds for the whole call, instead of ``Timeouts.total``.
        idempotency_key:
            Sent as ``Idempotency-Key``: the server does the work once, so the call may be tried again after any loss.
        idempotent:
            True if the work may run twice. Always so for GET, HEAD, PUT, DELETE and OPTIONS.
        method, headers:
            Parts of the request.

        Raises
        ------
        ClientError
            If there is no answer, or it is an error.
        TypeError
            If the body cannot be written as JSON.
        ValueError
            If the time-out is not above 0, or a header or the idempotency key cannot be sent.
        """
        outgoing = self._outgoing(
            endpoint,
            body,
            timeout=timeout,
            idempotency_key=idempotency_key,
            idempotent=idempotent,
            method=method,
            headers=headers,
        )
        shared = self._state()
        plan = self._plan(outgoing, shared)
        async with self._slot(outgoing, plan, shared):
            attempts, response, arrived = await self._run(outgoing, plan, shared, is_stream=False)
        try:
            value = decoded(arrived.status, arrived.headers.get("content-type", ""), arrived.body)
        except ClientError as error:
            error.attempts, error.request_id = attempts, outgoing.spec.request_id
            error.retryable = outgoing.spec.is_idempotent
            raise
        return Result(value, response.status_code, arrived.headers, attempts)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        endpoint: str,
        body: Any = None,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        idempotent: bool = False,
        method: str = "POST",
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> AsyncIterator[AsyncEventStream]:
        """Call an endpoint that streams; the block has its events. The parameters and errors are those of ``call``.

        A stream is not tried again once it has begun: if it breaks off, the loop raises ``TruncatedStream``, and
        ``StreamFailed`` if the server says why.
        """
        outgoing = self._outgoing(
            endpoint,
            body,
            timeout=timeout,
            idempotency_key=idempotency_key,
            idempotent=idempotent,
            method=method,
            headers={"accept": "application/x-ndjson, */*;q=0.5", "accept-encoding": "identity", **headers},
        )
        shared = self._state()
        plan = self._plan(outgoing, shared)
        async with self._slot(outgoing, plan, shared):
            attempts, response, arrived = await self._run(outgoing, plan, shared, is_stream=True)
            watch = AnswerWatch(outgoing.spec.timeouts, outgoing.spec.deadline, time.monotonic())
            stream = AsyncEventStream(response, StreamState(arrived.headers, attempts, watch, outgoing.spec))
            try:
                yield stream
            finally:
                await stream.aclose()

    async def health(self, *, timeout: float = 5.0) -> bool:
        """Return whether the server says that it is ready, asking once."""
        try:
            once = self.with_options(retries=Retries(max_attempts=1))
            return (await once.call("readyz", method="GET", timeout=timeout)).status == 200
        except ClientError:
            return False

    async def aclose(self) -> None:
        """Close the connections, of all views of this client. Calls that are running fail."""
        if not self._shared.is_closed:
            self._shared.is_closed = True
            if self._is_own:
                await self._shared.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # ---- the driver of the plan

    @contextlib.asynccontextmanager
    async def _slot(
        self, outgoing: OutgoingRequest, plan: Plan, shared: SharedState[httpx2.AsyncClient]
    ) -> AsyncIterator[None]:
        slots: anyio.Semaphore | None = shared.slots
        if slots is None:
            yield
            return
        is_taken = False
        with _until(outgoing.spec.deadline):
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
                    assert response is not None
                    assert isinstance(event, HeadArrived)
                    return command.attempts, response, event
                command = plan.handle(event, time.monotonic())
        except BaseException:
            plan.abandon()
            raise

    async def _send(
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
        with _until(command.deadline):
            try:
                response = await shared.http.send(request, stream=True, follow_redirects=False)
            except httpx2.TransportError as error:
                failed = trace.failed(error, time.monotonic(), command.deadline)
        if response is None:
            return None, failed or trace.out_of_time()
        if is_stream and response.status_code < 300:
            command.timeouts["read"] = None  # a stream has limits of its own
            return response, HeadArrived(response.status_code, dict(response.headers))
        return response, await _whole(response, command, outgoing.spec.timeouts)


class _Unlimited:
    """A scope that nothing cancels, which costs nothing."""

    cancelled_caught = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


_UNLIMITED = _Unlimited()


def _until(instant: float) -> anyio.CancelScope | _Unlimited:
    """Return a scope that is cancelled at an instant of ``time.monotonic``, whatever clock the loop has."""
    if instant == math.inf:
        return _UNLIMITED
    return anyio.CancelScope(deadline=anyio.current_time() + max(0.0, instant - time.monotonic()))


async def _hang_up(pieces: AsyncIterator[bytes], response: httpx2.Response) -> None:
    """Close a response that is not read to its end.

    The transport reads it by generators within generators, and closing the outer one leaves the inner ones to the
    garbage collector, which has no loop to close them in. A cancelled read goes through all of them.
    """
    with anyio.CancelScope(shield=True):
        with anyio.CancelScope() as scope, contextlib.suppress(httpx2.HTTPError, httpx2.StreamError):
            scope.cancel()
            async for _ in pieces:
                pass
        await response.aclose()


async def _whole(response: httpx2.Response, command: Send, timeouts: Timeouts) -> Event:
    """Return the response with its body; of an error's body, as much as arrives in time."""
    is_error = response.status_code >= 300
    command.timeouts["read"] = timeouts.idle  # the transport reads it once, when the body begins
    body = bytearray()
    failed: RequestFailed | None = None
    pieces = response.aiter_bytes()
    try:
        with _until(command.deadline) as scope:
            async for piece in pieces:
                body += piece
                if is_error and len(body) > LARGEST_ERROR_BODY:
                    break
        if scope.cancelled_caught:
            failed = RequestFailed(Fault.TOTAL_TIMEOUT, partial=bytes(body))
    except httpx2.TimeoutException:
        failed = RequestFailed(Fault.IDLE_TIMEOUT, partial=bytes(body))
    except httpx2.HTTPError as error:
        failed = RequestFailed(Fault.CUT, str(error), partial=bytes(body))
    finally:
        if not response.is_closed:
            await _hang_up(pieces, response)
    if failed is not None and not is_error:
        return failed
    return HeadArrived(response.status_code, dict(response.headers), bytes(body))
