"""Endpoints as a Falcon WSGI application: the engine is on a thread of its own, each request on one of the server's."""

from __future__ import annotations

import atexit
import errno
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import falcon

from penstock import App, Endpoint
from penstock.errors import Cancelled, MalformedRequest, PenstockError
from penstock.hooks import Route
from penstock.hosting import ThreadedCall, ThreadedEngine
from penstock_falcon.admission import Gate, cut_short, request_id
from penstock_falcon.answers import Answer, common_headers, server_timing, write
from penstock_falcon.exchanges import Exchange, route_answer, route_request, tell_stray
from penstock_falcon.formats import KEEP_ALIVE_SECONDS, STREAM_HEADERS, Framing, choose_framing
from penstock_falcon.outcome import answer_call
from penstock_falcon.problems import error_object, internal_problem, problem
from penstock_falcon.service import MAX_BODY, Service, Settings

GONE = "the client went away"
_READ_BYTES = 64 * 1024
# Linux tells when the other side has closed; elsewhere only a connection that is closed both ways shows.
_CLIENT_GONE = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class ThreadService(Service[ThreadedEngine]):
    """The engine on a background thread.

    It is started by the first request, in the process that serves it: a server may fork after it has loaded the
    application, and a thread does not survive that.
    """

    def __init__(self, app: App, engine: ThreadedEngine | None, settings: Settings) -> None:
        super().__init__(app, engine, settings, engine.engine.registry if engine is not None else None)
        self._starting = threading.Lock()

    def start(self) -> ThreadedEngine:
        """Start the engine unless it runs; return at once, while its pools get ready in the background."""
        if self.engine is None:
            with self._starting:
                if self.engine is None:
                    self.engine = ThreadedEngine(
                        self.app,
                        drain_timeout=self.settings.drain_timeout,
                        target=self.settings.target,
                        registry=self.registry,
                    )
                    # WSGI has no end of life; the process has.
                    atexit.register(self.stop)
        return self.engine

    def run_soon(self, function: Callable[[], object]) -> None:
        """Run a function in the engine's thread, or here while there is no engine."""
        if self.engine is None:
            function()
        else:
            self.engine.run_soon(function)

    def begin_drain(self) -> None:
        """Take nothing new from here on. What is admitted has ``drain_timeout`` seconds; harmless when repeated."""
        if self.engine is not None and not self.engine.draining:
            self.engine.drain(self.settings.drain_timeout)

    def stop(self) -> None:
        """Drain the engine and end its thread and its workers, if it is ours."""
        if self.engine is not None and self.is_ours:
            atexit.unregister(self.stop)
            self.engine.close()


class Attendance:
    """Waits for a call and watches the client meanwhile, on the server's thread.

    Parameters
    ----------
    call:
        The call to wait for; it is cancelled when the client goes away.
    client:
        The client's socket, or None where the server does not tell.
    """

    def __init__(self, call: ThreadedCall, client: Any) -> None:
        self._call = call
        self._poll = select.poll()
        self._poll.register(call.fileno(), select.POLLIN)
        self._client = None if client is None else client.fileno()
        if self._client is not None:
            self._poll.register(self._client, _CLIENT_GONE)

    def wait(self, timeout: float | None = None) -> None:
        """Return when there is progress, or after ``timeout`` seconds."""
        events = self._poll.poll(None if timeout is None else timeout * 1e3)
        if self._client is not None and any(fd == self._client for fd, _ in events):
            # Its outcome follows at once, and ends the waiting.
            self._poll.unregister(self._client)
            self._client = None
            self._call.cancel(GONE)


