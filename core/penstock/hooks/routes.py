"""Routes other than endpoints. They do not depend on a transport, so every adapter can mount them."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import msgspec

from penstock.errors import DeclarationError
from penstock.hooks.principal import Principal
from penstock.hooks.program_jobs import CallerJobs
from penstock.policies import Timeouts
from penstock.response import JSON

_encode = msgspec.json.Encoder(enc_hook=str).encode


class RouteRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to a route.

    Attributes
    ----------
    header:
        Looks up a request header by its lower-case name; returns None if it is missing.
    path:
        The path, decoded, with the prefix of a mounted application.
    path_values:
        The values of the variables in the route's path, decoded.
    query:
        The query string, not decoded.
    principal:
        The caller, if the route has an authenticator.
    body:
        The body; empty unless the route reads it.
    """

    request_id: str
    method: str
    path: str
    header: Callable[[str], str | None]
    path_values: Mapping[str, str] = {}
    query: str = ""
    address: str = ""
    principal: Principal | None = None
    body: bytes = b""


class RouteResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A route's response. To refuse a request, a route raises a ``PenstockError`` instead.

    Attributes
    ----------
    body:
        The body, or the beginning of it if there is a stream.
    stream:
        The pieces after ``body``, which are sent as they come: the next one is asked for when the last has been taken.
        It is closed when the client leaves. If it raises, the connection is cut. None: there are none.
    keep_alive:
        A piece that is sent whenever a stream has been silent for 15 s, such as a comment in an event stream.
    """

    body: bytes = b""
    status: int = 200
    media_type: str = JSON
    headers: Mapping[str, str] = {}
    stream: AsyncIterator[bytes] | None = None
    keep_alive: bytes = b""

    @classmethod
    def json(cls, content: object, status: int = 200) -> RouteResponse:
        """Return a response with ``content`` as JSON."""
        return cls(body=_encode(content), status=status)


class RouteEngine(Protocol):
    """The part of the engine that routes may use. ``penstock.Engine`` documents each member."""

    @property
    def draining(self) -> bool:
        """True once a drain has begun."""

    @property
    def longest_drain(self) -> float:
        """The longest drain that the host allows, in seconds."""

    def unready_reasons(self) -> list[str]:
        """Return the reasons why work should not be sent here now; empty if it may be."""

    def status(self) -> dict[str, Any]:
        """Return the content of the status page, ready for JSON."""

    def require_access(self, endpoint: str, request: RouteRequest, /) -> None:
        """Ask the authenticator of an endpoint whether the caller of a route may use that endpoint, by its name.

        For a route that has an endpoint's work done: the route's own authenticator does not know of it.

        Raises
        ------
        Unauthorized, Forbidden
            If the caller may not.
        KeyError
            If there is no such endpoint.
        """

    def jobs_of(self, request: RouteRequest, /) -> CallerJobs | None:
        """Return the background jobs that the caller of a route sees; None if the server has no store for any.

        The route needs an authenticator that identifies its callers: those it does not identify see each other's jobs.
        """

    def pause(self, *, who: str = "the program", why: str = "") -> None:
        """Take the engine out of rotation."""

    def resume(self, *, who: str = "the program", why: str = "") -> None:
        """Accept work again."""

    def scale(self, pool: str, workers: int, *, who: str = "the program") -> None:
        """Change the number of a pool's workers."""

    def reload(self, *, who: str = "the program", why: str = "") -> bool:
        """Have the server load the app again, beside the one that serves; return False if it cannot."""

    def shutdown(
        self, drain: float, *, who: str = "the program", why: str = "", on_drained: Callable[[], None] | None = None
    ) -> None:
        """Drain for at most ``drain`` seconds, then close."""


RouteHandler: TypeAlias = Callable[[RouteRequest, RouteEngine], RouteResponse | Coroutine[Any, Any, RouteResponse]]
RouteMethod: TypeAlias = Literal["GET", "POST", "PUT", "DELETE"]


@dataclass(frozen=True, kw_only=True)
class Route:
    """A path and a method, with their handler.

    Parameters
    ----------
    path:
        The path, beginning with a slash. ``{name}`` stands for one segment, and at its end ``{name:path}`` for one or
        more. The prefix of a mounted application is put before it.
    name:
        The name that logs, metrics and authenticators use for the route.
    handler:
        Called on the engine's thread; must not block. An ``async def`` function may wait: it runs on the engine's loop,
        asyncio's or trio's, and is cancelled when its client leaves or the server stops.
    method:
        The HTTP method. A ``GET`` route answers ``HEAD`` as well. Routes with other methods may have the same path.
    is_open:
        True if the route needs no authentication even where there is an authenticator: for health checks.
    is_for_callers:
        True if it is for every caller that may use endpoints, and not only for operators. The authenticator decides.
    is_local:
        True if its handler looks at nothing that changes, and so at no part of the engine. Where several HTTP processes
        share an engine, it is called in the one that has received the request. It neither waits nor streams.
    reads_body:
        True if the handler looks at the body, which is read once the authenticator has let the request in. Otherwise it
        is ignored.
    max_body:
        The largest body, in bytes; it is kept in memory. A larger one is refused with 413.
    body_timeout:
        Seconds from the first byte of the request within which its body must have arrived. A later one is refused with
        408.
    description:
        The operation as the OpenAPI document shows it, with ``parameters``, ``responses`` and the rest. Path variables,
        a tag and credentials are added where they are missing. None: it is not in the document.
    error:
        Takes an error, a ``PublicError``, and returns the response, as ``Dialect.error`` does: for routes of a protocol
        with errors of its own. None: errors are problem documents.

    Attributes
    ----------
    waits:
        True if the handler is an ``async def`` function.
    """

    path: str
    name: str
    handler: RouteHandler
    method: RouteMethod = "GET"
    is_open: bool = False
    is_for_callers: bool = False
    is_local: bool = False
    reads_body: bool = False
    max_body: int = 1 << 20
    body_timeout: float = 30.0
    description: Mapping[str, Any] | None = None
    error: Callable[[Any], RouteResponse] | None = None  # a PublicError belongs to dialects, which know routes
    waits: bool = field(init=False)

    # Endpoints have timeouts too, so a policy can read those of a submission without checking its target.
    timeouts: ClassVar[Timeouts] = Timeouts()

    def __post_init__(self) -> None:
        object.__setattr__(self, "waits", is_async(self.handler))
        if self.waits and self.is_local:
            raise DeclarationError(
                f"route {self.name!r} is local, so it cannot wait: make its handler a plain one, or leave out is_local"
            )

    @property
    def key(self) -> str:
        """The method and the path, which no other route has together."""
        return f"{self.method} {self.path}"


def is_async(function: Any) -> bool:
    """Return whether a callable, which may be an object, is an ``async def`` function."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - for a callable object
