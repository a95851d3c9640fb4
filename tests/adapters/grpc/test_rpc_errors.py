"""Errors as gRPC clients see them."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from google.rpc.error_details_pb2 import BadRequest, DebugInfo, ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from penstock.errors import HandlerError, InvalidRequest, PenstockError, QueueFull, Unauthorized, WorkerLost
from penstock_grpc.rpc_errors import RpcFailure, failure_of

METADATA_LIMIT = 8 * 1024


def failure(error: PenstockError, *, debug: bool = False, left: float | None = None) -> RpcFailure:
    return failure_of(error, "r-1", debug=debug, left=left)


def details(found: RpcFailure) -> dict[str, Any]:
    packed = Status.FromString(dict(found.trailing)["grpc-status-details-bin"])
    assert (packed.code, packed.message) == (found.status.value[0], found.message)
    unpacked = {}
    for any_message in packed.details:
        for kind in (ErrorInfo, RetryInfo, BadRequest, DebugInfo, RequestInfo):
            if any_message.Is(kind.DESCRIPTOR):
                message = unpacked[kind.__name__] = kind()
                any_message.Unpack(message)
    return unpacked


def test_the_code_is_in_the_details() -> None:
    """With the domain, the HTTP status, and the request id."""
    found = details(failure(QueueFull("no room")))
    assert (found["ErrorInfo"].reason, found["ErrorInfo"].domain) == ("QUEUE_FULL", "penstock")
    assert dict(found["ErrorInfo"].metadata) == {"code": "queue-full", "http_status": "503"}
    assert found["RequestInfo"].request_id == "r-1"


def test_a_retry_is_advised_everywhere_alike() -> None:
    """Text, details, and the pushback that the library obeys name the same wait."""
    found = failure(QueueFull("no room", retry_after=5.0))
    trailing: dict[str, Any] = dict(found.trailing)
    seconds = int(trailing["retry-after"])
    assert 5 <= seconds <= 10
    assert trailing["x-should-retry"] == "true"
    assert trailing["grpc-retry-pushback-ms"] == str(seconds * 1000)
    assert details(found)["RetryInfo"].retry_delay.seconds == seconds


@pytest.mark.parametrize("error", [WorkerLost("it died"), InvalidRequest("no"), HandlerError("no")])
def test_a_retry_is_advised_against_where_it_is_not_safe(error: PenstockError) -> None:
    """The library's own retries obey a negative pushback."""
    found = failure(error)
    trailing = dict(found.trailing)
    assert (trailing["x-should-retry"], trailing["grpc-retry-pushback-ms"]) == ("false", "-1")
    assert "RetryInfo" not in details(found)


def test_a_retry_that_comes_too_late_is_not_advised() -> None:
    """The deadline of the caller counts."""
    assert dict(failure(QueueFull("no room", retry_after=5.0), left=1.0).trailing)["x-should-retry"] == "false"


def test_the_challenge_is_metadata() -> None:
    """The headers of an error are sent along."""
    found = failure(Unauthorized("who?"))
    assert found.status is StatusCode.UNAUTHENTICATED
    assert dict(found.trailing)["www-authenticate"] == "Bearer"


def test_the_exceptions_of_handlers_are_hidden() -> None:
    """Only with ``debug`` does a client see them."""
    error = HandlerError("the secret", exception_type="ValueError", traceback="Traceback: the secret")
    hidden = failure(error)
    assert "secret" not in str(hidden)
    shown = failure(error, debug=True)
    assert shown.message == "ValueError: the secret"
    assert details(shown)["DebugInfo"].detail == "Traceback: the secret"


def test_the_metadata_of_an_error_are_never_too_large_for_a_client() -> None:
    """Clients take 8 KiB by default, and would lose the whole error otherwise."""
    faults = [{"path": f"$.{'p' * 1000}[{n}]", "reason": "r" * 1000} for n in range(1000)]
    errors = [
        InvalidRequest("d" * 100_000, errors=faults),
        HandlerError("\u20ac" * 100_000, exception_type="E", traceback="\u20ac" * 100_000),
    ]
    for error in errors:
        found = failure(error, debug=True)
        texts = [(name, value) for name, value in found.trailing if isinstance(value, str)]
        size = sum(len(name) + len(value) + 32 for name, value in texts) + 3 * len(found.message.encode())
        size += len(base64.b64encode(dict(found.trailing)["grpc-status-details-bin"])) + 60
        assert size < METADATA_LIMIT, (type(error), size)
