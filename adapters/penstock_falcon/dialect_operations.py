"""The operations of dialects: a request is read in a dialect's terms, becomes a job like any other, and is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from time import monotonic
from typing import Any

from penstock import Endpoint
from penstock.errors import NotFound, PenstockError, UnsupportedMediaType
from penstock.hooks import (
    Dialect,
    DialectRequest,
    Framing,
    Operation,
    Payload,
    RouteResponse,
)
from penstock.hosting import (
    SMALL_BODY_BYTES,
    Body,
    BodyFile,
    DataFraming,
    Encoded,
    RawFraming,
    data_of,
    door_of,
)
from penstock_falcon.exchange import EndpointResource, Exchange, Resource
from penstock_falcon.hangups import AnyCall, WatchedCall
from penstock_falcon.joint_calls import MOST_COLLECTED_BYTES, JointResult, too_much
from penstock_falcon.problems import guarded_writer
from penstock_falcon.request_checks import AnyBudget, RequestChecks, cut_short, too_large
from penstock_falcon.request_decoding import content_coding
from penstock_falcon.responses import NO_JOB_TIMING, STREAM_HEADERS, HttpResponse, common_headers, server_timing
from penstock_falcon.service import Service
from penstock_falcon.transport import Transport

PREFERENCE_APPLIED = "preference-applied"
"""The header of the answer to a request that has become a background job, as its sender prefers (RFC 7240)."""


class DialectExchange(Exchange):
    """An exchange in a dialect.

    Attributes
    ----------
    payload:
        The request in the endpoint's terms; None until it has been read.
    """

    takes_files = False  # a dialect writes results itself

    __slots__ = ("payload",)

    payload: Payload | None


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
        self.write_error = guarded_writer(dialect.error, f"the dialect {dialect.name}")

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
            return self._submit_body(engine, exchange, body, None, seen)
        for part in payload.parts:
            self._checks.check_body(part, None, exchange.input_form)
        if exchange.timeouts.total is not None:
            exchange.elapsed = monotonic() - exchange.began
        return self._service.submit_parts(engine, exchange, payload.parts, seen, is_streamed=bool(payload.is_streamed))

    async def _stream_response(self, watched: WatchedCall, exchange: Exchange) -> HttpResponse | None:
        payload = _payload_of(exchange)
        if payload.is_streamed is not False:
            return await super()._stream_response(watched, exchange)
        collected = await self._collect(watched, exchange, payload)
        if collected is not None:
            watched.close()
        return collected

    async def _collect(self, watched: WatchedCall, exchange: Exchange, payload: Payload) -> HttpResponse | None:
        """Return a whole response with all chunks of a stream; None if the stream has failed."""
        collected: list[bytes] = []
        size_bytes = 0
        outcome: Encoded | PenstockError | None = None
        while outcome is None:
            chunks, outcome = watched.take()
            collected += chunks
            size_bytes += sum(map(len, chunks))
            if size_bytes > MOST_COLLECTED_BYTES:
                raise too_much()
            if not chunks and outcome is None:
                await watched.wait()
        if isinstance(outcome, PenstockError):
            return None
        self._chunk_annotation.check_all(collected)
        assert self._dialect.collected is not None, "otherwise the payload was refused"
        call = watched.call
        has_events = call.head is not None and call.head.media_type is None
        answer = self._dialect.collected(data_of(collected) if has_events else collected, payload)
        return _response(answer, exchange, server_timing(call.queue_seconds, call.execution_seconds))

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
        body: Body = result.body
        if isinstance(body, BodyFile) and not self._dialect.passes_bodies:  # from an engine in another process
            result = Encoded(body.read_all(), result.media_type, result.status, result.headers)
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

    exchange_class: type[Exchange]

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
        self.write_error = guarded_writer(dialect.error, f"the dialect {dialect.name}")
        self._dialect = dialect
        self._operation = operation
        self._served = served
        self._only = next(iter(served)) if len(served) == 1 else None
        self._first = next(iter(served.values())).endpoint
        self._checks: OperationChecks = OperationChecks(operation, self._first, service.settings)

    def _identify(self, req: Any, path_values: Mapping[str, str]) -> DialectExchange:
        exchange = self._new_exchange(self.exchange_class, req, path_values)
        assert isinstance(exchange, DialectExchange), "all of its classes are"
        exchange.payload = None
        return exchange

    async def _ask_policies(self, exchange: Exchange) -> None:
        name = self._chosen(exchange)
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

    async def _submit(self, engine: Any, exchange: Exchange, req: Any) -> AnyCall:
        assert isinstance(exchange, DialectExchange), "_identify has made it"
        try:
            return await self._read_and_submit(engine, exchange, req)
        except PenstockError as error:
            if exchange.endpoint is self._target:
                raise
            return self._service.submit_fault(exchange, error)

    async def _read_and_submit(self, engine: Any, exchange: DialectExchange, req: Any) -> AnyCall:
        body = await self._receive(exchange, req)
        try:
            payload = await self._read(exchange, body)
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

    async def _read(self, exchange: DialectExchange, body: Body) -> Payload:
        """Return what the request asks for, and keep it in the exchange. A large body is read in a thread."""
        wanted = self._wanted_bytes(exchange, len(body))
        if wanted <= SMALL_BODY_BYTES:
            return self._read_now(exchange, _beginning(body, wanted), len(body))

        def read(exchange: DialectExchange) -> None:
            self._read_now(exchange, _beginning(body, wanted), len(body))

        await self._transport.run_blocking(read, exchange)
        return _payload_of(exchange)

    def _wanted_bytes(self, exchange: DialectExchange, size_bytes: int) -> int:
        """Return how many bytes of a body of this size the operation looks at."""
        operation = self._operation
        if not operation.reads_body:
            return 0
        wanted = None if operation.head_bytes is None else operation.head_bytes(_request_of(exchange))
        return size_bytes if wanted is None else min(max(wanted, 0), size_bytes)

    def _read_now(self, exchange: DialectExchange, head: bytes, size_bytes: int) -> Payload:
        request = _request_of(exchange, head, size_bytes)
        payload = exchange.payload = self._operation.read(request)
        name = self._dialect.name
        if payload.is_streamed is False and self._dialect.collected is None:
            raise NotImplementedError(f"the dialect {name} wants chunks to be collected: it needs `collected`")
        if payload.parts and self._dialect.together is None:
            raise NotImplementedError(f"the dialect {name} reads several inputs: it needs `together`")
        if self._dialect.passes_bodies and (payload.is_streamed or payload.parts):
            raise NotImplementedError(f"the dialect {name} passes bodies on: it can neither stream nor have parts")
        if payload.job_memo is not None and (self._dialect.accepted is None or payload.parts):
            raise NotImplementedError(f"the dialect {name} wants a job: it needs `accepted`, and no parts")
        if exchange.endpoint is not self._target and payload.endpoint != exchange.endpoint.name:
            raise RuntimeError(f"the dialect {name} chooses one endpoint, and reads for another")
        return payload

    async def _answer(self, call: Any, exchange: Exchange, req: Any) -> HttpResponse:
        return await self._served[exchange.endpoint.name]._answer(call, exchange, req)

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
