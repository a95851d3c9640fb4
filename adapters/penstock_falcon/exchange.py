"""One request from start to end, the same for ASGI and WSGI: identify, ask, check, read, submit, wait, answer, record.

``Resource.respond`` is the flow. An ``Exchange`` is one pass through it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping
from functools import partial
from time import monotonic
from types import MappingProxyType
from typing import Any, TypeVar

from penstock import Endpoint
from penstock.errors import Cancelled, PenstockError
from penstock.hooks import Framing, OnReport, RequestAnswered, Route, Submission
from penstock.hosting import (
    JSON,
    NORMAL_RANK,
    SMALL_BODY_BYTES,
    AnnotationCheck,
    Body,
    BodyFile,
    Encoded,
    RawFraming,
    choose_framing,
    problem_document,
    public_error,
    request_id,
)
from penstock_falcon.added_headers import add_headers
from penstock_falcon.compression import coding_for, compress
from penstock_falcon.hangups import GIVEN_UP, AnyCall, WatchedCall
from penstock_falcon.problems import (
    ErrorWriter,
    internal_problem,
    problem,
)
from penstock_falcon.request_checks import AnyBudget, BodyChecks, RequestChecks, cut_short
from penstock_falcon.request_decoding import content_coding, inflated
from penstock_falcon.responses import NO_JOB_TIMING, OK, STREAM_HEADERS, HttpResponse, common_headers, server_timing
from penstock_falcon.service import SCHEMA_HEADER, Service
from penstock_falcon.transport import HeaderLookup, Transport

NO_VALUES: Mapping[str, str] = MappingProxyType({})


class Exchange(Submission):
    """A submission that arrived over HTTP.

    It does not hold its call: the call holds the submission until it has an outcome, and a reference back would leave
    each request to the garbage collector.

    Attributes
    ----------
    began:
        The time at which the first byte of the request arrived, as far as the server knows it.
    path_values:
        The values of the variables in the path, decoded.
    route:
        The path of the endpoint, route or operation that the request was for, with its variables.
    """

    takes_files = True

    __slots__ = ("began", "method", "path", "path_values", "route")

    def __init__(
        self,
        endpoint: Endpoint | Route,
        *,
        request_id: str,
        header: HeaderLookup,
        query: str,
        address: str,
        method: str,
        path: str,
        began: float | None = None,
        received_headers: Mapping[bytes, bytes] | None = None,
        path_values: Mapping[str, str] = NO_VALUES,
    ) -> None:
        # The base class's constructor, written out, because this one runs for every request.
        self.endpoint = endpoint
        self.request_id = request_id
        self.header = header
        self.query = query
        self.address = address
        self.credential_headers = ()
        self.principal = None
        self.timeouts = endpoint.timeouts
        self.rank = NORMAL_RANK
        self.elapsed = 0.0
        self.caller_timeout = None
        self.trace = None
        self.part = 0
        self.job_memo = None
        self.input_form = None
        self.received_headers = received_headers
        self._response_headers = None
        self._releases = []
        self._answered = None
        self.began = monotonic() if began is None else began
        self.method = method
        self.path = path
        self.path_values = path_values
        self.route = endpoint.path

    @property
    def left(self) -> float | None:
        """The seconds that the caller still waits, retries of its own included; None if it has not said."""
        return None if self.caller_timeout is None else self.began + self.caller_timeout - monotonic()

    def record(self, service: Service[Any], call: AnyCall | None, status: int, code: str) -> None:
        """Notify the observers, if there are any, that the request has been answered, or abandoned."""
        if service.on_answered is None:
            return
        service.on_answered(
            RequestAnswered(
                endpoint=self.endpoint.name,
                request_id=self.request_id,
                method=self.method,
                path=self.path,
                status=status,
                code=code,
                seconds=monotonic() - self.began,
                principal=None if self.principal is None else self.principal.name,
                address=self.address,
                attempts=0 if call is None else call.attempts,
                queue_seconds=None if call is None else call.queue_seconds,
                execution_seconds=None if call is None else call.execution_seconds,
                began=self.began,
                trace=self.trace,
                route=self.route,
            )
        )

    def record_stream(self, service: Service[Any], call: AnyCall, status: int) -> None:
        """Notify the observers that a streamed response, which began with this status, has ended."""
        outcome = call.outcome
        if outcome is None or isinstance(outcome, Cancelled):
            self.record(service, call, Cancelled.status, Cancelled.code)
        else:
            self.record(service, call, status, outcome.code if isinstance(outcome, PenstockError) else OK)


ExchangeT = TypeVar("ExchangeT", bound=Exchange)


class Resource(ABC):
    """An endpoint or a route as requests see it.

    Parameters
    ----------
    service:
        The service with the engine that runs the work.
    transport:
        The primitives of the adapter.
    target:
        The endpoint or route.

    Attributes
    ----------
    write_error:
        Returns the response for what a client may see of an error.
    """

    write_error: ErrorWriter = staticmethod(problem_document)
    _checks: BodyChecks

    def __init__(self, service: Service[Any], transport: Transport, target: Endpoint | Route) -> None:
        self._service = service
        self._transport = transport
        self._target = target
        self._debug = service.settings.debug
        self._compresses = service.settings.compress
        self._host_check = service.host_check
        pipeline = service.pipeline(target)
        self._ask = None if pipeline is None else service.in_engine(pipeline.pass_through)
        self._blocking_steps = pipeline.steps if pipeline is not None and pipeline.is_blocking else []

    async def respond(self, req: Any, resp: Any, /, **path_values: str) -> None:
        """Serve one request. Each way out of here leaves exactly one record, or a stream that leaves it at its end."""
        call: AnyCall | None = None
        begun = self._transport.begun(req)
        if begun is None:
            exchange = self._identify(req, path_values)
        else:
            exchange, call = begun
        try:
            if call is None:
                host = exchange.header("host")
                if host not in self._host_check.known:
                    self._host_check.check(host, is_required=self._transport.requires_host(req))
                engine = self._service.engine or self._service.start()
                await self._ask_policies(exchange)
                call = await self._submit(engine, exchange, req)
            response = await self._answer(call, exchange, req)
        except Exception as error:
            response = self._failure(error, exchange, call)
        except BaseException:
            # The server stopped waiting: CancelledError or GeneratorExit under ASGI, or SystemExit, by which gunicorn's
            # worker timeout ends its thread.
            self._give_up(exchange, call, Cancelled(GIVEN_UP))
            exchange.record(self._service, call, Cancelled.status, Cancelled.code)
            raise
        self._finish(response, exchange, call, resp)

    def _identify(self, req: Any, path_values: Mapping[str, str]) -> Exchange:
        return self._new_exchange(Exchange, req, path_values)

    def _new_exchange(self, kind: type[ExchangeT], req: Any, path_values: Mapping[str, str]) -> ExchangeT:
        header, received, peer, began = self._transport.identify(req)
        proxies = self._service.trusted_proxies
        exchange = kind(
            self._target,
            request_id=request_id(header("x-request-id")),
            header=header,
            query=req.query_string,
            address=proxies.client_address(peer, header) if proxies.has_any else peer,
            method=req.method,
            path=req.path,
            began=began,
            received_headers=received,
            path_values=path_values,
        )
        digest = header(SCHEMA_HEADER)
        if digest is not None:
            self._service.compare_schema(exchange, digest)
        return exchange

    async def _ask_policies(self, exchange: Exchange) -> None:
        """Have the policies decide; each that blocks is asked where it delays no other request."""
        if not self._blocking_steps:
            if self._ask is not None:
                self._ask(exchange)
            return
        for step in self._blocking_steps:
            if step.is_blocking:
                await self._transport.run_blocking(step.apply, exchange)
            else:
                self._service.in_engine(step.apply)(exchange)

    def _read_body(
        self, exchange: Exchange, req: Any, announced: int | None, budget: AnyBudget | None
    ) -> Coroutine[Any, Any, Body]:
        total = exchange.timeouts.total
        if total is None:
            return self._transport.read_body(req, announced, self._checks, budget)
        return self._transport.read_body_by(exchange.began + total, req, announced, self._checks, budget)

    def _budget(self, exchange: Exchange) -> AnyBudget | None:
        """Return the room that a large body will take; None if it is not counted before it has arrived."""
        return self._service.body_budget(exchange)

    async def _read_large_body(self, exchange: Exchange, req: Any, announced: int | None, coding: str = "") -> Body:
        """Read a body that is large, or may be; its bytes are counted from now until it is complete or given up.

        A compressed one is inflated. The larger of its two sizes counts, and a small one may have a large content.
        """
        budget = self._budget(exchange)
        try:
            if budget is not None:
                await budget.open(None if (announced or 0) <= SMALL_BODY_BYTES else announced)
            body = await self._read_body(exchange, req, announced, budget)
            return await self._inflate(body, announced, coding, exchange, budget) if coding else body
        finally:
            if budget is not None:
                budget.release()

    async def _inflate(
        self, body: Body, announced: int | None, coding: str, exchange: Exchange, budget: AnyBudget | None
    ) -> Body:
        if announced is not None and len(body) < announced:
            raise cut_short()
        total = exchange.timeouts.total
        deadline = None if total is None else exchange.began + total
        return await inflated(body, coding, self._checks.collector(None, budget), self._transport, deadline)

    @abstractmethod
    async def _submit(self, engine: Any, exchange: Exchange, req: Any) -> AnyCall | None:
        """Return the job of an admitted request; None if the target needs none."""

    @abstractmethod
    async def _answer(self, call: Any, exchange: Exchange, req: Any) -> HttpResponse:
        """Return the response, once it is known."""

    async def _compress(self, response: HttpResponse, exchange: Exchange) -> None:
        """Compress a whole response, if it is to be."""
        coding = coding_for(response, exchange.method, exchange.header)
        if coding:
            await compress(response, coding, self._transport)

    def _failure(self, error: Exception, exchange: Exchange, call: AnyCall | None) -> HttpResponse:
        if isinstance(error, PenstockError):
            self._give_up(exchange, call, error)
            return self._problem(error, exchange)
        self._give_up(exchange, call, PenstockError())
        return internal_problem(error, exchange.request_id, self._error_writer(exchange), exchange.trace)

    def _error_writer(self, exchange: Exchange) -> ErrorWriter:
        """Return the way in which the client of an exchange gets an error."""
        return self.write_error

    def _problem(self, error: PenstockError, exchange: Exchange, timing: str = NO_JOB_TIMING) -> HttpResponse:
        return problem(
            error,
            exchange.request_id,
            debug=self._debug,
            timing=timing,
            left=exchange.left,
            write_error=self._error_writer(exchange),
        )

    @abstractmethod
    def _give_up(self, exchange: Exchange, call: AnyCall | None, error: PenstockError) -> None:
        """Leave no job and no admission behind a request that failed, or was abandoned."""

    def _finish(self, response: HttpResponse, exchange: Exchange, call: AnyCall | None, resp: Any) -> None:
        if exchange.has_response_headers:
            add_headers(response, exchange.response_headers)
        service = self._service
        if service.headers_of is not None:
            service.add_headers(response, exchange.method, exchange.path, exchange.header)
        service.write(resp, response)
        # A stream is recorded at its end.
        if service.on_answered is not None and response.stream is None:
            exchange.record(service, call, response.status, response.code)


class EndpointResource(Resource):
    """An endpoint: a request becomes a job."""

    _checks: RequestChecks

    def __init__(self, service: Service[Any], transport: Transport, endpoint: Endpoint) -> None:
        super().__init__(service, transport, endpoint)
        self._endpoint = endpoint
        self._checks = RequestChecks(endpoint, service.settings.max_body, service.settings.spill_above)
        self._annotation = AnnotationCheck.of_results(endpoint, debug=service.settings.debug)
        self._chunk_annotation = AnnotationCheck.of_chunks(endpoint, debug=service.settings.debug)
        self._wants_headers = endpoint.codec.context_parameter is not None

    async def _submit(self, engine: Any, exchange: Exchange, req: Any) -> AnyCall:
        """Submit the job, or have the request refused for what is wrong with it."""
        try:
            return await self._check_and_submit(engine, exchange, req)
        except PenstockError as error:
            return self._service.submit_fault(exchange, error)

    async def _check_and_submit(self, engine: Any, exchange: Exchange, req: Any) -> AnyCall:
        """Check the request, cheapest first, and submit it; its body is not touched before there is room for it."""
        checks = self._checks
        content_type = req.content_type
        if content_type != JSON or not checks.takes_json:
            accept = exchange.header("accept")
            exchange.input_form = checks.input_form(content_type, exchange.path_values, exchange.query, accept)
        announced = checks.check_headers(exchange.header) if checks.takes_body else 0
        coding = content_coding(exchange.header("content-encoding")) if checks.takes_body else ""
        if coding:
            body = await self._read_large_body(exchange, req, announced, coding)
            announced = None
        elif announced is not None and announced <= SMALL_BODY_BYTES:
            engine.check_room(self._endpoint)
            body = await self._read_body(exchange, req, announced, None) if checks.takes_body else b""
        else:
            body = await self._read_large_body(exchange, req, announced)
        headers = dict(req.headers_lower) if self._wants_headers else None
        return self._submit_body(engine, exchange, body, announced, headers)

    def _submit_body(
        self,
        engine: Any,
        exchange: Exchange,
        body: Body,
        announced: int | None,
        headers: dict[str, str] | None,
        *,
        on_report: OnReport | None = None,
    ) -> AnyCall:
        """Check a body that has arrived in full, and submit it. ``headers`` is for handlers that take a context."""
        try:
            exchange.input_form = self._checks.check_body(body, announced, exchange.input_form)
            if exchange.timeouts.total is not None:
                exchange.elapsed = monotonic() - exchange.began
            call: AnyCall
            if on_report is None:
                call = engine.submit(exchange, body, headers=headers)
            else:
                call = engine.submit(exchange, body, headers=headers, on_report=on_report)
        except BaseException:
            if isinstance(body, BodyFile):  # the error may refer to it for long
                body.release()
            raise
        return call

    async def _answer(self, call: AnyCall, exchange: Exchange, req: Any) -> HttpResponse:
        watched = self._transport.watch(call, req)
        try:
            stream = await self._first_response(watched, exchange)
        except BaseException:
            watched.close()
            raise
        if stream is None:
            watched.close()
        response = stream or self._outcome_response(call, exchange)
        if self._compresses:
            await self._compress(response, exchange)
        body: Body | None = response.body
        if isinstance(body, BodyFile):
            response.body, response.size_bytes = None, len(body)
            response.pieces = self._transport.file_body(body, watched)
        return response

    async def _first_response(self, watched: WatchedCall, exchange: Exchange) -> HttpResponse | None:
        """Return the response, if it is known before the outcome; None if the outcome is the answer."""
        call = watched.call
        while call.outcome is None and call.head is None:
            await watched.wait()
        return None if call.head is None else await self._stream_response(watched, exchange)

    async def _stream_response(self, watched: WatchedCall, exchange: Exchange) -> HttpResponse | None:
        """Return a response that starts with the first chunk; None if the job has failed before it."""
        call = watched.call
        chunks, outcome = watched.take()
        while not chunks and outcome is None:
            await watched.wait()
            chunks, outcome = watched.take()
        head = call.head  # None if the job has lost its worker, and its next attempt has answered once
        if head is None or (isinstance(outcome, PenstockError) and not chunks):
            return None
        framing = self._framing(head, exchange)
        stream = self._transport.stream_body(
            watched,
            chunks,
            framing,
            annotation=self._chunk_annotation if head.media_type is None else None,
            describe=partial(public_error, request_id=exchange.request_id, debug=self._debug),
            on_close=partial(exchange.record_stream, self._service, call, head.status),
        )
        timing = server_timing(call.queue_seconds, call.execution_seconds)
        headers = [*common_headers(exchange.request_id, framing.media_type, timing), *STREAM_HEADERS]
        return HttpResponse(head.status, headers, None, handler_headers=head.headers, stream=stream)

    def _framing(self, head: Encoded, exchange: Exchange) -> Framing:
        if head.media_type is not None:
            return RawFraming(head.media_type)
        return choose_framing(exchange.header("accept"))

    def _outcome_response(self, call: AnyCall, exchange: Exchange) -> HttpResponse:
        outcome = call.outcome
        timing = server_timing(call.queue_seconds, call.execution_seconds)
        if isinstance(outcome, PenstockError):
            return self._problem(outcome, exchange, timing)
        assert outcome is not None, "the wait ends with an outcome"
        check = self._annotation.check
        form = exchange.input_form
        by_dialect = form is not None and form.decoder  # such an answer may have become something else
        if check is not None and call.attempts and not by_dialect:  # it is the handler's
            check(outcome)
        return self._result_response(outcome, exchange, timing)

    def _result_response(self, result: Encoded, exchange: Exchange, timing: str) -> HttpResponse:
        headers = common_headers(exchange.request_id, result.media_type or JSON, timing)
        return HttpResponse(result.status, headers, result.body, handler_headers=result.headers)

    def _give_up(self, exchange: Exchange, call: AnyCall | None, error: PenstockError) -> None:
        if call is None:
            self._service.refuse(exchange, error)
        else:
            call.cancel(GIVEN_UP)  # harmless if it has an outcome; the engine releases the policies when the job ends
