"""Errors as clients of the protocol expect them: an object with one text."""

from __future__ import annotations

from penstock.errors import PenstockError
from penstock.hooks import PublicError, RouteResponse
from penstock_oip.plain_answers import plain_answer


def error_response(error: PublicError) -> RouteResponse:
    """Return the response for an error. A body that does not fit is a 400 there, as one that is not JSON is."""
    return refusal(error.message, 400 if error.status == 422 else error.status)


def refusal(message: str, status: int) -> RouteResponse:
    """Return the response with a status and a sentence that says why."""
    return plain_answer({"error": message}, status=status)


def refused(error: PenstockError) -> RouteResponse:
    """Return the response of a route that refuses a request, for a mistake of the client's."""
    return refusal(error.detail, error.status)
