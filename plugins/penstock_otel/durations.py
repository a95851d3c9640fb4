"""Durations and counts of requests, in histograms that cost next to nothing for each request.

The instruments of OpenTelemetry's SDK take microseconds for each number. Here records are collected and counted many at
a time, and the data points are made when they are exported.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from penstock.hooks import RequestAnswered

BOUNDS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 120.0, 300.0),
)
"""The bounds of the semantic conventions, and a few more: models take longer than other services."""
MOST_RECENT: Final = 256
MOST_KEYS: Final = 1000
"""Clients choose neither routes nor codes, but a handler may choose any status."""
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_OTHER: Final = "_OTHER"


class RequestKey(NamedTuple):
    """The facts that requests have in common which are counted together."""

    route: str
    method: str
    status: int
    code: str


_ANY_OTHER: Final = RequestKey("", _OTHER, 0, "")


class DurationCounts:
    """A histogram of durations in seconds, with their sum and their extremes."""

    __slots__ = ("counts", "greatest", "least", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0
        self.least = float("inf")
        self.greatest = 0.0

    def add_all(self, durations: Sequence[float]) -> None:
        """Count durations, of which there is at least one."""
        ordered = sorted(durations)
        start = 0
        for bucket, bound in enumerate(BOUNDS):
            if start == len(ordered):
                break
            end = bisect_right(ordered, bound, start)
            self.counts[bucket] += end - start
            start = end
        self.counts[-1] += len(ordered) - start
        self.total += sum(ordered)
        self.least = min(self.least, ordered[0])
        self.greatest = max(self.greatest, ordered[-1])


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
        requests: defaultdict[tuple[str, str, int, str], list[float]] = defaultdict(list)
        queue: defaultdict[str, list[float]] = defaultdict(list)
        execution: defaultdict[str, list[float]] = defaultdict(list)
        exclude = self._exclude
        with self._lock:
            recent = [self._recent.popleft() for _ in range(len(self._recent))]
            for record in recent:
                if record.endpoint in exclude:
                    continue
                requests[record.route, record.method, record.status, record.code].append(record.seconds)
                if record.queue_seconds is not None:
                    queue[record.endpoint].append(record.queue_seconds)
                if record.execution_seconds is not None:
                    execution[record.endpoint].append(record.execution_seconds)
            for key, durations in requests.items():
                self.requests.setdefault(self._known(RequestKey(*key)), DurationCounts()).add_all(durations)
            for table, found in ((self.queue, queue), (self.execution, execution)):
                for endpoint, durations in found.items():
                    table.setdefault(endpoint, DurationCounts()).add_all(durations)

    def _known(self, key: RequestKey) -> RequestKey:
        if key.method not in METHODS:
            key = key._replace(method=_OTHER)
        return key if key in self.requests or len(self.requests) < MOST_KEYS else _ANY_OTHER


def request_attributes(key: RequestKey) -> dict[str, str | int]:
    """Return the attributes of requests, named as in the semantic conventions for HTTP."""
    attributes: dict[str, str | int] = {"http.request.method": key.method}
    if key.status and key.status != 499:
        attributes["http.response.status_code"] = key.status
    if key.route:
        attributes["http.route"] = key.route
    if key.code != "ok":
        attributes["error.type"] = key.code or _OTHER
    elif key.status >= 500:
        attributes["error.type"] = str(key.status)
    return attributes