class Resource:
    """What an endpoint and a route have in common: a request comes in, its policies are asked."""

    def __init__(self, service: ThreadService, target: Endpoint | Route) -> None:
        self._service = service
        self._target = target
        self._debug = service.settings.debug
        self._intake = service.intake(target)

    def _exchange(self, req: falcon.Request) -> Exchange:
        env = req.env

        def header(name: str) -> str | None:
            key = name.upper().replace("-", "_")
            value: str | None = env.get(key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}")
            return value

        return Exchange(
            self._target,
            request_id=request_id(env.get("HTTP_X_REQUEST_ID")),
            header=header,
            address=self._service.origins.address(env.get("REMOTE_ADDR", ""), header),
            method=req.method,
            path=req.path,
        )

    def _ask_policies(self, engine: ThreadedEngine, exchange: Exchange) -> None:
        """Ask them in turn: those that wait for something in this thread, the others in the engine's, one at a time."""
        if self._intake is None:
            return
        if not self._intake.is_blocking:
            engine.run(partial(self._intake.pass_through, exchange))
            return
        for step in self._intake.steps:
            if step.is_blocking:
                step.apply(exchange)
            else:
                engine.run(partial(step.apply, exchange))

    def _finish(self, resp: falcon.Response, answer: Answer, exchange: Exchange) -> None:
        answer.headers.extend(exchange.response_headers)
        write(resp, answer)
        if answer.body is not None and self._service.tell is not None:  # a stream tells of its end itself
            self._service.run_soon(partial(exchange.tell, self._service, answer.status, answer.code))


