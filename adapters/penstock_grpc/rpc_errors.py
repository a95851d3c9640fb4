"""Errors as gRPC clients see them: a status, a message, and trailing metadata that says whether and when to retry."""

from __future__ import annotations

import logging
import traceback
from typing import Final, NamedTuple

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, DebugInfo, ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from penstock.errors import PenstockError
from penstock.hooks import PublicError, Trace, log_event
from penstock.hosting import public_error, retry_after, should_retry
from penstock_grpc.rpc_metadata import Metadata
from penstock_grpc.status_table import status_of

DOMAIN: Final = "penstock"
"""The domain of the reasons in ``ErrorInfo``."""

# In bytes. Clients refuse more than 8 KiB of metadata. The message is in it twice, once with up to three bytes for each
# of its own, and the details have four bytes for three.
_MESSAGE_BYTES = 512
_MOST_FAULTS = 6
_FAULT_BYTES = 150
_TRACEBACK_BYTES = 1500
_NOT_AGAIN = "-1"


class RpcFailure(NamedTuple):
    """The end of a call that failed."""

    status: StatusCode
    message: str
    trailing: Metadata


def failure_of(error: PenstockError, request_id: str, *, debug: bool, left: float | None) -> RpcFailure:
    """Return the end of a call for an error.

    Parameters
    ----------
    error:
        The error.
    request_id:
        The request id.
    debug:
        True if clients may see the exceptions of handlers.
    left:
        Seconds for which the caller still waits, retries of its own included; None if it has not said.
    """
    public = public_error(error, request_id, debug=debug)
    status = status_of(public.code, public.status)
    message = _cut(public.message, _MESSAGE_BYTES)
    wait = retry_after(error.retry_after) if error.status in (429, 503) else 0
    may_retry = should_retry(error, wait, left)
    details = _details(public, wait if may_retry and wait else None)
    described = Status(code=status.value[0], message=message, details=details)
    trailing = [
        ("x-request-id", request_id),
        ("penstock-code", public.code),
        ("x-should-retry", "true" if may_retry else "false"),
        # Retries that the gRPC library makes by itself obey this one; retries of what was never sent do not ask.
        ("grpc-retry-pushback-ms", str(wait * 1000) if may_retry else _NOT_AGAIN),
        ("grpc-status-details-bin", described.SerializeToString()),
    ]
    if wait:
        trailing.append(("retry-after", str(wait)))
    trailing += [(name.lower(), value) for name, value in error.headers.items() if name.lower() != "connection"]
    return RpcFailure(status, message, trailing)


def _details(error: PublicError, wait: int | None) -> list[AnyMessage]:
    reason = error.code.upper().replace("-", "_")
    found: list[Message] = [
        ErrorInfo(reason=reason, domain=DOMAIN, metadata={"code": error.code, "http_status": str(error.status)}),
        RequestInfo(request_id=error.request_id),
    ]
    if wait is not None:
        retry = RetryInfo()
        retry.retry_delay.FromMilliseconds(wait * 1000)
        found.append(retry)
    if error.errors:
        faults = [
            BadRequest.FieldViolation(
                field=_cut(fault["path"], _FAULT_BYTES), description=_cut(fault["reason"], _FAULT_BYTES)
            )
            for fault in error.errors[:_MOST_FAULTS]
        ]
        found.append(BadRequest(field_violations=faults))
    if error.traceback:
        found.append(DebugInfo(detail=_cut(error.traceback[-_TRACEBACK_BYTES:], _TRACEBACK_BYTES)))
    return [_packed(message) for message in found]


def _cut(text: str, limit_bytes: int) -> str:
    """Return as much of a text as has at most this size in UTF-8."""
    return text.encode("utf-8", "replace")[:limit_bytes].decode("utf-8", "ignore")


def _packed(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def internal_failure(error: Exception, request_id: str, trace: Trace | None) -> PenstockError:
    """Return the error for an unexpected exception. It is logged in full; the client learns nothing about it."""
    log_event(
        logging.ERROR,
        "internal-error",
        f"request {request_id} failed inside the server: {type(error).__name__}: {error}",
        request_id=request_id,
        **({} if trace is None else trace.log_fields()),
        traceback="".join(traceback.format_exception(error)),
    )
    return PenstockError("The server failed. Its log has the reason, under this request id.")


def code_of(outcome: object) -> tuple[int, str]:
    """Return the HTTP status and the code under which an outcome is recorded."""
    if isinstance(outcome, PenstockError):
        return outcome.status, outcome.code
    return getattr(outcome, "status", 200), "ok"
