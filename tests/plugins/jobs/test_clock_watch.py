"""Leaps of the clock of the leases."""

from __future__ import annotations

import pytest

from penstock_jobs.clock_watch import ClockWatch

LEASE = 30.0
THEIRS = 1_800_000_000.0


@pytest.mark.parametrize("leap", [3600.0, -3600.0, 6.0, -6.0])
def test_after_a_leap_a_clock_is_steady_again_after_a_lease(leap: float) -> None:
    """By then each owner that lives has beaten on the new time; a second leap starts that anew."""
    watch = ClockWatch()
    assert watch.is_steady(THEIRS, 100.0, LEASE)
    assert watch.is_steady(THEIRS + 1, 101.0, LEASE)
    assert not watch.is_steady(THEIRS + 2 + leap, 102.0, LEASE)
    assert not watch.is_steady(THEIRS + 31 + leap, 131.0, LEASE)
    assert watch.is_steady(THEIRS + 32 + leap, 132.0, LEASE)
    assert not watch.is_steady(THEIRS + 33, 133.0, LEASE)


def test_a_clock_may_drift() -> None:
    """And an answer may be late: a leap begins where a living owner would look dead."""
    watch = ClockWatch()
    assert all(watch.is_steady(THEIRS + second * 1.1, float(second), LEASE) for second in range(100))
    assert watch.is_steady(THEIRS + 110.0, 104.0, LEASE)


def test_a_process_that_was_stopped_trusts_the_clock() -> None:
    """Both clocks have gone on meanwhile."""
    watch = ClockWatch()
    watch.is_steady(THEIRS, 0.0, LEASE)
    assert watch.is_steady(THEIRS + 500, 500.0, LEASE)
