"""What an endpoint promises is validated where it is written, with the mend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock.errors import DeclarationError
from penstock.policies import Backoff, Retries, RetryBudget


def test_back_off_grows_by_its_factor_up_to_its_cap() -> None:
    """The longest wait after the first failure is ``base``."""
    backoff = Backoff(base=0.1, factor=2.0, cap=1.0)
    assert [backoff.ceiling(failures) for failures in range(1, 7)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_back_off_has_no_failures_too_many() -> None:
    """What no float can hold is the cap; nothing multiplied is nothing."""
    assert Backoff(factor=10.0).ceiling(5000) == 10.0
    assert Backoff(base=0.0, factor=10.0).ceiling(5000) == 0.0


def test_one_exception_is_as_good_as_a_tuple_of_one() -> None:
    """Both are the same policy."""
    assert Retries(on=KeyError) == Retries(on=(KeyError,))


def test_policies_are_values() -> None:
    """Frozen, equal by content, fit for a set."""
    assert Retries() == Retries(max_attempts=2, backoff=Backoff(), budget=RetryBudget())
    assert len({Retries(on=KeyError), Retries(on=(KeyError,)), Retries()}) == 2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Retries(max_attempts=0), r"Retries\(max_attempts=0\): give a whole number of 1 or more"),
        (lambda: Retries(on="KeyError"), r"'KeyError' is no exception class; write on=\(ConnectionError,\)"),
        (lambda: Retries(on=[KeyError]), "is no exception class"),
        (lambda: Retries(on=(KeyError, 503)), "503 is no exception class"),
        (lambda: Retries(on=KeyError()), "is no exception class"),
        (lambda: Retries(on=SystemExit), "SystemExit'> is no exception class"),
        (lambda: Retries(backoff=1.0), r"backoff=1.0\): write backoff=Backoff\(\), or None"),
        (lambda: Retries(budget=0.2), r"budget=0.2\): write budget=RetryBudget\(\), or None"),
        (lambda: Backoff(base=-1), "cannot be negative"),
        (lambda: Backoff(base=None), "give seconds as a number"),
        (lambda: Backoff(cap=float("inf")), "Backoff"),
        (lambda: Backoff(factor=0.5), "give a number of 1 or more"),
        (lambda: Backoff(factor=float("nan")), "give a number of 1 or more"),
        (lambda: RetryBudget(ratio=-0.1), "give a number of 0 or more"),
        (lambda: RetryBudget(ratio=True), "give a number of 0 or more"),
        (lambda: RetryBudget(floor=0.5), "give a whole number of 0 or more"),
        (lambda: RetryBudget(floor=-1), "give a whole number of 0 or more"),
    ],
)
def test_policies_that_mean_nothing_are_refused(make: Callable[[], Any], words: str) -> None:
    """Each wrong value is told by its name, with the mend."""
    with pytest.raises(DeclarationError, match=words):
        make()
