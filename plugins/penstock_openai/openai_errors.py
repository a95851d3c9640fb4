"""Errors as OpenAI's clients expect them."""

from __future__ import annotations

from typing import Any

from penstock.errors import NotFound, PenstockError
from penstock.hooks import PublicError, RouteResponse

_CODES = {
    "unauthorized": "invalid_api_key",
    "rate-limited": "rate_limit_exceeded",
}


def error_response(error: PublicError) -> RouteResponse:
    """Return the response for an error. A body that does not fit is a 400 there, as one that is not JSON is."""
    return RouteResponse.json({"error": error_object(error)}, status=400 if error.status == 422 else error.status)


def error_object(error: PublicError) -> dict[str, Any]:
    """Return the ``error`` object."""
    is_model = error.status == 404 and error.param == "model"
    code = "model_not_found" if is_model else _CODES.get(error.code, error.code)
    return {"message": error.message, "type": error.type, "param": error.param, "code": code}


def not_found(message: str, request_id: str, param: str | None = None) -> RouteResponse:
    """Return the response of a route that does not have what a request asks for.

    Parameters
    ----------
    message:
        A sentence that says so.
    request_id:
        The id of the request.
    param:
        The field that names it, or None.
    """
    return refusal(NotFound(message, param=param), request_id)


def refusal(error: PenstockError, request_id: str) -> RouteResponse:
    """Return the response of a route that refuses a request, for a mistake of the client's."""
    public = PublicError(
        status=error.status,
        code=error.code,
        title=error.title,
        message=error.detail,
        type="invalid_request_error",
        request_id=request_id,
        param=error.param,
    )
    return error_response(public)
