"""Endpoints as a Falcon ASGI application, on the server's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import falcon
import falcon.asgi

from penstock import App, Endpoint
from penstock.errors import Cancelled, PenstockError
from penstock.hooks import Route
from penstock.hosting import Call, Engine, Pipeline, create_engine
from penstock_falcon.admission import Gate, request_id
from penstock_falcon.answers import Answer, common_headers, server_timing, write
from penstock_falcon.bodies import BodyOnDemand, Request, lookup_of, read_body, receive_of
from penstock_falcon.exchanges import Exchange, route_answer, route_request, tell_stray
from penstock_falcon.formats import STREAM_HEADERS, choose_framing
from penstock_falcon.hangups import Hangup, Watch
from penstock_falcon.outcome import answer_call
from penstock_falcon.problems import internal_problem, problem
from penstock_falcon.service import MAX_BODY, Service, Settings
from penstock_falcon.streams import PIECE_BYTES, StreamBody

# A drain ends at its own deadline; this is for an engine that does not report back.
DRAIN_MARGIN_SECONDS = 5.0
GIVEN_UP = "the request was cancelled"  # by the server: whoever gives the wait up gives the job up
# Falcon's way to tell an HTTP status in the close code of a WebSocket.
WEBSOCKET_STATUS_BASE = 3000


class AsyncService(Service["Engine"]):
    """The engine on the server's event loop: started with the application, or by the first request."""

    def __init__(self, app: App, engine: Engine | None, settings: Settings) -> None:
        super().__init__(app, engine, settings, engine.registry if engine is not None else None)
        self._drained = asyncio.Event()
        self.watch = Watch()
        self._drain_has_begun = False

    def start(self) -> Engine:
        """Start the engine unless it runs; return at once, while its pools get ready in the background."""
        if self.engine is None:
            self.engine = create_engine(self.app, target=self.settings.target, registry=self.registry)
            self.engine.on_pools_failed = self.on_pools_failed
            self.engine.on_shutdown = self.on_shutdown
            self.engine.longest_drain = self.settings.drain_timeout
            self.engine.start()
        return self.engine

    def begin_drain(self) -> None:
        """Take nothing new from here on. What is admitted has ``drain_timeout`` seconds; harmless when repeated."""
        if self.engine is not None and not self._drain_has_begun:
            self._drain_has_begun = True
            self.engine.drain(self.settings.drain_timeout, self._drained.set, who="the server")

    async def stop(self) -> None:
        """Drain and close the engine, if it is ours."""
        if self.engine is None or not self.is_ours:
            return
        self.begin_drain()
        try:
            await asyncio.wait_for(self._drained.wait(), self.settings.drain_timeout + DRAIN_MARGIN_SECONDS)
        except TimeoutError:
            pass
        finally:
            self.engine.close()


