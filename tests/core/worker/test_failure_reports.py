"""A worker's reports of exceptions: they say whether a job may be retried, which only the exception itself can show."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.app import App, Endpoint
from penstock.engine.outcomes import results_of
from penstock.errors import UNENCODABLE, Cancelled, HandlerError, InvalidRequest, Retryable
from penstock.policies import Batching, Retries
from penstock.wire import Done, Failure, FrameReader, Work, pack
from penstock.worker.attempts import Batch, LiveEndpoint
from penstock.worker.failure_reports import failure_of
from penstock.worker.interrupts import Interrupted


class OwnWay(Retryable):
    """Does not call its parent's ``__init__``."""

    def __init__(self) -> None:
        Exception.__init__(self, "mine")


def square(input: float) -> float:
    return input**2


def double(batch: list[float]) -> list[float]:
    return [2 * item for item in batch]


def endpoint(handler: Any = square, **options: Any) -> Endpoint:
    """Return an endpoint whose connection and lookup errors may be retried."""
    app = App("tests")
    app.endpoint("/square", **{"retries": Retries(on=(ConnectionError, LookupError)), **options})(handler)
    return app.endpoints[0]


def said(error: BaseException, **options: Any) -> tuple[bool, float | None]:
    """Return whether the job may be retried, and after how long."""
    failure = failure_of(error, endpoint(**options))
    return failure.may_retry, failure.retry_delay


@pytest.mark.parametrize(
    ("error", "may_retry"),
    [
        (ConnectionError(), True),
        (ConnectionResetError(), True),
        (KeyError("a subclass of what is named"), True),
        (ValueError(), False),
        (InvalidRequest("the caller's fault"), False),
        (Cancelled("given up"), False),
        (Interrupted(), False),
        (SystemExit(1), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_named_exceptions_and_their_subclasses_may_be_tried_again(error: BaseException, *, may_retry: bool) -> None:
    """``Retries.on`` decides; anything but a failure of the code is never retried."""
    assert said(error) == (may_retry, None)


def test_who_says_so_itself_may_be_tried_again() -> None:
    """``Retryable`` need not be named in ``Retries.on``, and carries its own delay."""
    assert said(Retryable("not yet")) == (True, None)
    assert said(Retryable(delay=1.5)) == (True, 1.5)
    assert said(Retryable(delay=0)) == (True, 0.0)
    assert said(OwnWay()) == (True, None)


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf")], ids=str)
def test_a_delay_is_a_number_of_seconds(delay: float) -> None:
    """An invalid delay is an error in the handler, at the line that passes it."""
    with pytest.raises(ValueError, match=r"give seconds, 0 or more"):
        Retryable(delay=delay)


def test_what_may_not_run_twice_says_so_itself() -> None:
    """If an endpoint is not idempotent, only ``Retryable`` is retried."""
    assert said(ConnectionError(), idempotent=False) == (False, None)
    assert said(Retryable(delay=1.0), idempotent=False) == (True, 1.0)


def test_a_group_may_be_tried_again_if_all_of_it_may() -> None:
    """Nurseries raise groups, even for one error. The longest delay counts."""
    passing = ExceptionGroup("both", [Retryable(delay=1.0), ExceptionGroup("in", [Retryable(delay=2.0), KeyError()])])
    assert said(passing) == (True, 2.0)
    assert said(ExceptionGroup("one of two", [Retryable(delay=1.0), ValueError()])) == (False, None)
    assert said(ExceptionGroup("named", [ValueError()]), retries=Retries(on=ExceptionGroup)) == (True, None)


def test_a_result_that_cannot_be_sent_is_not_tried_again() -> None:
    """The result would be the same, whatever ``Retries.on`` names."""
    anything = Retries(on=Exception)
    assert said(HandlerError("a socket", exception_type=UNENCODABLE), retries=anything) == (False, None)
    failure = LiveEndpoint(endpoint(retries=anything), square).encode(object())
    assert isinstance(failure, Failure)
    assert not failure.may_retry


def test_without_an_endpoint_nothing_is_tried_again() -> None:
    """A failing ``setup``, for example, is not retried."""
    assert not failure_of(Retryable()).may_retry


def test_members_of_a_batch_are_told_apart() -> None:
    """One job may be retried while the others have their results."""
    batch = Batch(LiveEndpoint(endpoint(double, batching=Batching(max_size=3)), double), [Work(b"1.0")] * 3)
    (group,) = batch.groups()
    group.settle([1.0, Retryable(delay=3.0), ValueError("no")])
    assert [getattr(result, "may_retry", None) for result in batch.results] == [None, True, False]


def test_it_reaches_the_scheduler() -> None:
    """It travels over the wire, and becomes attributes of the error."""
    (done,) = FrameReader().feed(pack(Done(1, 0.5, [failure_of(Retryable("not yet", delay=2), endpoint())])))
    assert isinstance(done, Done)
    (error,) = results_of(done)
    assert isinstance(error, HandlerError)
    assert (error.may_retry, error.retry_delay, error.exception_type) == (True, 2.0, "penstock.errors.Retryable")
    assert (error.status, error.code, error.retryable) == (500, "handler-error", False)
