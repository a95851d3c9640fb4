"""The service behind an application: the app, the settings, and the engine from start to stop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, ParamSpec, TypeVar

import falcon

from penstock import App, Endpoint
from penstock.errors import DeclarationError, PenstockError
from penstock.hooks import (
    RequestAnswered,
    ResponseHead,
    Route,
    RouteRequest,
    ShutdownRequest,
    Submission,
)
from penstock.hosting import (
    NATIVE,
    Engine,
    Pipeline,
    Registry,
    RemoteEngine,
    ThreadedEngine,
    documentation_routes,
    endpoint_pipeline,
    request_id,
    route_pipeline,
    schema_digest,
)
from penstock.policies import DEFAULT_DRAIN_TIMEOUT
from penstock_falcon.added_headers import add_headers, headers_of
from penstock_falcon.cancellable_calls import CancellableCalls
from penstock_falcon.client_address import TrustedProxies
from penstock_falcon.hangups import AnyCall, AnyRouteCall
from penstock_falcon.joint_calls import submit_together
from penstock_falcon.problems import framework_problem
from penstock_falcon.request_checks import DEFAULT_SPILL_BYTES, AnyBudget, BodyBudget, HostCheck
from penstock_falcon.responses import HttpResponse, write_handler_headers
from penstock_falcon.transport import HeaderLookup

EngineT = TypeVar("EngineT", bound=Engine | ThreadedEngine | RemoteEngine)
P = ParamSpec("P")
T = TypeVar("T")


SCHEMA_HEADER = "x-penstock-schema"
_USUAL_WAITING = 256 * 1024 * 1024
_WAITING_BODIES = 4  # bodies of the largest size may wait, whatever that is


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of an application. This is their one definition: ``asgi``, ``wsgi`` and ``mount`` take the same.

    Parameters
    ----------
    debug:
        Show the type, message and traceback of handler errors to clients.
    max_body:
        The largest request body, in bytes.
    drain_timeout:
        The time that admitted work has to finish at shutdown, in seconds.
    target:
        The import path of the app for the workers, such as ``module:attr``; by default it is found from the app.
    spill_above:
        Request bodies above this size, in bytes, are kept on a disk, in the folder for temporary files, and not in
        memory.
    max_waiting:
        The most bytes of large request bodies that may arrive or wait at the same time. Default: 256 MiB, or four times
        ``max_body`` if that is more.
    compress:
        Compress whole responses from 1 KiB on for clients that accept it. Request bodies may be compressed in any case.
    trusted_proxies:
        Addresses and networks, such as ``10.0.0.0/8``, of proxies whose ``X-Forwarded-For`` is believed, for limits by
        client address and for fair shares. ``unix`` stands for the clients of a Unix socket.
    docs:
        Serve the description of the endpoints, at ``/openapi.json``, and the page on which to try them, at ``/docs``.
    """

    debug: bool = False
    max_body: int = 16 * 1024 * 1024
    spill_above: int = DEFAULT_SPILL_BYTES
    max_waiting: int | None = None
    drain_timeout: float = DEFAULT_DRAIN_TIMEOUT
    target: str | None = None
    compress: bool = False
    trusted_proxies: Sequence[str] = ()
    docs: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "trusted_proxies", tuple(self.trusted_proxies))

    @property
    def most_waiting(self) -> int:
        """The most bytes of large request bodies that may arrive or wait at the same time."""
        return max(_USUAL_WAITING, _WAITING_BODIES * self.max_body) if self.max_waiting is None else self.max_waiting