class EndpointResource(Resource):
    """``POST`` for one endpoint."""

    def __init__(self, service: ThreadService, endpoint: Endpoint) -> None:
        super().__init__(service, endpoint)
        self._endpoint = endpoint
        self._gate = Gate(endpoint, service.settings.max_body)
        self._wants_headers = endpoint.codec.context_parameter is not None

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Run one job and answer with what became of it."""
        exchange = self._exchange(req)
        try:
            exchange.call = call = self._submit(req, exchange)
            answer = self._answer(call, exchange, req, resp)
        except PenstockError as error:
            answer = problem(error, exchange.request_id, debug=self._debug)
            self._refuse(exchange, error)
        except Exception as error:
            answer = internal_problem(error, exchange.request_id)
            self._refuse(exchange, PenstockError())
        except BaseException:  # gunicorn's worker time-out ends its thread by SystemExit
            self._refuse(exchange, Cancelled(GONE))
            raise
        self._finish(resp, answer, exchange)

    def _refuse(self, exchange: Exchange, error: PenstockError) -> None:
        threaded = self._service.engine
        if exchange.call is None and threaded is not None:  # without an engine no policy has been asked
            threaded.run_soon(partial(exchange.refuse, threaded.engine, error))

    def _submit(self, req: falcon.Request, exchange: Exchange) -> ThreadedCall:
        """Everything that can be refused, cheapest first; the body is not touched before there is room for it."""
        engine = self._service.start()
        self._ask_policies(engine, exchange)
        announced = self._gate.check_headers(
            req.content_type, req.env.get("HTTP_CONTENT_ENCODING"), req.env.get("CONTENT_LENGTH") or None
        )
        engine.check_room(self._endpoint)
        body = read_body(req.env, announced, self._gate)
        self._gate.check_body(body, announced)
        headers = dict(req.headers_lower) if self._wants_headers else None
        return engine.submit(exchange, body, headers=headers)

    def _answer(self, call: ThreadedCall, exchange: Exchange, req: falcon.Request, resp: falcon.Response) -> Answer:
        attendance = Attendance(call, req.env.get("gunicorn.socket"))
        try:
            while call.outcome is None:
                attendance.wait()
            return answer_call(call, exchange.request_id, debug=self._debug)
        finally:
            # Also when the server stops this thread: gunicorn's worker time-out does so by SystemExit.
            call.close()


class StreamResource(EndpointResource):
    """``POST`` for an endpoint that streams: the response starts at the first chunk."""

    def _answer(self, call: ThreadedCall, exchange: Exchange, req: falcon.Request, resp: falcon.Response) -> Answer:
        attendance = Attendance(call, req.env.get("gunicorn.socket"))
        try:
            chunks: list[bytes] = []
            is_over = False
            while not chunks and not is_over:
                attendance.wait()
                # Looked at first: on the engine's thread, chunks may arrive and the job may end between two looks.
                is_over = call.outcome is not None
                chunks = call.take()
            if not chunks and isinstance(call.outcome, PenstockError):
                call.close()
                return answer_call(call, exchange.request_id, debug=self._debug)
        except BaseException:
            call.close()
            raise
        framing = choose_framing(req.get_header("Accept"))
        on_close = partial(self._tell_end, exchange)
        resp.stream = StreamBody(call, framing, attendance, chunks, debug=self._debug, on_close=on_close)
        timing = server_timing(call.queue_seconds, call.execution_seconds)
        headers = common_headers(exchange.request_id, framing.media_type, timing)
        return Answer(200, [*headers, *STREAM_HEADERS], None)

    def _tell_end(self, exchange: Exchange) -> None:
        if self._service.tell is not None:
            self._service.run_soon(partial(exchange.tell_stream_ended, self._service))


class StreamCutShort(ConnectionResetError):
    """Ends a response that must not end cleanly.

    gunicorn takes a reset connection for what it is: it closes the connection without the last chunk, and without a
    traceback in the log.
    """

    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "the stream failed and was cut short")


class StreamBody:
    """An iterator over the pieces of a streamed body; the server calls ``close`` however the response ended."""

    def __init__(
        self,
        call: ThreadedCall,
        framing: Framing,
        attendance: Attendance,
        first: list[bytes],
        *,
        debug: bool,
        on_close: Callable[[], None],
    ) -> None:
        self._call = call
        self._on_close = on_close
        self._framing = framing
        self._attendance = attendance
        self._first = first
        self._debug = debug
        self._ending: BaseException | None = None
        self._is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._ending is not None:
            raise self._ending
        piece = self._next_piece()
        give_up_at = time.monotonic() + KEEP_ALIVE_SECONDS
        while piece is None:
            self._attendance.wait(max(0.0, give_up_at - time.monotonic()) if self._framing.keep_alive else None)
            piece = self._next_piece()
            if piece is None and self._framing.keep_alive and time.monotonic() >= give_up_at:
                return self._framing.keep_alive
        if not piece and self._ending is not None:
            raise self._ending
        return piece

    def close(self) -> None:
        """Cancel what nobody reads any more."""
        if not self._is_closed:
            self._is_closed = True
            self._call.close()
            self._on_close()

    def _next_piece(self) -> bytes | None:
        """Everything that has arrived, as one piece; None if there is nothing yet."""
        # The outcome first, as above.
        outcome = self._call.outcome
        chunks = self._first + self._call.take()
        self._first = []
        if not chunks and outcome is None:
            return None
        piece = self._framing.frame(chunks) if chunks else b""
        if isinstance(outcome, PenstockError):
            self._ending = StreamCutShort()
            return piece + self._framing.error(error_object(outcome, debug=self._debug))
        if outcome is not None:
            self._ending = StopIteration()
            return piece + self._framing.end
        return piece


class RouteResource(Resource):
    """What a plug-in, or the core itself, serves beside the endpoints."""

    def __init__(self, service: ThreadService, route: Route) -> None:
        super().__init__(service, route)
        self._route = route
        if route.method == "GET":
            self.on_get = self.on_head = self._respond
        else:
            self.on_post = self._respond

    def _respond(self, req: falcon.Request, resp: falcon.Response) -> None:
        exchange = self._exchange(req)
        try:
            threaded = self._service.start()
            self._ask_policies(threaded, exchange)
            request = route_request(exchange, req.query_string)
            response = threaded.run(partial(self._route.handler, request, threaded.engine))
            answer = route_answer(response, exchange.request_id)
        except PenstockError as error:
            answer = problem(error, exchange.request_id, debug=self._debug)
        except Exception as error:
            answer = internal_problem(error, exchange.request_id)
        self._finish(resp, answer, exchange)


class Application(falcon.App[Any, Any]):
    """A complete application. ``penstock`` is the service behind it."""

    penstock: ThreadService


def read_body(env: dict[str, Any], announced: int | None, gate: Gate) -> bytes:
    """The whole body.

    Raises
    ------
    PayloadTooLarge
        As soon as it has passed the limit.
    MalformedRequest
        If it is cut short, or nobody can tell where it ends.
    """
    source = env["wsgi.input"]
    try:
        if announced is not None:
            return source.read(announced) if announced else b""
        if env.get("wsgi.input_terminated"):
            return _read_to_end(source, gate)
    except OSError:
        # Also gunicorn's own errors for broken chunks.
        raise cut_short() from None
    if env.get("HTTP_TRANSFER_ENCODING"):
        raise MalformedRequest("This server does not tell where a chunked body ends: send it with a Content-Length")
    return b""


def _read_to_end(source: Any, gate: Gate) -> bytes:
    parts = []
    size_bytes = 0
    while part := source.read(_READ_BYTES):
        size_bytes += len(part)
        gate.check_size(size_bytes)
        parts.append(part)
    return b"".join(parts)


def finish_stray(req: falcon.Request, resp: falcon.Response, answer: Answer, service: ThreadService) -> None:
    """Write the answer to a request that was for nothing of ours."""
    write(resp, answer)
    if service.tell is not None:
        address = service.origins.address(req.env.get("REMOTE_ADDR", ""), req.get_header)
        service.run_soon(partial(tell_stray, service, answer, req.method, req.path, address))


def add_routes(application: falcon.App[Any, Any], service: ThreadService, prefix: str) -> None:
    """Add every endpoint, and the operators' routes, under ``prefix``."""
    for path, endpoint in service.endpoint_routes(prefix):
        resource = (StreamResource if endpoint.is_stream else EndpointResource)(service, endpoint)
        application.add_route(path, _refusing(resource, service, path))
    for route in service.routes:
        path = prefix + route.path
        application.add_route(path, _refusing(RouteResource(service, route), service, path))


