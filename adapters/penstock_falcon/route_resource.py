"""Routes, those of plug-ins and the core's own, as requests see them."""

from __future__ import annotations

from functools import partial
from typing import Any

from penstock.errors import PenstockError
from penstock.hooks import Route, RouteRequest
from penstock.hosting import JSON, Encoded, RawFraming, log_refusal, public_error
from penstock_falcon.exchange import Exchange, Resource
from penstock_falcon.hangups import GIVEN_UP, AnyCall, AnyRouteCall, WatchedCall
from penstock_falcon.problems import retry_after
from penstock_falcon.request_checks import BodyChecks
from penstock_falcon.responses import STREAM_HEADERS, HttpResponse, common_headers
from penstock_falcon.service import Service
from penstock_falcon.transport import Transport


class RouteResource(Resource):
    """A route of a plug-in or of the core: its handler answers beside the engine, at once, later, or in pieces."""

    def __init__(self, service: Service[Any], transport: Transport, route: Route) -> None:
        super().__init__(service, transport, route)
        self._route = route
        self._checks = BodyChecks(route.max_body)

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
        """Return the body of the request."""
        announced = self._checks.check_headers(exchange.header)
        deadline = exchange.began + self._route.body_timeout
        body = await self._transport.read_body_by(deadline, req, announced, self._checks, None)
        self._checks.check_size(body, announced)
        assert isinstance(body, bytes), "without a budget, it is kept in memory"
        return body

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
        return HttpResponse(outcome.status, _headers(outcome, exchange), outcome.body)

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
    headers += [(name.lower(), value) for name, value in (head.headers or {}).items()]
    if head.status == 503:
        headers += [("retry-after", str(retry_after(None))), ("x-should-retry", "true")]
    return headers
