"""Penstock's errors as gRPC status codes."""

from __future__ import annotations

from typing import Final

from grpc import StatusCode

BY_CODE: Final = {
    "invalid-request": StatusCode.INVALID_ARGUMENT,
    "unauthorized": StatusCode.UNAUTHENTICATED,
    "forbidden": StatusCode.PERMISSION_DENIED,
    "not-found": StatusCode.NOT_FOUND,
    "method-not-allowed": StatusCode.UNIMPLEMENTED,
    # The message did not arrive in time, or the caller's deadline passed before anything was started.
    "request-timeout": StatusCode.DEADLINE_EXCEEDED,
    "payload-too-large": StatusCode.RESOURCE_EXHAUSTED,
    "unsupported-media-type": StatusCode.INVALID_ARGUMENT,
    "rate-limited": StatusCode.RESOURCE_EXHAUSTED,
    "queue-full": StatusCode.RESOURCE_EXHAUSTED,
    # Never started, and another server may have room: what clients retry.
    "queue-timeout": StatusCode.UNAVAILABLE,
    "deadline-infeasible": StatusCode.UNAVAILABLE,
    "circuit-open": StatusCode.UNAVAILABLE,
    "draining": StatusCode.UNAVAILABLE,
    "not-ready": StatusCode.UNAVAILABLE,
    "unavailable": StatusCode.UNAVAILABLE,
    # It may have run. The trailing metadata says whether it may be sent again.
    "worker-lost": StatusCode.UNAVAILABLE,
    "execution-timeout": StatusCode.DEADLINE_EXCEEDED,
    "total-timeout": StatusCode.DEADLINE_EXCEEDED,
    "deadline-exceeded": StatusCode.DEADLINE_EXCEEDED,
    "cancelled": StatusCode.CANCELLED,
    "handler-error": StatusCode.INTERNAL,
    "hook-error": StatusCode.INTERNAL,
    "internal-error": StatusCode.INTERNAL,
    "job-not-found": StatusCode.NOT_FOUND,
    "job-gone": StatusCode.NOT_FOUND,
    "job-not-final": StatusCode.FAILED_PRECONDITION,
    "idempotency-mismatch": StatusCode.INVALID_ARGUMENT,
    "invalid-webhook": StatusCode.INVALID_ARGUMENT,
    "store-full": StatusCode.UNAVAILABLE,
    "store-unavailable": StatusCode.UNAVAILABLE,
}
"""The status of each error that Penstock has."""

_BY_HTTP_STATUS: Final = {
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    405: StatusCode.UNIMPLEMENTED,
    408: StatusCode.DEADLINE_EXCEEDED,
    409: StatusCode.FAILED_PRECONDITION,
    410: StatusCode.NOT_FOUND,
    412: StatusCode.FAILED_PRECONDITION,
    413: StatusCode.RESOURCE_EXHAUSTED,
    429: StatusCode.RESOURCE_EXHAUSTED,
    499: StatusCode.CANCELLED,
    501: StatusCode.UNIMPLEMENTED,
    502: StatusCode.UNAVAILABLE,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}


def status_of(code: str, http_status: int) -> StatusCode:
    """Return the status for an error: by its code, or by its HTTP status for one of a plug-in's or the app's own."""
    found = BY_CODE.get(code) or _BY_HTTP_STATUS.get(http_status)
    if found is not None:
        return found
    return StatusCode.INVALID_ARGUMENT if http_status < 500 else StatusCode.INTERNAL
