"""What stands behind an application: the app, the settings, and the engine, from its start to its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import falcon

from penstock import App, Endpoint
from penstock.errors import DeclarationError, MethodNotAllowed, NotFound
from penstock.hooks import RequestAnswered, Route, ShutdownRequest
from penstock.hosting import Pipeline, Registry, endpoint_pipeline, route_pipeline
from penstock_falcon.admission import request_id
from penstock_falcon.answers import Answer, common_headers
from penstock_falcon.origins import Origins
from penstock_falcon.problems import framework_problem, problem

EngineT = TypeVar("EngineT")

# 16 MiB.
MAX_BODY = 16 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How an application behaves.

    Parameters
    ----------
    debug:
        Show the type, message and traceback of handler errors to clients.
    max_body:
        Most bytes of a request's body.
    drain_timeout:
        Seconds that admitted work has to finish at shutdown.
    target:
        Where the workers find the app, such as ``module:attr``; by default found out from the app.
    trusted_proxies:
        Addresses and networks of proxies whose ``X-Forwarded-For`` is believed.
    """

    debug: bool = False
    max_body: int = MAX_BODY
    drain_timeout: float = 30.0
    target: str | None = None
    trusted_proxies: tuple[str, ...] = ()


class Service(Generic[EngineT]):
    """The app, its settings, its plug-ins and its engine, as one thing: an application's ``penstock`` attribute.

    Attributes
    ----------
    engine:
        None until it has started. An engine that was given is used as it is: who made it starts and ends it.
    registry:
        The plug-ins: the engine's, if one was given.
    tell:
        What to call with the ``RequestAnswered`` of each exchange, or None if nobody wants to know.
    on_pools_failed:
        Called with the reason when a pool cannot be started at all. Set it before the engine starts.
    on_shutdown:
        Called when a plug-in, or the program, has shut the engine down, so that the server around it stops too. Set it
        before the engine starts.
    """

    def __init__(self, app: App, engine: EngineT | None, settings: Settings, registry: Registry | None) -> None:
        self.app = app
        self.settings = settings
        self.engine = engine
        self.registry = registry if registry is not None else Registry.load(app)
        self.registry.observe(app)
        self.tell = self.registry.observer_of(RequestAnswered)
        self.origins = Origins(settings.trusted_proxies)
        self.routes = self.registry.routes(app)
        self._check_routes()
        self.is_ours = engine is None
        self.on_pools_failed: Callable[[str], None] | None = None
        self.on_shutdown: Callable[[ShutdownRequest], None] | None = None
        self._allowed: dict[str, tuple[str, ...]] = {}

    def __repr__(self) -> str:
        engine = "not started" if self.engine is None else repr(self.engine)
        return f"<{type(self).__name__} of {self.app.import_name}: {engine}>"

    def endpoint_routes(self, prefix: str) -> list[tuple[str, Endpoint]]:
        """The path of every endpoint under ``prefix``.

        Raises
        ------
        DeclarationError
            If the prefix is not one.
        """
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            raise DeclarationError(f"mount(prefix={prefix!r}): a prefix begins with a slash and does not end with one")
        for endpoint in self.app.endpoints:
            self._allowed[prefix + endpoint.path] = ("POST",)
        for route in self.routes:
            allowed = ("GET", "HEAD") if route.method == "GET" else (route.method,)
            self._allowed[prefix + route.path] = allowed
        return [(prefix + endpoint.path, endpoint) for endpoint in self.app.endpoints]

    def _check_routes(self) -> None:
        taken = {endpoint.path: f"endpoint {endpoint.name!r}" for endpoint in self.app.endpoints}
        for route in self.routes:
            if route.path in taken:
                raise DeclarationError(f"route {route.name!r}: its path {route.path!r} is that of {taken[route.path]}")
            taken[route.path] = f"route {route.name!r}"

    def intake(self, target: Endpoint | Route) -> Pipeline | None:
        """The policies that a request for it passes; None if there are none."""
        if isinstance(target, Route):
            return route_pipeline(self.registry, target)
        return endpoint_pipeline(self.registry, target)

    def answer_wrong_method(self, method: str, path: str, given_id: str | None) -> Answer:
        """The 405 of one of our paths."""
        error = MethodNotAllowed(f"{path} does not take {method}", allowed=self._allowed[path])
        return problem(error, request_id(given_id), debug=self.settings.debug)

    def answer_options(self, path: str, given_id: str | None) -> Answer:
        """What one of our paths takes."""
        headers = common_headers(request_id(given_id), "text/plain")
        return Answer(200, [*headers, ("allow", ", ".join((*self._allowed[path], "OPTIONS")))], b"")

    def answer_unreadable(self, status: int, detail: str) -> tuple[list[tuple[str, str]], bytes]:
        """The headers and the body for a request that the server itself could not read, and so has not passed on."""
        answer = framework_problem(falcon.HTTPError(status, description=detail), request_id(None))
        return answer.headers, answer.body or b""

    def answer_framework_error(self, error: falcon.HTTPError, req: falcon.Request) -> Answer:
        """The answer to an error that Falcon raised, for whichever path."""
        given_id = req.get_header("X-Request-Id")
        # Falcon calls a method that it has never heard of a bad request.
        if req.uri_template in self._allowed and req.method not in falcon.COMBINED_METHODS:
            return self.answer_wrong_method(req.method, req.uri_template, given_id)
        if isinstance(error, falcon.HTTPRouteNotFound):
            return problem(NotFound(f"Nothing is served at {req.path[:200]!r}"), request_id(given_id), debug=False)
        return framework_problem(error, request_id(given_id))