def wsgi(
    app: App,
    *,
    engine: ThreadedEngine | None = None,
    debug: bool = False,
    max_body: int = MAX_BODY,
    drain_timeout: float = 30.0,
    target: str | None = None,
    trusted_proxies: Sequence[str] = (),
) -> Application:
    """A complete WSGI application that serves ``app``.

    The engine runs on a thread of its own, started by the first request in the process that serves it. The parameters
    are those of ``asgi``.
    """
    settings = Settings(
        debug=debug,
        max_body=max_body,
        drain_timeout=drain_timeout,
        target=target,
        trusted_proxies=tuple(trusted_proxies),
    )
    service = ThreadService(app, engine, settings)
    application = Application()
    application.penstock = service
    add_routes(application, service, "")
    application.add_error_handler(falcon.HTTPError, _framework_error_handler(service))
    application.add_error_handler(Exception, _exception_handler(service))
    return application


def mount_wsgi(
    application: falcon.App[Any, Any], app: App, prefix: str, engine: ThreadedEngine | None, settings: Settings
) -> ThreadService:
    """Add the endpoints to an application that exists."""
    service = ThreadService(app, engine, settings)
    add_routes(application, service, prefix)
    return service


def _refusing(resource: Any, service: ThreadService, path: str) -> Any:
    """Give a resource a responder for every method that it does not have.

    A mounted resource answers its own errors, so it cannot leave these to the application's error handlers.
    """

    def refuse(req: falcon.Request, resp: falcon.Response) -> None:
        finish_stray(req, resp, service.answer_wrong_method(req.method, path, req.get_header("X-Request-Id")), service)

    def options(req: falcon.Request, resp: falcon.Response) -> None:
        finish_stray(req, resp, service.answer_options(path, req.get_header("X-Request-Id")), service)

    resource.on_options = options
    for method in falcon.COMBINED_METHODS:
        name = f"on_{method.lower()}"
        if method != "WEBSOCKET" and not hasattr(resource, name):
            setattr(resource, name, refuse)
    return resource


def _framework_error_handler(service: ThreadService) -> Callable[..., None]:
    def handle(req: Any, resp: Any, error: falcon.HTTPError, params: Any) -> None:
        finish_stray(req, resp, service.answer_framework_error(error, req), service)

    return handle


def _exception_handler(service: ThreadService) -> Callable[..., None]:
    def handle(req: Any, resp: Any, error: Exception, params: Any) -> None:
        finish_stray(req, resp, internal_problem(error, request_id(req.get_header("X-Request-Id"))), service)

    return handle
