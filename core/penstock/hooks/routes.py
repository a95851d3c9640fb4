"""Routes that are no endpoints: transport-neutral, so that every adapter can mount them."""

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
    """What a route is asked.

    Attributes
    ----------
    header:
        Looks a request header up, by its name in lower case.
    query:
        The query string, undecoded.
    principal:
        Who asks, if there is an authenticator for the route.
    """

    request_id: str
    method: str
    path: str
    header: Callable[[str], str | None]
    query: str = ""
    address: str = ""
    principal: Principal | None = None


class RouteResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What a route answers; to refuse, it raises a ``PenstockError`` instead."""

    body: bytes
    status: int = 200
    media_type: str = JSON
    headers: Mapping[str, str] = {}

    @classmethod
    def json(cls, content: object, status: int = 200) -> RouteResponse:
        """An answer in JSON."""
        return cls(body=_encode(content), status=status)


class RouteEngine(Protocol):
    """The engine, as far as a route may use it. ``penstock.Engine`` documents each of these."""

    @property
    def draining(self) -> bool:
        """Whether a drain has begun."""

    @property
    def longest_drain(self) -> float:
        """The longest drain that the host allows, in seconds."""

    def unready_reasons(self) -> list[str]:
        """Return why work should not be sent here now; empty if it should."""

    def status(self) -> dict[str, Any]:
        """Return what the status page shows, ready for JSON."""

    def pause(self, *, who: str = "the program", why: str = "") -> None:
        """Take the engine out of rotation."""

    def resume(self, *, who: str = "the program", why: str = "") -> None:
        """Accept work again."""

    def shutdown(
        self, drain: float, *, who: str = "the program", why: str = "", on_drained: Callable[[], None] | None = None
    ) -> None:
        """Drain for at most ``drain`` seconds, then close."""


RouteHandler: TypeAlias = Callable[[RouteRequest, RouteEngine], RouteResponse]


@dataclass(frozen=True, kw_only=True)
class Route:
    """A path and what answers there. Its body, if it has one, is not read.

    Parameters
    ----------
    path:
        Beginning with a slash; a mounted application's prefix comes before it.
    name:
        What logs, metrics and authenticators call it.
    handler:
        Called in the engine's thread, and must not wait for anything.
    method:
        ``GET`` answers ``HEAD`` too.
    is_open:
        Whether anybody may ask, even where there is an authenticator: for health checks.
    """

    path: str
    name: str
    handler: RouteHandler
    method: Literal["GET", "POST"] = "GET"
    is_open: bool = False

    # So that a policy may look at a submission without asking what it is for.
    timeouts: ClassVar[Timeouts] = Timeouts()
