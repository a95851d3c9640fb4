"""Routes, those of plug-ins and the core's own, as requests see them."""

from __future__ import annotations

from typing import Any

from penstock.errors import PenstockError
from penstock.hooks import Route, RouteRequest
from penstock.hosting import log_refusal
from penstock_falcon.exchange import Exchange, Resource
from penstock_falcon.hangups import AnyCall
from penstock_falcon.problems import retry_after
from penstock_falcon.request_checks import BodyChecks
from penstock_falcon.responses import HttpResponse, common_headers
from penstock_falcon.service import Service
from penstock_falcon.transport import Transport


class RouteResource(Resource):
    """A route of a plug-in or of the core: its handler answers beside the engine."""

    def __init__(self, service: Service[Any], transport: Transport, route: Route) -> None:
        super().__init__(service, transport, route)
        self._route = route
        self._checks = BodyChecks(route.max_body)

    async def _submit(self, engine: Any, exchange: Exchange, req: Any) -> None:
        """Return at once: a route never becomes a job."""

    async def _answer(self, call: None, exchange: Exchange, req: Any) -> HttpResponse:
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
        answer = await self._service.ask(self._route, request, exchange)
        headers = common_headers(exchange.request_id, answer.media_type)
        headers += [(name.lower(), value) for name, value in answer.headers.items()]
        if answer.status == 503:
            headers += [("retry-after", str(retry_after(None))), ("x-should-retry", "true")]
        return HttpResponse(answer.status, headers, answer.body)

    async def _receive(self, exchange: Exchange, req: Any) -> bytes:
        """Return the body of the request."""
        announced = self._checks.check_headers(exchange.header)
        deadline = exchange.began + self._route.body_timeout
        body = await self._transport.read_body_by(deadline, req, announced, self._checks, None)
        self._checks.check_size(body, announced)
        assert isinstance(body, bytes), "without a budget, it is kept in memory"
        return body

    def _give_up(self, exchange: Exchange, call: AnyCall | None, error: PenstockError) -> None:
        """Log a plug-in's failure, as the engine does for endpoints. A route has no job and no admission policies."""
        log_refusal(exchange, error)
