"""The service behind the HTTP application of a process, as far as a gRPC server needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from penstock import App, Endpoint
from penstock.errors import PenstockError
from penstock.hooks import RequestAnswered, Route, RouteRequest, Submission
from penstock.hosting import Pipeline, Registry


class HostSettings(Protocol):
    """The settings of an application that hold for gRPC too; ``penstock_falcon.Settings`` documents them."""

    @property
    def debug(self) -> bool:
        """True to show the exceptions of handlers to clients."""

    @property
    def max_body(self) -> int:
        """The largest input, in bytes."""


class HostProxies(Protocol):
    """The proxies that are trusted to name the client's address."""

    def client_address(self, peer: str, header: Callable[[str], str | None]) -> str:
        """Return the address of the client."""


class ServingHost(Protocol):
    """The service behind an HTTP application, such as ``penstock_falcon.asgi(app).penstock``."""

    app: App
    registry: Registry
    on_answered: Callable[[RequestAnswered], object] | None

    @property
    def settings(self) -> HostSettings:
        """The settings."""

    @property
    def trusted_proxies(self) -> HostProxies:
        """The trusted proxies."""

    @property
    def engine(self) -> Any:
        """The engine, or the connection to it; None until it has started."""

    def start(self) -> Any:
        """Start the engine unless it is running, and return it."""

    def pipeline(self, target: Endpoint | Route) -> Pipeline | None:
        """Return the policies for an endpoint or a route, or None if it has none."""

    def submit_fault(self, submission: Submission, error: PenstockError) -> Any:
        """Refuse a request in which something is wrong; it has passed its policies already."""

    def refuse(self, submission: Submission, error: PenstockError) -> None:
        """Release the admission policies and notify observers: the request will not become a job."""

    def ask(self, route: Route, request: RouteRequest, submission: Submission) -> Any:
        """Begin to answer a request to a route, and return its call."""
