"""Acceptors: they take admitted requests away from an endpoint, to have them done later or elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple, TypeAlias

from penstock.body_files import Body
from penstock.hooks.routes import RouteResponse
from penstock.hooks.submission import Submission

Accept: TypeAlias = Callable[
    [Submission, Body, "Mapping[str, str] | None"], RouteResponse | Coroutine[Any, Any, RouteResponse]
]


class Acceptor(NamedTuple):
    """Two callables, both of which run on the engine's thread and must not block."""

    wants: Callable[[Submission], bool]
    """Takes the submission of an admitted request, and returns true to take it away. It is asked for every request."""
    accept: Accept
    """Takes the submission, the undecoded body, and the headers for the handler's context (None if it has no context).
    It returns the response, or a coroutine that does; it raises a ``PenstockError`` to refuse the request."""
