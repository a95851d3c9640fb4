"""Acceptors: they take admitted requests away from an endpoint, to have them done later or elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple, TypeAlias

from penstock.body_files import Body
from penstock.errors import InvalidRequest
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


def wanted(acceptor: Acceptor | None, submission: Submission) -> Acceptor | None:
    """Return the acceptor of an endpoint if it takes a request away.

    Raises
    ------
    InvalidRequest
        If it does not, and the request asks for a background job.
    """
    if acceptor is not None and acceptor.wants(submission):
        return acceptor
    if submission.job_memo is not None:
        raise InvalidRequest(
            f"endpoint {submission.endpoint.name!r} takes no background jobs on this server; declare it with "
            "@app.endpoint(..., jobs=Jobs()), and name a store in the setting 'store' of plug-in 'jobs'"
        )
    return None
