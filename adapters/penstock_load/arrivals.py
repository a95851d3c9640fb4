"""The schedule of a run: when each request is meant to be sent, decided before the first one is."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator


def arrivals(
    rate: float, seconds: float, *, end_rate: float | None = None, dice: random.Random | None = None
) -> Iterator[float]:
    """Yield the times of the requests, in seconds from the start of the run and in rising order.

    The time of the nth request is that at which the rate, summed up since the start, reaches n - 1/2, so that whole
    numbers of requests fit into whole seconds. For random arrivals it reaches the sum of n random numbers with the mean
    1, which makes a Poisson process of this rate.

    Parameters
    ----------
    rate:
        Requests per second; at the start, if the rate changes.
    seconds:
        The time during which requests are sent.
    end_rate:
        The rate at the end; between the two it changes linearly. Default: ``rate``.
    dice:
        The source of random arrivals; None for evenly spaced ones.
    """
    slope = 0.0 if end_rate is None else (end_rate - rate) / seconds
    reached = -0.5 if dice is None else 0.0
    while True:
        reached += 1.0 if dice is None else dice.expovariate(1.0)
        at = _time_of(reached, rate, slope)
        if at >= seconds:
            return
        yield at


def _time_of(number: float, rate: float, slope: float) -> float:
    """Return the time at which ``rate * t + slope * t**2 / 2`` reaches a number; infinity if it never does."""
    square = rate * rate + 2 * slope * number
    if square < 0:  # the rate falls to zero before
        return math.inf
    # The usual formula with the root in the denominator: exact for a slope near zero, too.
    divisor = rate + math.sqrt(square)
    return 2 * number / divisor if divisor else math.inf
