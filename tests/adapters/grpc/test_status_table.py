"""The status of each error."""

from __future__ import annotations

import inspect

import pytest
from grpc import StatusCode

from penstock import errors
from penstock.errors import PenstockError
from penstock_grpc.status_table import BY_CODE, status_of

EVERY_ROW = {
    "invalid-request": StatusCode.INVALID_ARGUMENT,
    "unauthorized": StatusCode.UNAUTHENTICATED,
    "forbidden": StatusCode.PERMISSION_DENIED,
    "not-found": StatusCode.NOT_FOUND,
    "method-not-allowed": StatusCode.UNIMPLEMENTED,
    "request-timeout": StatusCode.DEADLINE_EXCEEDED,
    "payload-too-large": StatusCode.RESOURCE_EXHAUSTED,
    "unsupported-media-type": StatusCode.INVALID_ARGUMENT,
    "rate-limited": StatusCode.RESOURCE_EXHAUSTED,
    "queue-full": StatusCode.RESOURCE_EXHAUSTED,
    "queue-timeout": StatusCode.UNAVAILABLE,
    "deadline-infeasible": StatusCode.UNAVAILABLE,
    "circuit-open": StatusCode.UNAVAILABLE,
    "draining": StatusCode.UNAVAILABLE,
    "not-ready": StatusCode.UNAVAILABLE,
    "unavailable": StatusCode.UNAVAILABLE,
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
NOT_FOR_CALLERS = {"declaration-error", "plugin-error", "engine-error"}


@pytest.mark.parametrize(("code", "status"), EVERY_ROW.items())
def test_each_code_has_its_status(code: str, status: StatusCode) -> None:
    """The code decides, whatever the HTTP status is."""
    assert status_of(code, 200) is status


def test_the_table_has_no_other_row() -> None:
    """Each row is tested here."""
    assert set(BY_CODE) == set(EVERY_ROW)


def test_every_error_has_a_row() -> None:
    """No error that a caller may get is left to its HTTP status."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, PenstockError)]
    assert {kind.code for kind in kinds} - NOT_FOR_CALLERS <= set(BY_CODE)


@pytest.mark.parametrize(
    ("http_status", "status"),
    [
        (400, StatusCode.INVALID_ARGUMENT),
        (401, StatusCode.UNAUTHENTICATED),
        (402, StatusCode.INVALID_ARGUMENT),
        (403, StatusCode.PERMISSION_DENIED),
        (404, StatusCode.NOT_FOUND),
        (405, StatusCode.UNIMPLEMENTED),
        (408, StatusCode.DEADLINE_EXCEEDED),
        (409, StatusCode.FAILED_PRECONDITION),
        (410, StatusCode.NOT_FOUND),
        (412, StatusCode.FAILED_PRECONDITION),
        (413, StatusCode.RESOURCE_EXHAUSTED),
        (418, StatusCode.INVALID_ARGUMENT),
        (422, StatusCode.INVALID_ARGUMENT),
        (429, StatusCode.RESOURCE_EXHAUSTED),
        (499, StatusCode.CANCELLED),
        (500, StatusCode.INTERNAL),
        (501, StatusCode.UNIMPLEMENTED),
        (502, StatusCode.UNAVAILABLE),
        (503, StatusCode.UNAVAILABLE),
        (504, StatusCode.DEADLINE_EXCEEDED),
        (599, StatusCode.INTERNAL),
    ],
)
def test_an_error_of_the_apps_own_goes_by_its_http_status(http_status: int, status: StatusCode) -> None:
    """A code that the table does not have is that of a plug-in's or an app's own error."""
    assert status_of("the-apps-own", http_status) is status
