"""The common part of both clients: their settings, the state that calls share, and the way from a call to a plan."""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import math
import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Generic, NoReturn, Protocol, Self, TypeVar

import httpx2

from penstock_client.argument_checks import (
    can_be_sent,
    refuse,
    require_endpoint,
    require_method,
    require_seconds,
    require_settings,
    sendable,
    server_url,
    without_password,
)
from penstock_client.call_ending import CallEnding
from penstock_client.call_records import Attempt, CallRecord, HedgeRecord, Record, RetryRecord
from penstock_client.call_results import encoded
from penstock_client.call_tracing import UNTRACED, CallSpan, CallTracer
from penstock_client.chat_requests import chat_path
from penstock_client.endpoint_breaker import Breaker, BreakerSettings
from penstock_client.errors import ClientError
from penstock_client.hedging import Hedge, Hedging
from penstock_client.hidden_values import HiddenHeaders, HiddenKey, hidden_headers, hidden_key
from penstock_client.job_messages import JOBS, JobRequest
from penstock_client.limits import Limits, RateBucket
from penstock_client.plan import Plan
from penstock_client.plan_messages import CallSpec
from penstock_client.retry_settings import Retries, RetryBudget
from penstock_client.server_schema import SCHEMA_HEADER, KnownSchema, SchemaDigests
from penstock_client.timeouts import Timeouts

LOGGER: Final = logging.getLogger("penstock.client")
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
IDEMPOTENT_METHODS: Final = SAFE_METHODS | {"PUT", "DELETE"}
LARGEST_ERROR_BODY: Final = 64 * 1024
MOST_ENDPOINTS: Final = 1000
MOST_URLS: Final = 256
UNLIMITED: Final = contextlib.nullcontext()
NO_HEADERS: Final[Mapping[str, str]] = {}
PASSED_ON: Final = ("traceparent", "tracestate", "baggage")

Http = TypeVar("Http", httpx2.Client, httpx2.AsyncClient)

_deadlines: ContextVar[Mapping[int, float]] = ContextVar("penstock_client_deadlines", default={})  # noqa: B039 - never changed


class JobContext(Protocol):
    """The part of a handler's ``penstock.Context`` that ``from_context`` needs."""

    deadline: float

    def headers_for_downstream(self) -> Mapping[str, str]:
        """Return the headers that belong to the job."""


@dataclass(frozen=True)
class OutgoingRequest:
    """A request as it is sent, but for the headers of the plan and the key."""

    method: str
    url: httpx2.URL
    content: bytes = field(repr=False)
    headers: Mapping[str, str]
    spec: CallSpec
    ending: CallEnding
    trace: CallSpan = UNTRACED


@dataclass(frozen=True)
class EndpointState:
    """The experience with one endpoint, that all calls share."""

    breaker: Breaker | None
    hedging: Hedging | None


@dataclass
class SharedState(Generic[Http]):
    """The state that all views of a client share: the connections, the budget, the breakers and the rate.

    A forked process must not use its parent's connections, nor its locks, which another thread may have held: each
    process has a state of its own. The parent's is kept untouched, so that nothing closes its connections.
    """

    make_http: Callable[[], Http]
    make_slots: Callable[[int], Any]
    retries: Retries
    breaker: BreakerSettings | None
    limits: Limits
    hedge: Hedge | None = None
    http: Http = field(init=False)
    budget: RetryBudget = field(init=False)
    rate: RateBucket | None = field(init=False)
    endpoints: dict[str, EndpointState] = field(init=False)
    lock: threading.Lock = field(init=False)
    slots: Any = field(init=False)
    pid: int = field(init=False, default_factory=os.getpid)
    heirs: dict[int, SharedState[Http]] = field(init=False, default_factory=dict)  # by process
    is_closed: bool = False
    schema: KnownSchema = field(init=False, default_factory=KnownSchema)

    def __post_init__(self) -> None:
        self.http = self.make_http()
        self.budget = RetryBudget(self.retries, time.monotonic())
        self.rate = None if self.limits.rate is None else RateBucket(self.limits.rate, self.limits.burst)
        self.endpoints = {}
        self.lock = threading.Lock()
        most = self.limits.max_concurrent
        self.slots = None if most is None else self.make_slots(most)

    def of_this_process(self) -> SharedState[Http]:
        """Return this state, or its heir in a forked process.

        Raises
        ------
        RuntimeError
            If the process is forked, and the connections are those of a client of httpx2.
        """
        pid = os.getpid()
        if pid == self.pid:
            return self
        # Without a lock: one of several threads wins, and the states of the others have no connections yet.
        return self.heirs.get(pid) or self.heirs.setdefault(pid, replace(self))

    def close(self) -> Http | None:
        """Close the state in this process; return its connections, unless there are none to close."""
        if self.is_closed:
            return None
        self.is_closed = True
        pid = os.getpid()
        mine = self if pid == self.pid else self.heirs.get(pid)
        return None if mine is None else mine.http

    def endpoint(self, name: str) -> EndpointState:
        """Return the state of an endpoint."""
        found = self.endpoints.get(name)
        if found is None:
            state = EndpointState(
                None if self.breaker is None else Breaker(self.breaker),
                None if self.hedge is None else Hedging(self.hedge),
            )
            with self.lock:
                if len(self.endpoints) >= MOST_ENDPOINTS:  # the oldest goes: paths with an id in them have no end
                    del self.endpoints[next(iter(self.endpoints))]
                found = self.endpoints.setdefault(name, state)
        return found


