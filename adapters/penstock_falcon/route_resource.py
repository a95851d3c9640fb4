"""Routes, those of plug-ins and the core's own, as requests see them."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial
from typing import Any

from penstock.errors import PenstockError
from penstock.hooks import Route, RouteRequest
from penstock.hosting import JSON, Body, Encoded, RawFraming, log_refusal, public_error, retry_after
from penstock_falcon.exchange import Exchange, Resource
from penstock_falcon.hangups import GIVEN_UP, AnyCall, AnyRouteCall, WatchedCall
from penstock_falcon.problems import guarded_writer
from penstock_falcon.request_checks import AnyBudget, BodyChecks
from penstock_falcon.request_decoding import content_coding
from penstock_falcon.responses import STREAM_HEADERS, HttpResponse, common_headers
from penstock_falcon.service import Service
from penstock_falcon.transport import Transport

TYPELESS_STATUSES = (204, 304)
"""Responses with these statuses have no body, and so no media type."""


class RouteResource(Resource):
    """A route of a plug-in or of the core: its handler answers beside the engine, at once, later, or in pieces."""

    def __init__(self, service: Service[Any], transport: Transport, route: Route) -> None:
        super().__init__(service, transport, route)
        self._route = route
        self._checks = BodyChecks(route.max_body)
        if route.error is not None:
            self.write_error = guarded_writer(route.error, f"the route {route.name}")

    async def _submit(self, engine: Any, exchange: Exchange, req: Any) -> AnyRouteCall:
        """Have the handler called."""
        request = RouteRequest(
            request_id=exchange.request_id,
            method=exchange.method,
            path=exchange.path,
            path_values=exchange.path_values,
            header=exchange.header,
            query=exchange.query,
            address=exchange.address,
            principal=exchange.principal,
            body=await self._receive(exchange, req) if self._route.reads_body else b"",
        )
        return self._service.ask(self._route, request, exchange)

    async def _receive(self, exchange: Exchange, req: Any) -> bytes:
        """Return the body of the request, inflated if it came compressed."""
        announced = self._checks.check_headers(exchange.header)
        coding = content_coding(exchange.header("content-encoding"))
        if coding:
            body = await self._read_large_body(exchange, req, announced, coding)
        else:
            body = await self._read_body(exchange, req, announced, None)
            self._checks.check_size(body, announced)
        assert isinstance(body, bytes), "without a budget, it is kept in memory"
        return body

    def _read_body(
        self, exchange: Exchange, req: Any, announced: int | None, budget: AnyBudget | None
    ) -> Coroutine[Any, Any, Body]:
        deadline = exchange.began + self._route.body_timeout
        return self._transport.read_body_by(deadline, req, announced, self._checks, budget)

    def _budget(self, exchange: Exchange) -> None:
        """Return None: the body is not counted, because it is small enough to be kept in memory."""

    async def _answer(self, call: AnyRouteCall, exchange: Exchange, req: Any) -> HttpResponse:
        outcome = call.outcome
        if outcome is None:
            watched = self._transport.watch(call, req)
            try:
                while call.outcome is None and call.head is None:
                    await watched.wait()
                if call.head is not None:
                    return self._stream_response(call, call.head, watched, exchange)
            except BaseException:
                watched.close()
                raise
            watched.close()
            outcome = call.outcome
        assert outcome is not None, "the wait ends with an outcome"
        if isinstance(outcome, PenstockError):
            log_refusal(exchange, outcome)
            return self._problem(outcome, exchange)
        response = HttpResponse(outcome.status, _headers(outcome, exchange), outcome.body)
        if self._compresses:
            await self._compress(response, exchange)
        return response

    def _stream_response(
        self, call: AnyRouteCall, head: Encoded, watched: WatchedCall, exchange: Exchange
    ) -> HttpResponse:
        """Return a response that begins at once, with the pieces to come."""
        stream = self._transport.stream_body(
            watched,
            [],
            RawFraming(head.media_type or JSON, call.keep_alive),
            annotation=None,
            describe=partial(public_error, request_id=exchange.request_id, debug=self._debug),
            on_close=partial(self._end_stream, call, head.status, exchange),
        )
        headers = _headers(head, exchange)
        headers += [added for added in STREAM_HEADERS if added[0] not in dict(headers)]
        return HttpResponse(head.status, headers, None, stream=stream)

    def _end_stream(self, call: AnyRouteCall, status: int, exchange: Exchange) -> None:
        if isinstance(call.outcome, PenstockError):
            log_refusal(exchange, call.outcome)
        exchange.record_stream(self._service, call, status)

    def _give_up(self, exchange: Exchange, call: AnyCall | None, error: PenstockError) -> None:
        """Log a plug-in's failure, as the engine does for endpoints, and cancel a handler that is still at work."""
        if call is not None:
            call.cancel(GIVEN_UP)
        log_refusal(exchange, error)


def _headers(head: Encoded, exchange: Exchange) -> list[tuple[str, str]]:
    headers = common_headers(exchange.request_id, head.media_type or JSON)
    if head.status in TYPELESS_STATUSES:
        headers = [header for header in headers if header[0] != "content-type"]
    if head.headers:
        headers += [(name.lower(), value) for name, value in head.headers.items()]
    if head.status == 503:
        present = {name for name, _ in headers}
        advice = [("retry-after", str(retry_after(None))), ("x-should-retry", "true")]
        headers += [header for header in advice if header[0] not in present]
    return headers