class Lifespan:
    """Middleware that runs at the two ends of the application's life, and never in between."""

    def __init__(self, service: AsyncService) -> None:
        self._service = service

    async def process_startup(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Start the engine. Models load in the background; ``/readyz`` tells when they have."""
        self._service.start()

    async def process_shutdown(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Drain the engine and end its workers."""
        await self._service.stop()


class Resource:
    """What an endpoint and a route have in common: a request comes in, its policies are asked."""

    def __init__(self, service: AsyncService, target: Endpoint | Route) -> None:
        self._service = service
        self._target = target
        self._debug = service.settings.debug
        self._intake = service.intake(target)

    def _exchange(self, req: falcon.asgi.Request) -> Exchange:
        header = lookup_of(req)
        return Exchange(
            self._target,
            request_id=request_id(header("x-request-id")),
            header=header,
            address=address_of(req, header, self._service),
            method=req.method,
            path=req.path,
        )

    async def _ask_in_threads(self, intake: Pipeline, exchange: Exchange) -> None:
        """Ask in turn: those that wait for something in a thread, where they hold nobody up."""
        loop = asyncio.get_running_loop()
        for step in intake.steps:
            if step.is_blocking:
                await loop.run_in_executor(None, step.apply, exchange)
            else:
                step.apply(exchange)


class EndpointResource(Resource):
    """``POST`` for one endpoint."""

    def __init__(self, service: AsyncService, endpoint: Endpoint) -> None:
        super().__init__(service, endpoint)
        self._endpoint = endpoint
        self._gate = Gate(endpoint, service.settings.max_body)
        self._wants_headers = endpoint.codec.context_parameter is not None

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Run one job and answer with what became of it."""
        exchange = self._exchange(req)
        try:
            exchange.call = call = await self._submit(req, exchange)
            answer = await self._answer(call, exchange, req, resp)
        except PenstockError as error:
            answer = problem(error, exchange.request_id, debug=self._debug)
            self._refuse(exchange, error)
        except Exception as error:
            answer = internal_problem(error, exchange.request_id)
            self._refuse(exchange, PenstockError())
        except BaseException:
            self._refuse(exchange, Cancelled(GIVEN_UP))
            exchange.tell(self._service, Cancelled.status, Cancelled.code)
            raise
        finish(resp, answer, self._service, exchange)

    def _refuse(self, exchange: Exchange, error: PenstockError) -> None:
        engine = self._service.engine
        if exchange.call is None and engine is not None:  # without an engine no policy has been asked
            exchange.refuse(engine, error)

    async def _submit(self, req: falcon.asgi.Request, exchange: Exchange) -> Call:
        """Everything that can be refused, cheapest first; the body is not touched before there is room for it."""
        engine = self._service.start()
        intake = self._intake
        if intake is not None:
            if intake.is_blocking:
                await self._ask_in_threads(intake, exchange)
            else:
                intake.pass_through(exchange)
        gate = self._gate
        announced = gate.check_headers(
            req.content_type, exchange.header("content-encoding"), exchange.header("content-length")
        )
        engine.check_room(self._endpoint)
        body = await read_body(req, gate)
        gate.check_body(body, announced)
        headers = dict(req.headers_lower) if self._wants_headers else None
        return engine.submit(exchange, body, headers=headers)

    async def _answer(
        self, call: Call, exchange: Exchange, req: falcon.asgi.Request, resp: falcon.asgi.Response
    ) -> Answer:
        if call.outcome is None:
            hangup = Hangup(call, receive_of(req), self._service.watch)
            try:
                while call.outcome is None:
                    await call.wait()
            except asyncio.CancelledError:
                call.cancel(GIVEN_UP)
                raise
            finally:
                hangup.stop()
        return answer_call(call, exchange.request_id, debug=self._debug)


class StreamResource(EndpointResource):
    """``POST`` for an endpoint that streams: the response starts at the first chunk."""

    async def _answer(
        self, call: Call, exchange: Exchange, req: falcon.asgi.Request, resp: falcon.asgi.Response
    ) -> Answer:
        hangup = Hangup(call, receive_of(req), self._service.watch)
        try:
            chunks = call.take(PIECE_BYTES)
            while not chunks and call.outcome is None:
                await call.wait()
                chunks = call.take(PIECE_BYTES)
        except BaseException:
            call.cancel(GIVEN_UP)
            hangup.stop()
            raise
        if not chunks and isinstance(call.outcome, PenstockError):
            hangup.stop()
            return answer_call(call, exchange.request_id, debug=self._debug)
        framing = choose_framing(req.get_header("Accept"))
        on_close = partial(exchange.tell_stream_ended, self._service)
        resp.stream = StreamBody(call, framing, hangup, chunks, debug=self._debug, on_close=on_close)
        timing = server_timing(call.queue_seconds, call.execution_seconds)
        headers = common_headers(exchange.request_id, framing.media_type, timing)
        return Answer(200, [*headers, *STREAM_HEADERS], None)


class RouteResource(Resource):
    """What a plug-in, or the core itself, serves beside the endpoints."""

    def __init__(self, service: AsyncService, route: Route) -> None:
        super().__init__(service, route)
        self._route = route
        if route.method == "GET":
            self.on_get = self.on_head = self._respond
        else:
            self.on_post = self._respond

    async def _respond(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        exchange = self._exchange(req)
        try:
            if self._intake is not None:
                await self._ask_in_threads(self._intake, exchange)
            request = route_request(exchange, req.query_string)
            answer = route_answer(self._route.handler(request, self._service.start()), exchange.request_id)
        except PenstockError as error:
            answer = problem(error, exchange.request_id, debug=self._debug)
        except Exception as error:
            answer = internal_problem(error, exchange.request_id)
        finish(resp, answer, self._service, exchange)


class Application(falcon.asgi.App[Any, Any]):
    """A complete application. ``penstock`` is the service behind it."""

    penstock: AsyncService

    async def __call__(  # type: ignore[override] # Falcon's own is another than its base class's
        self, scope: dict[str, Any], receive: Any, send: Any
    ) -> None:
        """Serve one request, or the application's whole life."""
        if scope["type"] == "http":
            receive = BodyOnDemand(receive)
            if not scope["query_string"].isascii():
                # Falcon decodes it where no error handler reaches, and no endpoint reads it.
                scope = {**scope, "query_string": b""}
        await super().__call__(scope, receive, send)


def address_of(req: falcon.asgi.Request, header: Callable[[str], str | None], service: AsyncService) -> str:
    """The client's address, or "" where the server does not tell."""
    client = req.scope.get("client")
    # Any iterable, says the specification.
    peer = "" if client is None else client[0] if type(client) in {list, tuple} else next(iter(client))
    return service.origins.address(peer, header) if service.origins.are_told else peer


def finish(resp: falcon.asgi.Response, answer: Answer, service: AsyncService, exchange: Exchange | None) -> None:
    """Write the answer; while draining, ask kept-alive clients to leave."""
    if exchange is not None and exchange.response_headers:
        answer.headers.extend(exchange.response_headers)
    write(resp, answer)
    if service.engine is not None and service.engine.draining:
        resp.set_header("Connection", "close")
    if service.tell is not None and exchange is not None and answer.body is not None:
        exchange.tell(service, answer.status, answer.code)  # a stream tells of its end itself


def finish_stray(req: falcon.asgi.Request, resp: falcon.asgi.Response, answer: Answer, service: AsyncService) -> None:
    """Write the answer to a request that was for nothing of ours."""
    finish(resp, answer, service, None)
    tell_stray(service, answer, req.method, req.path, address_of(req, req.get_header, service))


def add_routes(application: falcon.asgi.App[Any, Any], service: AsyncService, prefix: str) -> None:
    """Add every endpoint, and the operators' routes, under ``prefix``."""
    for path, endpoint in service.endpoint_routes(prefix):
        resource = (StreamResource if endpoint.is_stream else EndpointResource)(service, endpoint)
        application.add_route(path, _refusing(resource, service, path))
    for route in service.routes:
        path = prefix + route.path
        application.add_route(path, _refusing(RouteResource(service, route), service, path))


def asgi(
    app: App,
    *,
    engine: Engine | None = None,
    debug: bool = False,
    max_body: int = MAX_BODY,
    drain_timeout: float = 30.0,
    target: str | None = None,
    trusted_proxies: Sequence[str] = (),
) -> Application:
    """A complete ASGI application that serves ``app``.

    Its ``penstock`` attribute is the service behind it, with the engine, the app and the settings. The engine is
    started at the lifespan's start-up, or by the first request where the server has no lifespan; models load in the
    background.

    Parameters
    ----------
    app:
        What to serve.
    engine:
        An engine that runs already, on the event loop that will serve; whoever started it ends it. Default: one of the
        application's own.
    debug:
        Show the type, message and traceback of handler errors to clients.
    max_body:
        Most bytes of a request's body.
    drain_timeout:
        Seconds that admitted work has to finish at shutdown.
    target:
        Where the workers find the app, such as ``module:attr``; by default found out from the app.
    trusted_proxies:
        Addresses and networks, such as ``10.0.0.0/8``, of proxies whose ``X-Forwarded-For`` is believed: for limits by
        the client's address, and for fair shares.
    """
    settings = Settings(
        debug=debug,
        max_body=max_body,
        drain_timeout=drain_timeout,
        target=target,
        trusted_proxies=tuple(trusted_proxies),
    )
    service = AsyncService(app, engine, settings)
    application = Application(request_type=Request, middleware=[Lifespan(service)])
    application.penstock = service
    add_routes(application, service, "")
    application.add_error_handler(falcon.HTTPError, _framework_error_handler(service))
    application.add_error_handler(Exception, _exception_handler(service))
    return application


def mount_asgi(
    application: falcon.asgi.App[Any, Any], app: App, prefix: str, engine: Engine | None, settings: Settings
) -> AsyncService:
    """Add the endpoints to an application that exists."""
    service = AsyncService(app, engine, settings)
    add_routes(application, service, prefix)
    application.add_middleware(Lifespan(service))
    return service


Responder = Callable[..., Awaitable[None]]


def _refusing(resource: Any, service: AsyncService, path: str) -> Any:
    """Give a resource a responder for every method that it does not have.

    A mounted resource answers its own errors, so it cannot leave these to the application's error handlers.
    """

    async def refuse(req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        finish_stray(req, resp, service.answer_wrong_method(req.method, path, req.get_header("X-Request-Id")), service)

    async def options(req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        finish_stray(req, resp, service.answer_options(path, req.get_header("X-Request-Id")), service)

    resource.on_options = options
    for method in falcon.COMBINED_METHODS:
        name = f"on_{method.lower()}"
        if method != "WEBSOCKET" and not hasattr(resource, name):
            setattr(resource, name, refuse)
    return resource


def _framework_error_handler(service: AsyncService) -> Responder:
    async def handle(req: Any, resp: Any, error: falcon.HTTPError, params: Any, ws: Any = None) -> None:
        if ws is not None:
            await ws.close(WEBSOCKET_STATUS_BASE + error.status_code)
            return
        finish_stray(req, resp, service.answer_framework_error(error, req), service)

    return handle


def _exception_handler(service: AsyncService) -> Responder:
    async def handle(req: Any, resp: Any, error: Exception, params: Any, ws: Any = None) -> None:
        answer = internal_problem(error, request_id(req.get_header("X-Request-Id")))
        if ws is not None:
            await ws.close()
            return
        finish_stray(req, resp, answer, service)

    return handle