class Service(ABC, Generic[EngineT]):
    """The app, its settings, its plug-ins and its engine: an application's ``penstock`` attribute.

    Attributes
    ----------
    engine:
        None until it has started. An engine passed by the user is used as it is: the user starts and stops it.
    registry:
        The plug-ins: those of the engine, if the user passed one.
    cancellable:
        The running calls that other requests can cancel.
    on_answered:
        Called with the ``RequestAnswered`` of each request; None if there is no observer for it.
    headers_of:
        Returns the headers that plug-ins add to every response; None if no plug-in does.
    on_pools_failed:
        Called with the reason when a pool cannot be started at all. Set it before the engine starts.
    on_reload:
        See ``Engine.reload``. Set it before the engine starts.
    on_shutdown:
        Called when a plug-in, or the program, has shut the engine down, so that the server around it stops too. Set it
        before the engine starts.
    host_status:
        Called for what the server adds to the status page. Set it before the engine starts.
    """

    asks_clients_to_leave: bool
    """True if responses carry ``Connection: close`` while the engine drains."""

    def __init__(self, app: App, engine: EngineT | None, settings: Settings, registry: Registry | None) -> None:
        app.freeze()
        self.app = app
        self.settings = settings
        self.engine = engine
        self.registry = registry if registry is not None else Registry.load(app)
        self.on_answered = self.request_observer()
        self.trusted_proxies = TrustedProxies(settings.trusted_proxies)
        self.host_check = HostCheck()
        self.cancellable = CancellableCalls()
        self.headers_of = self.registry.response_headers(app)
        self.routes = self.registry.routes(app)
        if settings.docs:
            taken = {route.path for route in self.routes}
            self.routes += [route for route in documentation_routes(app, self.registry) if route.path not in taken]
        # The native one is mounted by other means, with shorter ways.
        self.dialects = [dialect for dialect in self.registry.dialects(app) if dialect.name != NATIVE]
        self._check_routes()
        self.is_ours = engine is None
        self.on_pools_failed: Callable[[str], None] | None = None
        self.on_reload: Callable[..., bool] = lambda **_: False
        self.on_shutdown: Callable[[ShutdownRequest], None] | None = None
        self.host_status: Callable[[], dict[str, Any]] = dict

    def __repr__(self) -> str:
        engine = "not started" if self.engine is None else repr(self.engine)
        return f"<{type(self).__name__} of {self.app.import_name}: {engine}>"

    def _check_routes(self) -> None:
        taken: dict[tuple[str, str], str] = {}
        for method, path, owner in self._paths():
            other = taken.setdefault((method, path), owner)
            if other is not owner:
                raise DeclarationError(f"{owner}: {method} {path} is that of {other}; change one of the paths")

    def _paths(self) -> Iterator[tuple[str, str, str]]:
        """Yield the method and the path of everything that is served, with its owner."""
        for endpoint in self.app.endpoints:
            yield endpoint.method, endpoint.path, f"endpoint {endpoint.name!r}"
        for route in self.routes:
            yield route.method, route.path, f"route {route.name!r}"
        for dialect in self.dialects:
            for operation in dialect.operations:
                yield operation.method, operation.path, f"dialect {dialect.name!r}"

    @property
    def worker_count(self) -> int:
        """The number of workers that the app asks for: with spares, and with one that replaces another in each pool."""
        return sum(pool.workers + pool.spares + (pool.recycle is not None) for pool in self.app.pools.values())

    # ---- the engine's life

    @property
    def is_complete(self) -> bool:
        """True once every pool is ready, and no worker of any pool is still starting."""
        if self.engine is None:
            return False
        engine = self.bare_engine
        return not engine.unready_reasons() and engine.scheduler.is_complete

    @abstractmethod
    def start(self) -> EngineT:
        """Start the engine unless it is running. Returns at once; its pools become ready in the background."""

    @abstractmethod
    def begin_drain(self) -> None:
        """Stop accepting work; admitted work has ``drain_timeout`` seconds. Harmless when repeated."""

    # ---- the engine's thread

    @property
    @abstractmethod
    def bare_engine(self) -> Engine:
        """The engine without a thread around it, for use in its own thread; it must have started."""

    @abstractmethod
    def in_engine(self, function: Callable[P, T]) -> Callable[P, T]:
        """Return ``function`` as a callable that runs it in the engine's thread and returns its result."""

    @abstractmethod
    def in_engine_soon(self, function: Callable[P, object]) -> Callable[P, object]:
        """Return ``function`` as a callable that has it run in the engine's thread, and need not wait for that."""

    # ---- requests

    def request_observer(self) -> Callable[[RequestAnswered], object] | None:
        """Return what each ``RequestAnswered`` is passed to, or None if no plug-in observes it."""
        self.registry.observe(self.app)
        observer = self.registry.observer_of(RequestAnswered)
        return None if observer is None else self.in_engine_soon(observer)

    def pipeline(self, target: Endpoint | Route) -> Pipeline | None:
        """Return the policies for an endpoint or route, or None if it has none."""
        if isinstance(target, Route):
            return route_pipeline(self.registry, target)
        return endpoint_pipeline(self.registry, target)

    @cached_property
    def schema_digest(self) -> str:
        """The digest of the app's schema; computed for the first client that asks whether it has the same one."""
        return schema_digest(self.app, self.registry)

    def compare_schema(self, submission: Submission, digest: str) -> None:
        """Have the response say which schema the app has, if it is not that of the client."""
        if digest != self.schema_digest:
            submission.response_headers.append((SCHEMA_HEADER, self.schema_digest))

    def body_budget(self, submission: Submission) -> AnyBudget:
        """Return the room that a large body of an endpoint will take."""
        endpoint = submission.endpoint
        assert isinstance(endpoint, Endpoint), "a route takes no body"
        assert self.engine is not None, "the engine has started"
        assert not isinstance(self.engine, RemoteEngine), "that has budgets of its own"
        return BodyBudget(self.engine, endpoint)

    def early_budget(self, endpoint: Endpoint) -> BodyBudget | None:
        """Return the room that a large body takes whose endpoint is not known yet; None if it cannot be counted.

        ``endpoint`` is one for which it may be.
        """
        assert self.engine is not None, "the engine has started"
        assert not isinstance(self.engine, RemoteEngine), "that cannot count it"
        return BodyBudget(self.engine, endpoint)

    def submit_fault(self, _submission: Submission, error: PenstockError) -> AnyCall:
        """Refuse a request in which something is wrong; it has passed its policies already."""
        try:
            raise error
        finally:
            del error  # the traceback holds this frame, which must not hold the error in return

    def submit_parts(
        self,
        engine: Any,
        exchange: Submission,
        bodies: Sequence[bytes],
        headers: dict[str, str] | None,
        *,
        is_streamed: bool,
    ) -> AnyCall:
        """Submit a job for each of several inputs of one request; all of them, or none.

        Raises
        ------
        PenstockError
            If one of them is refused.
        """
        return submit_together(engine, exchange, bodies, headers, is_streamed=is_streamed)

    @abstractmethod
    def ask(self, route: Route, request: RouteRequest, submission: Submission) -> AnyRouteCall:
        """Begin to answer a request to a route, and return at once: there may be an outcome already."""

    def refuse(self, submission: Submission, error: PenstockError) -> None:
        """Release the admission policies and notify observers: the request will not become a job."""
        if self.engine is not None:  # without an engine, no policy has been asked
            self.in_engine_soon(self.bare_engine.refuse)(submission, error)

    def add_headers(self, response: HttpResponse, method: str, path: str, header: HeaderLookup) -> None:
        """Add the headers that plug-ins add to every response. For a service with ``headers_of``."""
        assert self.headers_of is not None, "the caller has asked"
        headers = headers_of(response) if response.handler_headers else dict(response.headers)
        head = ResponseHead(method=method, path=path, header=header, status=response.status, headers=headers)
        add_headers(response, self.headers_of(head))

    def write(self, resp: falcon.Response, response: HttpResponse) -> None:
        """Copy a response into one of Falcon's; while draining, ask clients to close kept-alive connections."""
        if response.status != 200:
            resp.status = response.status
        if response.stream is not None:
            resp.stream = response.stream
        elif response.pieces is not None:
            resp.set_stream(response.pieces, response.size_bytes)
        else:
            resp.data = response.body
        if response.handler_headers:
            write_handler_headers(resp, response.handler_headers)
        resp.set_headers(response.headers)
        if self.asks_clients_to_leave and self.engine is not None and self.engine.draining:
            resp.set_header("Connection", "close")

    def answer_unreadable(
        self, status: int, detail: str, received: Mapping[bytes, bytes]
    ) -> tuple[list[tuple[str, str]], bytes]:
        """Return the headers and body for a request that the server could not read, and so did not pass on.

        ``received`` are those of its headers that could be read, by lower-case name.
        """
        response = framework_problem(falcon.HTTPError(status, description=detail), request_id(None))
        if self.headers_of is not None:
            names = {name.decode("latin-1"): value.decode("latin-1") for name, value in received.items()}
            self.add_headers(response, "", "", names.get)
        return response.headers, response.body or b""