class ClientBase(Generic[Http]):
    """The settings of a client, and the calls that follow from them. The drivers add the input and output."""

    _shared: SharedState[Http]
    _name = "(not ready)"
    _expected: ClassVar[SchemaDigests | None] = None

    def __init_subclass__(cls, *, schema: SchemaDigests | None = None, **options: Any) -> None:
        """Take the schema from which a typed client was generated."""
        super().__init_subclass__(**options)
        if schema is not None:
            cls._expected = schema

    def _configure(
        self,
        url: str,
        *,
        key: HiddenKey | None,
        timeouts: Timeouts,
        retries: Retries,
        headers: HiddenHeaders,
        on_event: Callable[[Record], None] | None,
        tracer: CallTracer | None,
    ) -> None:
        parsed = server_url(url)
        self._name = without_password(parsed)
        if key is not None:
            key.check()
        if on_event is not None and not callable(on_event):
            raise TypeError(f"on_event={on_event!r} is not a function; pass one that takes a record")
        self._url = url.rstrip("/")
        self._key = key
        self._timeouts = timeouts
        self._retries = retries
        self._headers = sendable(headers)
        self._on_event = on_event
        self._tracer = tracer
        self._deadline = math.inf
        self._request_id = ""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}>"

    def __copy__(self) -> Self:
        view = object.__new__(type(self))
        vars(view).update(vars(self))
        return view

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be pickled: its connections and its key belong to one process; make one in each process"
        )

    def with_options(
        self,
        *,
        key: str | Callable[[], str] | None = None,
        timeouts: Timeouts | None = None,
        retries: Retries | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """Return a client with other settings that shares this one's connections, budget, breakers and limits.

        Parameters
        ----------
        key, timeouts, retries:
            Replace those of this client. The budget of the retries stays that of the first client.
        headers:
            Headers of every request, added to those of this client.
        """
        require_settings(timeouts=timeouts, retries=retries)
        key, headers = hidden_key(key), hidden_headers(headers)
        view = copy.copy(self)
        if key is not None:
            key.check()
            view._key = key
        view._timeouts = timeouts or self._timeouts
        view._retries = retries or self._retries
        view._headers = HiddenHeaders({**self._headers, **sendable(headers)})
        return view

    def from_context(self, context: JobContext) -> Self:
        """Return a client for one job of a Penstock handler: it takes over the deadline, the request id and the trace.

        Parameters
        ----------
        context:
            The ``Context`` of the handler. If its job is no longer wanted, this raises ``Cancelled`` of Penstock.
        """
        passed = {name.lower(): value for name, value in context.headers_for_downstream().items()}
        view = self.with_options(headers={name: passed[name] for name in PASSED_ON if name in passed})
        view._deadline = min(self._deadline, context.deadline)
        view._request_id = passed.get("x-request-id", "")
        return view

    @contextlib.contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """Bound all calls of this client in the block, together: they end within ``seconds`` from now."""
        require_seconds("deadline", seconds)
        known = _deadlines.get()
        mine = id(self._shared)
        instant = min(time.monotonic() + seconds, known.get(mine, math.inf))
        token = _deadlines.set({**known, mine: instant})
        try:
            yield
        finally:
            _deadlines.reset(token)

    # ---- for the drivers

    def _state(self) -> SharedState[Http]:
        shared = self._shared
        if shared.is_closed:
            raise RuntimeError(f"{self!r} is closed; call it before close(), or inside its with block")
        return shared.of_this_process()

    def _outgoing(
        self,
        endpoint: str,
        body: Any,
        *,
        timeout: float | None,
        idempotency_key: str | None,
        idempotent: bool,
        method: str,
        headers: Mapping[str, str],
        name: str = "",
        sends_deadline: bool = True,
    ) -> OutgoingRequest:
        require_endpoint(endpoint)
        require_method(method)
        if timeout is not None:
            require_seconds("timeout", timeout)
        content, media_type = encoded(body)
        sent = HiddenHeaders({"content-type": media_type} if media_type else {})
        sent |= self._headers
        if headers:
            sent |= sendable(headers)
        policy = {}
        if idempotency_key is not None:
            if not can_be_sent(idempotency_key):
                refuse("idempotency_key", type(idempotency_key))
            policy["idempotency-key"] = idempotency_key
        now = time.monotonic()
        total = self._timeouts.total if timeout is None else timeout
        known = _deadlines.get()
        spec = CallSpec(
            # A query is not for logs, and has no breaker of its own.
            endpoint=name or endpoint.partition("?")[0].strip("/"),
            request_id=self._request_id or secrets.token_hex(16),
            timeouts=self._timeouts,
            deadline=min(
                now + total if total is not None else math.inf, self._deadline, known.get(id(self._shared), math.inf)
            ),
            is_idempotent=idempotent or idempotency_key is not None or method in IDEMPOTENT_METHODS,
            may_hedge=idempotent or method in SAFE_METHODS,
            has_new_keys=self._key is not None and self._key.is_renewed,
            sends_deadline=sends_deadline,
            headers=policy,
        )
        url = f"{self._url}/{endpoint.lstrip('/')}"
        ending = CallEnding(spec.endpoint, spec.request_id, self._notify)
        return OutgoingRequest(
            method, parsed_url(url), content, sent, spec, ending, self._trace(method, url, spec, sent)
        )

    def _trace(self, method: str, url: str, spec: CallSpec, headers: Mapping[str, str]) -> CallSpan:
        if self._tracer is None:
            return UNTRACED
        return self._tracer.call(
            method=method, url=url, endpoint=spec.endpoint, request_id=spec.request_id, headers=headers
        )

    def _job_request(self, request: JobRequest, timeout: float | None, *, idempotent: bool = True) -> OutgoingRequest:
        # Their time-out is not that of the work, and they share one breaker, not one for each job.
        return self._outgoing(
            request.path,
            request.body,
            timeout=timeout,
            idempotency_key=None,
            idempotent=idempotent,
            method=request.method,
            headers=request.headers,
            name=JOBS,
            sends_deadline=False,
        )

    def _chat_request(self, body: Mapping[str, Any], path: str | None, **options: Any) -> OutgoingRequest:
        return self._outgoing(path or chat_path(httpx2.URL(self._url).path), body, method="POST", **options)

    def _plan(self, outgoing: OutgoingRequest, shared: SharedState[Http]) -> Plan:
        endpoint = shared.endpoint(outgoing.spec.endpoint)
        return Plan(
            outgoing.spec,
            self._retries,
            budget=shared.budget,
            rand=random.random,
            breaker=endpoint.breaker,
            rate=shared.rate,
            hedging=endpoint.hedging if outgoing.spec.may_hedge else None,
            notify=outgoing.ending,
        )

    def _all_headers(self, outgoing: OutgoingRequest, planned: Mapping[str, str]) -> dict[str, str]:
        schema = {} if self._expected is None else {SCHEMA_HEADER: self._expected.digest}
        if self._key is None:
            return {**outgoing.headers, **planned, **schema}
        return {**outgoing.headers, **planned, **schema, "authorization": f"Bearer {self._key()}"}

    def _notify(self, record: Record) -> None:
        if isinstance(record, RetryRecord):
            LOGGER.info(
                "%s is tried again in %.3f s: request %d met %s [request_id=%s]",
                record.endpoint,
                record.delay,
                record.attempt,
                record.reason,
                record.request_id,
            )
        elif isinstance(record, HedgeRecord):
            LOGGER.info(
                "%s is sent a second time: request %d has had no answer for %.3f s [request_id=%s]",
                record.endpoint,
                record.attempt,
                record.seconds,
                record.request_id,
            )
        elif record.code:
            _log_failure(record)
        if self._on_event is not None:
            try:
                self._on_event(record)
            except Exception:
                LOGGER.exception("on_event has raised an exception; the call goes on")


def deadline_after(timeout: float | None) -> float:
    """Return the instant at which a time-out passes; infinite if there is none."""
    if timeout is None:
        return math.inf
    require_seconds("timeout", timeout)
    return time.monotonic() + timeout


def opener(http_client: Http | Callable[[], Http] | None, make_own: Callable[[], Http]) -> Callable[[], Http]:
    """Return the function that opens the connections of a process; it raises if they are those of another one."""
    if http_client is None:
        return make_own
    if not isinstance(http_client, httpx2.Client | httpx2.AsyncClient):
        return http_client
    pid = os.getpid()

    def open_given() -> Http:
        if os.getpid() != pid:
            raise RuntimeError(
                f"the connections of http_client= belong to process {pid}, and this is a fork of it; "
                "give http_client= a function that returns a client of httpx2, which each process calls for itself"
            )
        return http_client

    return open_given


@functools.lru_cache(maxsize=MOST_URLS)
def parsed_url(url: str) -> httpx2.URL:
    """Return a URL as httpx2 wants it. Most calls have one of a few, and to parse it is a twentieth of their cost."""
    return httpx2.URL(url)


def explained(error: ClientError, attempts: tuple[Attempt, ...], outgoing: OutgoingRequest) -> ClientError:
    """Return the error of an answer that cannot be used, with the facts about its call."""
    error.attempts = attempts
    error.request_id = error.request_id or outgoing.spec.request_id
    error.retryable = outgoing.spec.is_idempotent
    return error


def pool_limits(limits: Limits) -> httpx2.Limits:
    """Return the limits on connections as httpx2 has them."""
    return httpx2.Limits(
        max_connections=limits.max_connections,
        max_keepalive_connections=limits.keepalive,
        keepalive_expiry=limits.keepalive_expiry,
    )


def _log_failure(record: CallRecord) -> None:
    LOGGER.debug(
        "%s failed after %.3f s and %d requests: %s [request_id=%s]",
        record.endpoint,
        record.seconds,
        record.attempts,
        record.code,
        record.request_id,
    )
