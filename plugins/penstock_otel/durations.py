"""Durations and counts of requests, in histograms that cost next to nothing for each request.

The instruments of OpenTelemetry's SDK take microseconds for each number. Here records are collected and counted many at
a time, and the data points are made when they are exported.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

from penstock.hooks import RequestAnswered

BOUNDS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 120.0, 300.0),
)
"""The bounds of the semantic conventions, and a few more: models take longer than other services."""
MOST_RECENT: Final = 256
MOST_KEYS: Final = 1000
"""Clients choose neither endpoints nor codes, but a handler may choose any status."""
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_OTHER: Final = "_OTHER"


class RequestKey(NamedTuple):
    """The facts that requests have in common which are counted together."""

    endpoint: str
    method: str
    status: int
    code: str


class DurationCounts:
    """A histogram of durations in seconds, with their sum and their extremes."""

    __slots__ = ("counts", "greatest", "least", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0
        self.least = float("inf")
        self.greatest = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds
        self.least = min(self.least, seconds)
        self.greatest = max(self.greatest, seconds)


class Durations:
    """The durations of all requests, since the start.

    Parameters
    ----------
    exclude:
        The names of the endpoints and routes that are not counted.

    Attributes
    ----------
    requests:
        The durations of requests, by what they have in common.
    queue, execution:
        The durations of their jobs' waits, and of the latest attempts in user code, by endpoint.
    """

    def __init__(self, exclude: tuple[str, ...]) -> None:
        self._exclude = frozenset(exclude)
        self._recent: deque[RequestAnswered] = deque()
        self._lock = threading.Lock()  # two threads may count what is waiting, but not the same record
        self.requests: dict[RequestKey, DurationCounts] = {}
        self.queue: dict[str, DurationCounts] = {}
        self.execution: dict[str, DurationCounts] = {}

    def put(self, record: RequestAnswered) -> None:
        """Add a request."""
        self._recent.append(record)
        if len(self._recent) >= MOST_RECENT:
            self.catch_up()

    def catch_up(self) -> None:
        """Count what is waiting."""
        with self._lock:
            for _ in range(len(self._recent)):
                record = self._recent.popleft()
                if record.endpoint not in self._exclude:
                    self._count(record)

    def _count(self, record: RequestAnswered) -> None:
        key = RequestKey(
            record.endpoint, record.method if record.method in METHODS else _OTHER, record.status, record.code
        )
        if key not in self.requests and len(self.requests) >= MOST_KEYS:
            key = RequestKey("", _OTHER, 0, "")
        _counts_in(self.requests, key).add(record.seconds)
        if record.queue_seconds is not None:
            _counts_in(self.queue, record.endpoint).add(record.queue_seconds)
        if record.execution_seconds is not None:
            _counts_in(self.execution, record.endpoint).add(record.execution_seconds)


def _counts_in(table: dict, key: object) -> DurationCounts:  # type: ignore[type-arg] # of either kind of key
    counts: DurationCounts | None = table.get(key)
    if counts is None:
        counts = table[key] = DurationCounts()
    return counts


def request_attributes(key: RequestKey, routes: Mapping[str, str]) -> dict[str, str | int]:
    """Return the attributes of requests, named as in the semantic conventions for HTTP."""
    attributes: dict[str, str | int] = {"http.request.method": key.method}
    if key.status and key.status != 499:
        attributes["http.response.status_code"] = key.status
    if key.endpoint in routes:
        attributes["http.route"] = routes[key.endpoint]
    if key.code != "ok":
        attributes["error.type"] = key.code or _OTHER
    elif key.status >= 500:
        attributes["error.type"] = str(key.status)
    return attributes
