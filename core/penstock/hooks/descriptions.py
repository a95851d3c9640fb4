"""Facts about an endpoint that only a plug-in knows, for the OpenAPI document: headers, credentials and errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.errors import PenstockError


class HeaderDescription(msgspec.Struct, frozen=True):
    """One header.

    Parameters
    ----------
    text:
        Its meaning in a sentence or two, in CommonMark.
    schema:
        The JSON Schema of a valid value.
    """

    text: str
    schema: Mapping[str, Any] = msgspec.field(default_factory=lambda: {"type": "string"})


class EndpointDescription(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an endpoint's description that a plug-in contributes.

    Parameters
    ----------
    request_headers:
        The headers that the plug-in reads, by name in their usual case. A client may leave each of them out.
    response_headers:
        The headers that it adds to successful responses, by name.
    credentials:
        The ways to authenticate, by a name for each: security schemes of OpenAPI, of which a client uses one.
    scopes:
        The scopes that the caller needs, all of them.
    errors:
        The classes of the errors with which it refuses requests, where their status is 401, 403, 404 or 429. A client
        expects the others of any endpoint.
    responses:
        The responses that the plug-in itself sends in place of the endpoint's, by status: OpenAPI response objects,
        without references. Those that every endpoint has, 200 and the errors, cannot be replaced.
    """

    request_headers: Mapping[str, HeaderDescription] = {}
    response_headers: Mapping[str, HeaderDescription] = {}
    credentials: Mapping[str, Mapping[str, Any]] = {}
    scopes: tuple[str, ...] = ()
    errors: tuple[type[PenstockError], ...] = ()
    responses: Mapping[int, Mapping[str, Any]] = {}
