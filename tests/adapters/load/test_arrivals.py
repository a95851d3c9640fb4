"""The schedule of the load generator."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_load import arrivals

RATES = st.floats(0.5, 500.0)


@given(rate=RATES, seconds=st.floats(0.5, 5.0))
def test_even_arrivals_are_one_interval_apart(rate: float, seconds: float) -> None:
    """Without randomness, the gaps are all ``1 / rate``, and the number of requests is ``rate * seconds``."""
    times = list(arrivals(rate, seconds))
    assert abs(len(times) - rate * seconds) <= 1
    assert all(after - before == pytest.approx(1 / rate, rel=1e-6) for before, after in itertools.pairwise(times))


def test_whole_rates_fill_whole_seconds() -> None:
    """200 per second for 2 seconds are 400 requests, not 399."""
    assert len(list(arrivals(200, 2))) == 400


@given(
    start=st.floats(0.0, 500.0), end=st.floats(0.0, 500.0), seconds=st.floats(0.5, 5.0), seed=st.none() | st.integers()
)
def test_arrivals_are_in_order_and_within_the_run(start: float, end: float, seconds: float, seed: int | None) -> None:
    """Times rise, and none is negative or after the end, whichever way the rate changes."""
    dice = None if seed is None else random.Random(seed)
    times = list(arrivals(start, seconds, end_rate=end, dice=dice))
    assert times == sorted(times)
    assert all(0 <= at < seconds for at in times)


@given(start=RATES, end=RATES)
def test_a_ramp_has_as_many_requests_as_its_mean_rate(start: float, end: float) -> None:
    """A linear ramp sends (A + B) / 2 requests per second in all, to within one."""
    assert abs(len(list(arrivals(start, 4.0, end_rate=end))) - 4.0 * (start + end) / 2) <= 1


def test_a_ramp_changes_the_rate_linearly() -> None:
    """From 0 to 200 per second in 4 s: a quarter of the requests in the first half, three quarters in the second."""
    times = list(arrivals(0.0, 4.0, end_rate=200.0))
    assert len(times) == 400
    assert sum(at < 2.0 for at in times) == 100


def test_random_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() -> None:
    """Over many seconds the mean of the counts is the rate, and so is their variance."""
    times = list(arrivals(50.0, 2000.0, dice=random.Random(1)))
    counts = [0] * 2000
    for at in times:
        counts[int(at)] += 1
    mean = sum(counts) / len(counts)
    variance = sum((count - mean) ** 2 for count in counts) / len(counts)
    assert mean == pytest.approx(50, rel=0.02)
    assert variance == pytest.approx(50, rel=0.15)


def test_the_same_seed_offers_the_same_load() -> None:
    """Random times depend on the seed only."""

    def times(seed: int) -> list[float]:
        return list(arrivals(100.0, 1.0, dice=random.Random(seed)))

    assert times(1) == times(1) != times(2)
