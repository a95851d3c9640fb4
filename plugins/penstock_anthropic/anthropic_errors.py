"""Errors as Anthropic's clients expect them."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.hooks import PublicError, RouteResponse

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_response(error: PublicError) -> RouteResponse:
    """Return the response for an error. A body that does not fit is a 400 there, as one that is not JSON is."""
    return RouteResponse(
        body=msgspec.json.encode(error_object(error)),
        status=400 if error.status == 422 else error.status,
        headers={"request-id": error.request_id},
    )


def error_object(error: PublicError) -> dict[str, Any]:
    """Return the body of the response."""
    usual = "api_error" if error.status >= 500 else "invalid_request_error"
    told = {"type": _TYPES.get(error.status, usual), "message": error.message}
    return {"type": "error", "error": told, "request_id": error.request_id}
