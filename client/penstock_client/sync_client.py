"""The client for programs without an event loop."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpx2

from penstock_client.argument_checks import require_http_client, require_settings, require_size
from penstock_client.call_records import Record
from penstock_client.call_results import Result, result_of
from penstock_client.call_tracing import CallTracer
from penstock_client.client_base import (
    NO_HEADERS,
    SharedState,
    opener,
    pool_limits,
)
from penstock_client.endpoint_breaker import BreakerSettings
from penstock_client.errors import ClientError
from penstock_client.hidden_values import hidden_headers, hidden_key
from penstock_client.limits import Limits
from penstock_client.retry_settings import Retries
from penstock_client.stream_state import KEPT_BYTES, StreamState
from penstock_client.sync_jobs import JobCalls
from penstock_client.sync_streams import EventStream
from penstock_client.timeouts import Timeouts


class Client(JobCalls):
    """Calls the endpoints of one server. Threads may share it, and so may the whole program.

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
    tracer:
        Makes spans of the calls: ``penstock_client.opentelemetry.OpenTelemetryTracer()``.
    http_client:
        A client of httpx2 to send with: for a proxy, client certificates, or a test transport. It is not closed with
        this one, and a forked process refuses to use it. Or a function that returns one: each process calls it once,
        and closes what it returned.

    Raises
    ------
    TypeError
        If a setting is not of its class: ``timeouts=5`` in place of ``timeouts=Timeouts(total=5)``.
    ValueError
        If the URL has no scheme or host, or has a password or a query, or if the key cannot be sent.
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
        tracer: CallTracer | None = None,
        http_client: httpx2.Client | Callable[[], httpx2.Client] | None = None,
    ) -> None:
        require_settings(timeouts=timeouts, retries=retries, breaker=breaker, limits=limits)
        require_http_client(http_client, httpx2.Client, type(self).__name__)
        key, headers = hidden_key(key), hidden_headers(headers)  # no traceback shows them from here on
        retries = retries or Retries()
        limits = limits or Limits()
        timeouts = timeouts or Timeouts()
        self._configure(
            url, key=key, timeouts=timeouts, retries=retries, headers=headers, on_event=on_event, tracer=tracer
        )
        self._is_own = http_client is None
        self._is_given = isinstance(http_client, httpx2.Client)
        pool = pool_limits(limits)
        open_http = opener(http_client, lambda: httpx2.Client(limits=pool))
        self._shared = SharedState(open_http, threading.Semaphore, retries, breaker, limits)

    def call(
        self,
        endpoint: str,
        body: Any = None,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        idempotent: bool = False,
        method: str = "POST",
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Result[Any]:
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
            If the body cannot be written as JSON, or another argument is not of its type.
        ValueError
            If the endpoint has no path, the time-out is not above 0, the body has a number that JSON does not have, or
            a header or the idempotency key cannot be sent.
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
        return self._answered(outgoing, result_of)

    @contextlib.contextmanager
    def stream(
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
    ) -> Iterator[EventStream[Any]]:
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
        with self._streamed(outgoing) as (response, arrived, attempts, watch):
            state = StreamState(
                arrived, attempts, watch, outgoing.spec, keep_bytes=keep_bytes, on_error=outgoing.trace.failed
            )
            yield EventStream[Any](response, state)

    def health(self, *, timeout: float = 5.0) -> bool:
        """Return whether the server says that it is ready, asking once."""
        try:
            once = self.with_options(retries=Retries(max_attempts=1))
            return once.call("readyz", method="GET", timeout=timeout).status == 200
        except ClientError:
            return False

    def close(self) -> None:
        """Close the connections, of all views of this client. Calls that are running fail."""
        http = self._shared.close()
        if http is not None and not self._is_given:
            http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
