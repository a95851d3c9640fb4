"""The operations of dialects: a request is read in a dialect's terms, becomes a job like any other, and is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from time import monotonic
from typing import Any

from penstock import Endpoint
from penstock.errors import NotFound, PenstockError, UnsupportedMediaType
from penstock.hooks import (
    CancelRequest,
    Dialect,
    DialectRequest,
    Framing,
    Operation,
    Payload,
    Route,
    RouteResponse,
)
from penstock.hosting import (
    SMALL_BODY_BYTES,
    Body,
    BodyFile,
    DataFraming,
    Encoded,
    RawFraming,
    door_of,
    public_error,
)
from penstock_falcon.cancellable_calls import CallKey
from penstock_falcon.exchange import EndpointResource, Exchange, Resource
from penstock_falcon.hangups import AnyCall, WatchedCall
from penstock_falcon.joint_calls import JointResult
from penstock_falcon.problems import ErrorWriter, guarded_writer
from penstock_falcon.request_checks import AnyBudget, RequestChecks, cut_short, too_large
from penstock_falcon.request_decoding import content_coding
from penstock_falcon.responses import NO_JOB_TIMING, STREAM_HEADERS, HttpResponse, common_headers, server_timing
from penstock_falcon.service import Service
from penstock_falcon.transport import Transport
from penstock_falcon.whole_answers import HeldReports, ReportedCall, WholeAnswer

FIRST_ERROR_STATUS = 400
PREFERENCE_APPLIED = "preference-applied"
"""The header of the answer to a request that has become a background job, as its sender prefers (RFC 7240)."""


class DialectExchange(Exchange):
    """An exchange in a dialect.

    Attributes
    ----------
    payload:
        The request in the endpoint's terms; None until it has been read, and if it needs no job.
    direct:
        The response to a request that needs no job.
    reports:
        The progress reports of its job, if the client wants them.
    forget:
        Removes its call from those that other requests can cancel; None if it is not among them.
    """

    takes_files = False  # a dialect writes results itself

    __slots__ = ("direct", "forget", "payload", "reports")

    def __init__(self, endpoint: Endpoint | Route, **facts: Any) -> None:
        super().__init__(endpoint, **facts)
        self.payload: Payload | None = None
        self.direct: RouteResponse | None = None
        self.reports: HeldReports | None = None
        self.forget: Callable[[], None] | None = None

    def end(self) -> None:
        """Leave nothing behind of a call that has been answered."""
        if self.forget is not None:
            self.forget()
            self.forget = None

    def record_stream(self, service: Service[Any], call: AnyCall, status: int) -> None:
        """See the base class. This is the end of a streamed response."""
        self.end()
        super().record_stream(service, call, status)


class PassingExchange(DialectExchange):
    """An exchange in a dialect that passes the bodies of results on as they are."""

    takes_files = True

    __slots__ = ()


class DialectEndpoint(EndpointResource):
    """An endpoint as one dialect serves it: outcomes become responses in the dialect's terms.

    Parameters
    ----------
    service, transport, endpoint:
        As for any endpoint.
    dialect:
        The dialect.
    """

    def __init__(self, service: Service[Any], transport: Transport, endpoint: Endpoint, dialect: Dialect) -> None:
        super().__init__(service, transport, endpoint)
        self._compresses = self._compresses and dialect.is_compressed
        self._dialect = dialect
        self.write_error = error_writer(dialect)

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint."""
        return self._endpoint

    @property
    def is_blocking(self) -> bool:
        """True if one of its policies blocks."""
        return bool(self._blocking_steps)

    def ask(self, exchange: Exchange) -> None:
        """Have the policies decide, none of which blocks."""
        if self._ask is not None:
            self._ask(exchange)

    def submit_payload(
        self, engine: Any, exchange: DialectExchange, body: Body, headers: Callable[[], dict[str, str]]
    ) -> AnyCall:
        """Submit the job that the exchange's payload asks for, with this input; or those of its parts."""
        payload = _payload_of(exchange)
        payload.apply_to(exchange)
        seen = headers() if self._wants_headers else None
        if not payload.parts:
            return self._submit_one(engine, exchange, body, seen)
        for part in payload.parts:
            self._checks.check_body(part, None, exchange.input_form)
        if exchange.timeouts.total is not None:
            exchange.elapsed = monotonic() - exchange.began
        return self._service.submit_parts(engine, exchange, payload.parts, seen, is_streamed=bool(payload.is_streamed))

    def _submit_one(
        self, engine: Any, exchange: DialectExchange, body: Body, headers: dict[str, str] | None
    ) -> AnyCall:
        payload = _payload_of(exchange)
        box = exchange.reports = HeldReports() if payload.wants_reports else None
        call = self._submit_body(engine, exchange, body, None, headers, on_report=None if box is None else box.add)
        if box is not None:
            box.call = call
        if payload.cancel_key is not None:
            key = call_key(self._dialect, exchange, payload.cancel_key)
            exchange.forget = self._service.cancellable.add(key, call)
        return call

    async def _answer(self, call: AnyCall, exchange: Exchange, req: Any) -> HttpResponse:
        assert isinstance(exchange, DialectExchange), "only an operation makes the exchanges of a dialect"
        response = None
        try:
            response = await super()._answer(call, exchange, req)
        finally:
            if response is None or response.stream is None:  # a stream ends later
                exchange.end()
        return response

    async def _first_response(self, watched: WatchedCall, exchange: Exchange) -> HttpResponse | None:
        assert isinstance(exchange, DialectExchange), "only an operation makes the exchanges of a dialect"
        box = exchange.reports
        if box is None:
            return await super()._first_response(watched, exchange)
        answer = WholeAnswer(watched)
        while not answer.gather():
            if box:
                return self._reporting_response(watched, answer, exchange, box)
            await watched.wait()
        return self._collected_response(answer, exchange, watched) if answer.is_stream else None

    async def _stream_response(self, watched: WatchedCall, exchange: Exchange) -> HttpResponse | None:
        if _payload_of(exchange).is_streamed is not False:
            return await super()._stream_response(watched, exchange)
        answer = WholeAnswer(watched)
        while not answer.gather():
            await watched.wait()
        return self._collected_response(answer, exchange, watched) if answer.is_stream else None

    def _collected_response(self, answer: WholeAnswer, exchange: Exchange, watched: WatchedCall) -> HttpResponse:
        """Return a whole response with all chunks of a stream, and end the wait for it."""
        response = self._written_chunks(answer, exchange, watched.call)
        watched.close()
        return response

    def _written_chunks(self, answer: WholeAnswer, exchange: Exchange, call: AnyCall) -> HttpResponse:
        self._chunk_annotation.check_all(answer.chunks)
        assert self._dialect.collected is not None, "otherwise the payload was refused"
        written = self._dialect.collected(answer.collected(), _payload_of(exchange))
        return _response(written, exchange, server_timing(call.queue_seconds, call.execution_seconds))

    def _reporting_response(
        self, watched: WatchedCall, answer: WholeAnswer, exchange: Exchange, box: HeldReports
    ) -> HttpResponse:
        """Return a response that starts with the first progress report, and ends with the answer."""
        assert self._dialect.reporting is not None, "otherwise the payload was refused"
        call = watched.call
        framing = self._dialect.reporting(_payload_of(exchange))

        def finish(answer: WholeAnswer, failure: Exception | None) -> RouteResponse:
            return self._last_answer(answer, failure, exchange, call)

        stream = self._transport.stream_body(
            ReportedCall(watched, answer, box, framing, finish),
            [],
            RawFraming(framing.media_type, framing.keep_alive),
            annotation=None,
            describe=partial(public_error, request_id=exchange.request_id, debug=self._debug),
            on_close=partial(exchange.record_stream, self._service, call, 200),
        )
        headers = [*common_headers(exchange.request_id, framing.media_type), *STREAM_HEADERS]
        return HttpResponse(200, headers, None, stream=stream)

    def _last_answer(
        self, answer: WholeAnswer, failure: Exception | None, exchange: Exchange, call: AnyCall
    ) -> RouteResponse:
        """Return the answer at the end of a stream of reports, as it would have been sent without any."""
        try:
            if failure is not None:
                raise failure
            if answer.is_stream:
                whole = self._written_chunks(answer, exchange, call)
            else:
                whole = self._outcome_response(call, exchange)
        except Exception as error:
            whole = self._failure(error, exchange, call)
        return RouteResponse(body=whole.body or b"", status=whole.status)

    def _error_writer(self, exchange: Exchange) -> ErrorWriter:
        return error_writer(self._dialect, exchange)

    def _framing(self, head: Encoded, exchange: Exchange) -> Framing:
        dialect = self._dialect
        framing = None if dialect.framing is None else dialect.framing(head, _payload_of(exchange))
        if framing is not None:
            is_plain = head.media_type is None and not getattr(framing, "takes_events", False)
            return DataFraming(framing) if is_plain else framing
        if head.media_type is None:
            raise NotImplementedError(f"the dialect {dialect.name} has no framing for a stream of JSON values")
        return RawFraming(head.media_type)

    def _outcome_response(self, call: AnyCall, exchange: Exchange) -> HttpResponse:
        outcome = call.outcome
        if exchange.job_memo is None or not isinstance(outcome, Encoded):
            return super()._outcome_response(call, exchange)
        assert self._dialect.accepted is not None, "otherwise the payload was refused"
        return _response(self._dialect.accepted(outcome, _payload_of(exchange)), exchange, NO_JOB_TIMING)

    def _result_response(self, result: Encoded, exchange: Exchange, timing: str) -> HttpResponse:
        payload = _payload_of(exchange)
        if result.headers and PREFERENCE_APPLIED in result.headers:
            return super()._result_response(result, exchange, timing)  # a job has the same document everywhere
        if isinstance(result, JointResult):
            assert self._dialect.together is not None, "otherwise the payload was refused"
            return _response(self._dialect.together(list(result.answers), payload), exchange, timing)
        if not payload.is_streamed:
            return _response(self._dialect.result(result, payload), exchange, timing)
        framing = self._framing(result, exchange)
        headers = [*common_headers(exchange.request_id, framing.media_type, timing), *STREAM_HEADERS]
        body = framing.frame([result.body]) + framing.end
        return HttpResponse(result.status, headers, body, handler_headers=result.headers)


