"""The client for asyncio and trio."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Self

import anyio
import httpx2

from penstock_client.async_chat import AsyncChatCalls
from penstock_client.async_scopes import hang_up, until
from penstock_client.async_streams import AsyncEventStream
from penstock_client.call_records import Attempt, Record
from penstock_client.call_results import Result, decoded
from penstock_client.client_base import (
    LARGEST_ERROR_BODY,
    NO_HEADERS,
    OutgoingRequest,
    SharedState,
    explained,
    require_size,
)
from penstock_client.endpoint_breaker import BreakerSettings
from penstock_client.errors import ClientError, LimitTimeout
from penstock_client.limits import Limits
from penstock_client.plan import Plan
from penstock_client.plan_messages import Event, HeadArrived, Raise, RequestFailed, Send, Sleep, TimePassed
from penstock_client.retry_settings import Retries
from penstock_client.retry_table import Fault
from penstock_client.stream_state import KEPT_BYTES, StreamState
from penstock_client.timeouts import Timeouts
from penstock_client.transport_faults import RequestTrace


class AsyncClient(AsyncChatCalls):
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
        attempts, arrived = await self._answered(outgoing)
        try:
            value = decoded(arrived.status, arrived.headers.get("content-type", ""), arrived.body)
        except ClientError as error:
            raise explained(error, attempts, outgoing) from None
        return Result(value, arrived.status, arrived.headers, attempts)

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
        keep_bytes: int | None = KEPT_BYTES,
    ) -> AsyncIterator[AsyncEventStream]:
        """Call an endpoint that streams; the block has its events.

        The other parameters and errors are those of ``call``. A stream is not tried again once it has begun: if it
        breaks off, the loop raises ``TruncatedStream``, and ``StreamFailed`` if the server says why.

        Parameters
        ----------
        keep_bytes:
            The bytes of the stream whose values are kept for ``partial``, the last ones; None for no limit. ``text()``
            keeps them all in any case.

        Raises
        ------
        ValueError
            If ``keep_bytes`` is below 0.
        """
        require_size("keep_bytes", keep_bytes)
        outgoing = self._outgoing(
            endpoint,
            body,
            timeout=timeout,
            idempotency_key=idempotency_key,
            idempotent=idempotent,
            method=method,
            headers={"accept": "application/x-ndjson, */*;q=0.5", "accept-encoding": "identity", **headers},
        )
        async with self._streamed(outgoing) as (response, arrived, attempts, watch):
            state = StreamState(arrived, attempts, watch, outgoing.spec, keep_bytes=keep_bytes)
            stream = AsyncEventStream(response, state)
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
        with until(command.deadline):
            try:
                response = await trace.fresh_async(await shared.http.send(request, stream=True, follow_redirects=False))
            except httpx2.TransportError as error:
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
    except httpx2.HTTPError as error:
        failed = RequestFailed(Fault.CUT, str(error), partial=bytes(body))
    finally:
        if not response.is_closed:
            await hang_up(pieces, response)
    if failed is not None and not is_error:
        return failed
    return HeadArrived(response.status_code, dict(response.headers.items()), bytes(body))
