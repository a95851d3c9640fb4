"""The open-loop load of the benchmark: ``penstock_load`` with a new connection for each request, and all records kept.

Requests are sent at their times, whatever has become of the earlier ones. The latency of each counts from the time at
which it was meant to be sent, so a slow server (or a slow generator) cannot hide waiting time by delaying the requests
themselves. ``headroom`` measures how far the rate can rise before the generator is late.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from penstock_load import CallerOptions, Fate, LoadGenerator, PreparedRequest, ServerAddress, Shot, arrivals

HOST = "127.0.0.1"
LATE_SECONDS = 0.005
NO_ANSWER, REFUSED = 0, -1
"""The statuses of a request without a complete response, and of a refused connection."""


@dataclass
class Volley:
    """All requests of one run, in the order in which they were sent."""

    begin: float
    seconds: float
    shots: list[Shot] = field(default_factory=list)

    def statuses(self) -> Counter[int]:
        """Return the number of requests by status."""
        return Counter(shot.status for shot in self.shots)

    def answered(self, *, by: float = float("inf")) -> list[Shot]:
        """Return the requests that were answered with 200, no later than ``by``."""
        return [shot for shot in self.shots if shot.status == 200 and shot.done <= by]

    def latency(self, share: float) -> float:
        """Return a quantile of the latencies of the answers with 200; not a number without answers."""
        return quantile([shot.latency for shot in self.answered()], share)

    def lateness(self, share: float) -> float:
        """Return a quantile of the seconds by which the generator itself was late."""
        return quantile([shot.lag for shot in self.shots], share)


def quantile(values: list[float], share: float) -> float:
    """Return a quantile of values; not a number if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


async def offer(
    port: int, request: bytes, *, rate: float, seconds: float, patience: float, seed: int | None = 1
) -> Volley:
    """Send requests at random times with this mean rate, or evenly spaced if ``seed`` is None.

    Parameters
    ----------
    port:
        A port of the loopback address.
    request:
        The bytes of the request.
    rate:
        Requests per second.
    seconds:
        The time during which requests are sent. The last response is awaited afterwards.
    patience:
        The seconds after which a caller hangs up.
    seed:
        The seed of the random times.
    """
    dice = None if seed is None else random.Random(seed)
    volley = Volley(time.perf_counter(), seconds)
    await _send(port, request, volley, arrivals(rate, seconds, dice=dice), patience)
    return volley


async def burst(port: int, request: bytes, number: int, patience: float) -> Volley:
    """Send a number of requests at once."""
    volley = Volley(time.perf_counter(), 0.0)
    await _send(port, request, volley, [0.0] * number, patience)
    return volley


async def _send(port: int, request: bytes, volley: Volley, times: Iterable[float], patience: float) -> None:
    def record(shot: Shot) -> None:
        if shot.fate is not Fate.ANSWERED:
            shot.status = REFUSED if shot.fate is Fate.REFUSED else NO_ANSWER
        volley.shots.append(shot)

    address = ServerAddress(host=HOST, port=port, authority=HOST, path="/", is_own=True)
    generator = LoadGenerator(address, CallerOptions(patience=patience, keeps_alive=False), record)
    prepared = PreparedRequest(request)
    await generator.run(volley.begin, times, lambda: prepared)
    volley.shots.sort(key=lambda shot: shot.planned)


async def headroom(port: int, request: bytes, rate: float, *, seconds: float = 1.0, most: float = 6400.0) -> float:
    """Return the highest rate, of 2, 4, 8 ... times ``rate``, at which 99 of 100 requests are sent within 5 ms.

    The server has to be one that is known to keep up, such as ``known_server.py``.
    """
    kept = 0.0
    while rate * 2 <= most:
        rate *= 2
        volley = await offer(port, request, rate=rate, seconds=seconds, patience=5.0)
        is_complete = len(volley.answered()) == len(volley.shots)
        if volley.lateness(0.99) > LATE_SECONDS or not is_complete:
            break
        kept = rate
    return kept
