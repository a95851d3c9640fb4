"""Routes other than endpoints. They do not depend on a transport, so every adapter can mount them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import msgspec

from penstock.hooks.principal import Principal
from penstock.policies import Timeouts
from penstock.response import JSON

_encode = msgspec.json.Encoder(enc_hook=str).encode


class RouteRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to a route.

    Attributes
    ----------
    header:
        Looks up a request header by its lower-case name; returns None if it is missing.
    query:
        The query string, not decoded.
    principal:
        The caller, if the route has an authenticator.
    """

    request_id: str
    method: str
    path: str
    header: Callable[[str], str | None]
    query: str = ""
    address: str = ""
    principal: Principal | None = None


class RouteResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A route's response. To refuse a request, a route raises a ``PenstockError`` instead."""

    body: bytes
    status: int = 200
    media_type: str = JSON
    headers: Mapping[str, str] = {}

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


RouteHandler: TypeAlias = Callable[[RouteRequest, RouteEngine], RouteResponse]


@dataclass(frozen=True, kw_only=True)
class Route:
    """A path with its handler. The body of a request, if any, is not read.

    Parameters
    ----------
    path:
        The path, beginning with a slash. The prefix of a mounted application is put before it.
    name:
        The name that logs, metrics and authenticators use for the route.
    handler:
        Called on the engine's thread; must not block.
    method:
        The HTTP method. A ``GET`` route answers ``HEAD`` as well.
    is_open:
        True if the route needs no authentication even where there is an authenticator: for health checks.
    is_for_callers:
        True if it is for every caller that may use endpoints, and not only for operators. The authenticator decides.
    is_local:
        True if its handler looks at nothing that changes, and so at no part of the engine. Where several HTTP processes
        share an engine, it is called in the one that has received the request.
    """

    path: str
    name: str
    handler: RouteHandler
    method: Literal["GET", "POST"] = "GET"
    is_open: bool = False
    is_for_callers: bool = False
    is_local: bool = False

    # Endpoints have timeouts too, so a policy can read those of a submission without checking its target.
    timeouts: ClassVar[Timeouts] = Timeouts()
