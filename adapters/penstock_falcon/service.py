"""What stands behind an application: the app, the settings, and the engine, from its start to its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import falcon

from penstock.errors import DeclarationError, MethodNotAllowed, NotFound
from penstock_falcon.admission import request_id
from penstock_falcon.answers import Answer
from penstock_falcon.operations import ROUTES
from penstock_falcon.problems import framework_problem, problem

if TYPE_CHECKING:
    from penstock.app import App, Endpoint

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
    """

    debug: bool = False
    max_body: int = MAX_BODY
    drain_timeout: float = 30.0
    target: str | None = None


class Service(Generic[EngineT]):
    """The app, its settings and its engine, as one thing: an application's ``penstock`` attribute.

    Attributes
    ----------
    engine:
        None until it has started. An engine that was given is used as it is: who made it starts and ends it.
    on_pools_failed:
        Called with the reason when a pool cannot be started at all. Set it before the engine starts.
    """

    def __init__(self, app: App, engine: EngineT | None, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self.engine = engine
        self.is_ours = engine is None
        self.on_pools_failed: Callable[[str], None] | None = None
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
        self._allowed.update((prefix + path, ("GET", "HEAD")) for path in ROUTES)
        return [(prefix + endpoint.path, endpoint) for endpoint in self.app.endpoints]

    def answer_wrong_method(self, method: str, path: str, given_id: str | None) -> Answer:
        """The 405 of one of our paths."""
        error = MethodNotAllowed(f"{path} does not take {method}", allowed=self._allowed[path])
        return problem(error, request_id(given_id), debug=self.settings.debug)

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
