"""The policies of an endpoint are validated where they are written, and the error has the fix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock.errors import DeclarationError
from penstock.policies import Backoff, Jobs, Recycle, Retries, RetryBudget, Timeouts


def test_back_off_grows_by_its_factor_up_to_its_cap() -> None:
    """The longest wait after the first failure is ``base``."""
    backoff = Backoff(base=0.1, factor=2.0, cap=1.0)
    assert [backoff.ceiling(failures) for failures in range(1, 7)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_back_off_has_no_failures_too_many() -> None:
    """A wait too large for a float is the cap; a base of zero stays zero."""
    assert Backoff(factor=10.0).ceiling(5000) == 10.0
    assert Backoff(base=0.0, factor=10.0).ceiling(5000) == 0.0


def test_one_exception_is_as_good_as_a_tuple_of_one() -> None:
    """``on`` takes a single exception or a tuple; the policy is the same."""
    assert Retries(on=KeyError) == Retries(on=(KeyError,))


def test_policies_are_values() -> None:
    """Policies are frozen, equal by content, and hashable."""
    assert Retries() == Retries(max_attempts=2, backoff=Backoff(), budget=RetryBudget())
    assert len({Retries(on=KeyError), Retries(on=(KeyError,)), Retries()}) == 2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Jobs(concurrency=0), r"Jobs\(concurrency=0\): use an integer of at least 1"),
        (lambda: Jobs(global_concurrency=0), r"Jobs\(global_concurrency=0\): use an integer of at least 1"),
        (lambda: Jobs(max_queued=True), r"Jobs\(max_queued=True\): use an integer of at least 1"),
        (lambda: Jobs(max_claims=0), r"Jobs\(max_claims=0\): use an integer of at least 1"),
        (lambda: Jobs(lease=0.5), r"Jobs\(lease=0.5\): use a number of at least 1"),
        (lambda: Jobs(result_ttl=-1), r"Jobs\(result_ttl=-1\): seconds cannot be negative"),
        (lambda: Jobs(record_ttl=60), r"a result cannot outlive its record; raise record_ttl"),
        (lambda: Jobs(on_lost="forget"), r"Jobs\(on_lost='forget'\): use 'retry' or 'fail'"),  # type: ignore[arg-type] # the mistake
        (lambda: Retries(max_attempts=0), r"Retries\(max_attempts=0\): use an integer of at least 1"),
        (lambda: Retries(on="KeyError"), r"'KeyError' is not an exception class; write on=\(ConnectionError,\)"),
        (lambda: Retries(on=[KeyError]), "is not an exception class"),
        (lambda: Retries(on=(KeyError, 503)), "503 is not an exception class"),
        (lambda: Retries(on=KeyError()), "is not an exception class"),
        (lambda: Retries(on=SystemExit), "SystemExit'> is not an exception class"),
        (lambda: Retries(backoff=1.0), r"backoff=1.0\): use backoff=Backoff\(\), or None"),
        (lambda: Retries(budget=0.2), r"budget=0.2\): use budget=RetryBudget\(\), or None"),
        (lambda: Backoff(base=-1), "cannot be negative"),
        (lambda: Backoff(base=None), "use a number of seconds"),
        (lambda: Backoff(cap=float("inf")), r"Backoff\(cap=inf\): use a finite number of seconds"),
        (lambda: Timeouts(grace=float("inf")), r"Timeouts\(grace=inf\): use a finite number of seconds"),
        (lambda: Timeouts(total=float("inf")), r"Timeouts\(total=inf\): use None for no limit"),
        (lambda: Backoff(factor=0.5), "use a number of at least 1"),
        (lambda: Backoff(factor=float("nan")), "use a number of at least 1"),
        (lambda: RetryBudget(ratio=-0.1), "use a number of at least 0"),
        (lambda: RetryBudget(ratio=True), "use a number of at least 0"),
        (lambda: RetryBudget(floor=0.5), "use an integer of at least 0"),
        (lambda: RetryBudget(floor=-1), "use an integer of at least 0"),
        (Recycle, r"Recycle\(\): set a condition, for instance"),
        (lambda: Recycle(attempts=0), r"Recycle\(attempts=0\): use an integer of at least 1"),
        (lambda: Recycle(age=0), "use a number of seconds above 0, or None"),
        (lambda: Recycle(age="1h"), "use a number of seconds"),
        (lambda: Recycle(check=-1.0), "cannot be negative"),
        (lambda: Recycle(memory="4GB"), "'4GB' is not a size; write bytes as in 1048576, 64KiB or 16MiB"),
        (lambda: Recycle(memory=0), r"Recycle\(memory=0\): use an integer of at least 1"),
        (lambda: Recycle(memory=1.5), "use an integer of at least 1"),
        (lambda: Recycle(after_interrupt=1), "use True or False"),
    ],
)
def test_policies_that_mean_nothing_are_refused(make: Callable[[], Any], words: str) -> None:
    """The error for a wrong value has its name and the fix."""
    with pytest.raises(DeclarationError, match=words):
        make()


@pytest.mark.parametrize(
    ("memory", "size"), [("4GiB", 4 << 30), ("1 MiB", 1 << 20), ("64kib", 64 << 10), ("7", 7), (7, 7), (None, None)]
)
def test_a_limit_on_memory_is_bytes_or_text(memory: str | int | None, size: int | None) -> None:
    """As on the command line. It is converted at the start, so that a mistake is found at the import."""
    assert Recycle(memory=memory, attempts=1).memory_bytes == size