class OperationResource(Resource):
    """One operation of a dialect, which may serve several endpoints.

    Until the endpoint is known, the request is for a route that stands for the operation: only the authenticator is
    asked about it, and it is the name of that route that the request's record has.

    Parameters
    ----------
    service, transport:
        As for every resource.
    dialect:
        The dialect.
    operation:
        The operation.
    served:
        The endpoints that the dialect serves, by name.
    """

    exchange_class: type[DialectExchange]

    def __init__(
        self,
        service: Service[Any],
        transport: Transport,
        dialect: Dialect,
        operation: Operation,
        served: Mapping[str, DialectEndpoint],
    ) -> None:
        super().__init__(service, transport, door_of(dialect, operation))
        self.exchange_class = PassingExchange if dialect.passes_bodies else DialectExchange
        self._compresses = self._compresses and dialect.is_compressed
        self.write_error = error_writer(dialect)
        self._dialect = dialect
        self._operation = operation
        self._served = served
        self._only = next(iter(served)) if len(served) == 1 else None
        self._first = next(iter(served.values())).endpoint
        self._checks: OperationChecks = OperationChecks(operation, self._first, service.settings)

    def _identify(self, req: Any, path_values: Mapping[str, str]) -> DialectExchange:
        return self._new_exchange(self.exchange_class, req, path_values)

    async def _ask_policies(self, exchange: Exchange) -> None:
        try:
            name = self._chosen(exchange)
        except PenstockError:
            await super()._ask_policies(exchange)  # the error may name endpoints, which a stranger is not to know
            raise
        if name is None:
            await super()._ask_policies(exchange)
        else:
            await self._take_over(exchange, name)._ask_policies(exchange)

    def _chosen(self, exchange: Exchange) -> str | None:
        """Return the name of the endpoint, if it is known before the body is."""
        choose = self._operation.choose
        return self._only if choose is None else choose(_request_of(exchange))

    def _take_over(self, exchange: Exchange, name: str) -> DialectEndpoint:
        """Have the endpoint of this name take over from the route that stands for the operation, and return it."""
        served = self._served.get(name)
        if served is None:
            raise NotFound(f"{self._dialect.name} serves no endpoint {name[:100]!r}")
        exchange.endpoint = served.endpoint
        exchange.timeouts = served.endpoint.timeouts
        return served

    async def _submit(self, engine: Any, exchange: Exchange, req: Any) -> AnyCall | None:
        assert isinstance(exchange, DialectExchange), "_identify has made it"
        try:
            return await self._read_and_submit(engine, exchange, req)
        except PenstockError as error:
            if exchange.endpoint is self._target:
                raise
            return self._service.submit_fault(exchange, error)

    async def _read_and_submit(self, engine: Any, exchange: DialectExchange, req: Any) -> AnyCall | None:
        body = await self._receive(exchange, req)
        try:
            await self._read(exchange, body)
            payload = exchange.payload
            if payload is None:
                _release(body)
                return None
            if exchange.endpoint is self._target:
                await self._take_over(exchange, payload.endpoint)._ask_policies(exchange)
        except BaseException:
            _release(body)
            raise
        if payload.body is not None:
            _release(body)
            body = payload.body
        return self._served[payload.endpoint].submit_payload(engine, exchange, body, lambda: dict(req.headers_lower))

    def _budget(self, exchange: Exchange) -> AnyBudget | None:
        if exchange.endpoint is not self._target:
            return super()._budget(exchange)
        return self._service.early_budget(self._first)

    async def _receive(self, exchange: Exchange, req: Any) -> Body:
        """Return the body of the request."""
        if self._operation.method == "GET":
            return b""
        self._checks.check_media_type(req.content_type)
        announced = self._checks.check_headers(exchange.header)
        coding = content_coding(exchange.header("content-encoding"))
        if coding:
            return await self._read_large_body(exchange, req, announced, coding)
        if announced is not None and announced <= SMALL_BODY_BYTES:
            body = await self._read_body(exchange, req, announced, None)
        else:
            body = await self._read_large_body(exchange, req, announced)
        if announced is not None and len(body) < announced:
            _release(body)
            raise cut_short()
        if len(body) > self._checks.max_body:  # a small one of unknown length, which came in one piece
            raise too_large(self._checks.max_body)
        return body

    async def _read(self, exchange: DialectExchange, body: Body) -> None:
        """Read what the request asks for, and keep it in the exchange. A large body is read in a thread."""
        wanted = self._wanted_bytes(exchange, len(body))
        if wanted <= SMALL_BODY_BYTES:
            self._read_now(exchange, _beginning(body, wanted), len(body))
            return

        def read(exchange: DialectExchange) -> None:
            self._read_now(exchange, _beginning(body, wanted), len(body))

        await self._transport.run_blocking(read, exchange)

    def _wanted_bytes(self, exchange: DialectExchange, size_bytes: int) -> int:
        """Return how many bytes of a body of this size the operation looks at."""
        operation = self._operation
        if not operation.reads_body:
            return 0
        wanted = None if operation.head_bytes is None else operation.head_bytes(_request_of(exchange))
        return size_bytes if wanted is None else min(max(wanted, 0), size_bytes)

    def _read_now(self, exchange: DialectExchange, head: bytes, size_bytes: int) -> None:
        found = self._operation.read(_request_of(exchange, head, size_bytes))
        if isinstance(found, Payload):
            self._require_writers(found)
            if exchange.endpoint is not self._target and found.endpoint != exchange.endpoint.name:
                raise RuntimeError(f"the dialect {self._dialect.name} chooses one endpoint, and reads for another")
            exchange.payload = found
            return
        if exchange.endpoint is not self._target:
            raise RuntimeError(
                f"the dialect {self._dialect.name} chooses an endpoint for a request that needs none: its `choose` has "
                "to return None"
            )
        if isinstance(found, CancelRequest):
            self._service.cancellable.cancel(call_key(self._dialect, exchange, found.key), found.reason)
            found = found.response
        exchange.direct = found

    def _require_writers(self, payload: Payload) -> None:
        """Check that the dialect can write what a payload asks for."""
        dialect, name = self._dialect, self._dialect.name
        if payload.is_streamed is False and dialect.collected is None:
            raise NotImplementedError(f"the dialect {name} wants chunks to be collected: it needs `collected`")
        if payload.parts and dialect.together is None:
            raise NotImplementedError(f"the dialect {name} reads several inputs: it needs `together`")
        if dialect.passes_bodies and (payload.is_streamed or payload.parts):
            raise NotImplementedError(f"the dialect {name} passes bodies on: it can neither stream nor have parts")
        if payload.job_memo is not None and (dialect.accepted is None or payload.parts):
            raise NotImplementedError(f"the dialect {name} wants a job: it needs `accepted`, and no parts")
        if payload.wants_reports and (dialect.reporting is None or payload.is_streamed is not False or payload.parts):
            raise NotImplementedError(
                f"the dialect {name} wants reports: it needs `reporting`, is_streamed=False, and no parts"
            )

    async def _answer(self, call: Any, exchange: Exchange, req: Any) -> HttpResponse:
        if call is not None:
            return await self._served[exchange.endpoint.name]._answer(call, exchange, req)
        response = self._direct_response(exchange)
        if self._compresses:
            await self._compress(response, exchange)
        return response

    def _direct_response(self, exchange: Exchange) -> HttpResponse:
        """Return the response to a request that needs no job."""
        assert isinstance(exchange, DialectExchange), "_identify has made it"
        assert exchange.direct is not None, "it has been read"
        response = _response(exchange.direct, exchange, NO_JOB_TIMING)
        if response.status >= FIRST_ERROR_STATUS:
            response.code = "http-error"
        return response

    def _error_writer(self, exchange: Exchange) -> ErrorWriter:
        return error_writer(self._dialect, exchange)

    def _give_up(self, exchange: Exchange, call: AnyCall | None, error: PenstockError) -> None:
        if call is not None or exchange.endpoint is not self._target:
            self._served[exchange.endpoint.name]._give_up(exchange, call, error)


