"""Errors from a handler: each arrives with its class and all of its fields."""

from __future__ import annotations

from typing import Any

import pytest

from penstock import errors
from penstock.app import App, Endpoint
from penstock.engine.outcomes import results_of
from penstock.errors import (
    DeclarationError,
    EngineError,
    Forbidden,
    HandlerError,
    HookError,
    InvalidRequest,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    PenstockError,
    RateLimited,
    Unauthorized,
    Unavailable,
)
from penstock.policies import Retries
from penstock.wire import FAILED_ANSWERED, Done, Failure, FrameReader, pack
from penstock.worker.failure_reports import failure_of


def endpoint(retries: Retries) -> Endpoint:
    app = App("tests")
    app.endpoint("/square", retries=retries)(lambda x: x)
    return app.endpoints[0]


def arrived(error: BaseException, retries: Retries = Retries()) -> PenstockError:
    """Return the error that the engine has for an exception of a handler."""
    (done,) = FrameReader().feed(pack(Done(1, 0.5, [failure_of(error, endpoint(retries))])))
    assert isinstance(done, Done)
    (result,) = results_of(done)
    assert isinstance(result, PenstockError)
    return result


def answers() -> list[type[PenstockError]]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PenstockError)]
    return [kind for kind in kinds if kind.status not in (499, 500)]


@pytest.mark.parametrize("kind", answers(), ids=lambda kind: kind.__name__)
def test_every_error_arrives_as_it_was_raised(kind: type[PenstockError]) -> None:
    """The class and each field survive, for every class there is."""
    error = kind("the reason")
    error.retryable, error.retry_after, error.param = not error.retryable, 86_400.0, "features"
    for name, value in vars(error).items():
        if name not in ("detail", "retryable", "retry_after", "param"):
            vars(error)[name] = [{"path": "$.a", "reason": "b"}] if name == "errors" else value
    got = arrived(error)
    assert type(got) is kind
    assert vars(got) == vars(error)
    assert str(got) == "the reason"


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("no", param="features", errors=[{"path": "$.features[0]", "reason": "too hot"}]),
        MalformedRequest("no", param="features"),
        Unauthorized("who?", challenge='Bearer realm="models"'),
        Forbidden("no", challenge='Bearer scope="admin"'),
        MethodNotAllowed("no", allowed=("GET", "PUT")),
        RateLimited("tomorrow", retry_after=86_400, param="user"),
        NotFound("no such user", param="user"),
        Unavailable("the GPU is busy", retry_after=3.0, retryable=False),
    ],
    ids=lambda error: type(error).__name__,
)
def test_fields_of_a_class_survive(error: PenstockError) -> None:
    """Every parameter that an error takes reaches the caller, headers included."""
    got = arrived(error)
    assert (type(got), vars(got), got.headers) == (type(error), vars(error), error.headers)


class OutOfStock(NotFound):
    status = 410
    code = "out-of-stock"
    title = "Out of stock"


class BadFacts(NotFound):
    status = 700
    code = "Not a code\r\nX: y"


def test_a_class_of_the_user_keeps_its_status_and_code() -> None:
    """A subclass arrives as its nearest known class, with its own status, code and title."""
    got = arrived(OutOfStock("sold", param="article"))
    assert (type(got), got.status, got.code, got.title) == (NotFound, 410, "out-of-stock", "Out of stock")
    assert (got.detail, got.param) == ("sold", "article")
    bad = arrived(BadFacts("sold"))
    assert (bad.status, bad.code) == (404, "not-found")


class Careless(InvalidRequest):
    def __init__(self) -> None:
        Exception.__init__(self, "careless")


def test_any_content_of_a_field_is_sent() -> None:
    """Text of another kind, lone surrogates, endless text and missing fields do no harm."""

    class Name:
        def __str__(self) -> str:
            return "features"

    odd: Any = InvalidRequest("\ud800" + "x" * 100_000, param=Name(), errors=[{"path": Name(), "reason": 4}])  # type: ignore[arg-type,dict-item]
    got = arrived(odd)
    assert isinstance(got, InvalidRequest)
    assert (got.param, got.errors) == ("features", [{"path": "features", "reason": "4"}])
    assert len(got.detail) < 10_000
    assert arrived(Careless()).status == 422


@pytest.mark.parametrize("error", [DeclarationError("x"), EngineError("x"), HookError("x"), PenstockError("x")])
def test_an_error_with_status_500_is_a_failure_of_the_handler(error: PenstockError) -> None:
    """Something is broken, so the log has the exception and its traceback."""
    got = arrived(error)
    assert isinstance(got, HandlerError)
    assert got.exception_type == f"penstock.errors.{type(error).__name__}"


def test_retries_may_name_errors() -> None:
    """An error that ``Retries.on`` names is retried, unless it is the caller's fault."""
    rules = Retries(on=PenstockError)
    assert getattr(arrived(Unavailable("busy"), rules), "may_retry", None) is True
    assert type(arrived(NotFound("none"), rules)) is NotFound


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("Nonsense", {}),
        ("ClassVar", {}),
        ("HandlerError", {"detail": "x"}),
        ("Cancelled", {}),
        ("NotFound", {"unknown": 1}),
        ("NotFound", {"detail": 5}),
        ("NotFound", {"status": 200}),
        ("NotFound", {"status": 500}),
        ("NotFound", {"__class__": "x"}),
        ("Unauthorized", {"challenge": "Bearer\r\nSet-Cookie: a=b"}),
    ],
)
def test_a_forged_description_is_a_failure_of_the_handler(name: str, fields: dict[str, Any]) -> None:
    """A worker cannot make the engine raise, or answer with anything but an error."""
    (result,) = results_of(Done(1, 0.0, [Failure(FAILED_ANSWERED, error=name, fields=fields)]))
    assert type(result) is HandlerError
