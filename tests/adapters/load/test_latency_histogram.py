"""The histogram of the load generator: its error, and what merging and storing keep."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from penstock_load import LARGEST_ERROR, LatencyHistogram

DURATIONS = st.lists(st.floats(0.0, 1000.0), min_size=1, max_size=200)


def filled(durations: list[float]) -> LatencyHistogram:
    histogram = LatencyHistogram()
    for seconds in durations:
        histogram.add(seconds)
    return histogram


@given(durations=DURATIONS, share=st.floats(0.0, 1.0))
def test_a_quantile_is_right_to_within_the_stated_error(durations: list[float], share: float) -> None:
    """Each quantile is within 0.4 % (and a nanosecond) of that of the exact durations."""
    ordered = sorted(durations)
    exact = ordered[min(len(ordered) - 1, int(share * len(ordered)))]
    assert math.isclose(filled(durations).quantile(share), exact, rel_tol=LARGEST_ERROR, abs_tol=1.1e-9)
    assert LARGEST_ERROR <= 0.01


@given(durations=DURATIONS)
def test_the_extremes_and_the_mean_are_exact(durations: list[float]) -> None:
    """To the nanosecond."""
    histogram = filled(durations)
    assert math.isclose(histogram.longest, max(durations), abs_tol=1e-9)
    assert math.isclose(histogram.shortest, min(durations), abs_tol=1e-9)
    assert math.isclose(histogram.mean, math.fsum(durations) / len(durations), abs_tol=2e-9, rel_tol=1e-12)
    assert histogram.quantile(1.0) == histogram.longest


@given(first=DURATIONS, second=DURATIONS)
def test_merged_histograms_are_equal_to_one_of_all_durations(first: list[float], second: list[float]) -> None:
    """Nothing is lost by merging, and the order does not matter."""
    one, other = filled(first), filled(second)
    one.merge(other)
    assert one == filled([*second, *first])
    assert (one.number, one.longest) == (len(first) + len(second), filled([*first, *second]).longest)


@given(durations=DURATIONS)
def test_a_stored_histogram_comes_back_equal(durations: list[float]) -> None:
    """JSON keeps everything."""
    histogram = filled(durations)
    assert LatencyHistogram.from_document(json.loads(json.dumps(histogram.as_document()))) == histogram


def test_different_durations_make_different_histograms() -> None:
    """Equality compares the buckets, not the number alone."""
    assert filled([1.0, 2.0]) != filled([1.0, 2.5])


def test_an_empty_histogram_has_no_quantiles() -> None:
    """Without durations, quantiles and extremes are not numbers, and merging changes nothing."""
    empty = LatencyHistogram()
    assert all(math.isnan(value) for value in (empty.quantile(0.5), empty.mean, empty.longest, empty.shortest))
    assert LatencyHistogram.from_document(empty.as_document()) == empty
    one = filled([1.0])
    one.merge(empty)
    assert one == filled([1.0])
    empty.merge(one)
    assert empty == one


def test_a_negative_duration_counts_as_none() -> None:
    """A timer may fire a moment early."""
    assert filled([-0.001]).longest == 0.0