class OperationChecks(RequestChecks):
    """The checks of a request to an operation, before its body is read."""

    __slots__ = ("_operation",)

    def __init__(self, operation: Operation, endpoint: Endpoint, settings: Any) -> None:
        limit = settings.max_body if operation.max_body is None else operation.max_body
        super().__init__(endpoint, limit, settings.spill_above)
        self._operation = operation

    def check_media_type(self, content_type: str | None) -> None:
        """Check the content type against those that the operation reads.

        Raises
        ------
        UnsupportedMediaType
            If it is none of them.
        """
        allowed = self._operation.media_types
        if allowed is None or content_type is None:
            return
        media_type = content_type.partition(";")[0].strip().lower()
        if not any(fnmatchcase(media_type, pattern) for pattern in allowed):
            raise UnsupportedMediaType(
                f"{self._operation.path} reads {' or '.join(allowed)}, not {content_type!r}: send it with "
                f"-H 'Content-Type: {allowed[0]}'"
            )


def call_key(dialect: Dialect, exchange: Exchange, key: str) -> CallKey:
    """Return the key of a call among those of all callers."""
    return dialect.name, None if exchange.principal is None else exchange.principal.name, key


def error_writer(dialect: Dialect, exchange: Exchange | None = None) -> ErrorWriter:
    """Return the dialect's way to write errors, or the native one for those that it cannot write.

    The way depends on the exchange, if its request has been read.
    """
    failure = dialect.failure
    if failure is not None and isinstance(exchange, DialectExchange) and exchange.payload is not None:
        payload = exchange.payload
        return guarded_writer(lambda error: failure(error, payload), f"the dialect {dialect.name}")
    return guarded_writer(dialect.error, f"the dialect {dialect.name}")


def _beginning(body: Body, size_bytes: int) -> bytes:
    """Return the first bytes of a body; all of it without a copy, unless it is in a file."""
    if isinstance(body, BodyFile):
        return body.read_all() if size_bytes == len(body) else body.read(0, size_bytes)
    return body[:size_bytes]


def _release(body: Body) -> None:
    if isinstance(body, BodyFile):
        body.release()


def _payload_of(exchange: Exchange) -> Payload:
    assert isinstance(exchange, DialectExchange), "only an operation makes the exchanges of a dialect"
    assert exchange.payload is not None, "it is read before the job is submitted"
    return exchange.payload


def _request_of(exchange: Exchange, body: bytes = b"", size_bytes: int = 0) -> DialectRequest:
    return DialectRequest(
        request_id=exchange.request_id,
        method=exchange.method,
        path=exchange.path,
        path_values=exchange.path_values,
        header=exchange.header,
        query=exchange.query,
        body=body,
        size_bytes=size_bytes,
    )


def _response(answer: RouteResponse, exchange: Exchange, timing: str) -> HttpResponse:
    headers = common_headers(exchange.request_id, answer.media_type, timing)
    return HttpResponse(answer.status, headers, answer.body, handler_headers=answer.headers)
