"""The head of a response that is about to be sent, as plug-ins see it that add headers to every response."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec


class ResponseHead(msgspec.Struct, frozen=True, kw_only=True):
    """The head of one response, with the head of the request that it answers.

    Attributes
    ----------
    method:
        The method of the request.
    path:
        The path of the request, not checked: there may be nothing at it.
    header:
        Looks up a request header by its lower-case name; returns None if it is missing.
    status:
        The status of the response.
    headers:
        The headers that the response has so far, by lower-case name.
    """

    method: str
    path: str
    header: Callable[[str], str | None]
    status: int
    headers: Mapping[str, str]
