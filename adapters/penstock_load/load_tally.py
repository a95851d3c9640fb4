"""The counts and durations of a run, from the records of its requests."""

from __future__ import annotations

from collections import Counter

from penstock_load.latency_histogram import LatencyHistogram
from penstock_load.shots import UNSENT, Fate, Shot

LONGEST_LAG = 0.01
"""The lag in seconds up to which a request was sent on time."""


class LoadTally:
    """Counts the requests of a run as they end.

    Parameters
    ----------
    begin:
        The time at which the run began.
    seconds:
        The time during which requests are sent. Only answers within it count for the goodput: the server also answers
        requests that were waiting when it was over, and with these the goodput could exceed the server's capacity.
    are_streams:
        The responses without an error are streams, whose chunks are measured.
    """

    def __init__(self, begin: float, seconds: float, *, are_streams: bool = False) -> None:
        self.begin = begin
        self.seconds = seconds
        self._are_streams = are_streams
        self.offered = 0
        """The requests that were meant to be sent, and have ended in some way."""
        self.on_time = 0
        """The requests that were sent within 10 ms of their time."""
        self.good = 0
        self.good_in_time = 0
        self.answered = 0
        self.streams = 0
        self.cut_streams = 0
        """The streams that had begun, and did not reach their end through the server's fault."""
        self.resent = 0
        self.requests = 0
        """The requests that a client library has sent; more than the calls if it has tried some again."""
        self.retried = 0
        """The calls that a client library has tried again."""
        self.errors: Counter[str] = Counter()
        """The calls that have failed, by the class of a client library's error."""
        self.refusals: Counter[str] = Counter()
        """The reasons why a client library has not tried them again."""
        self.outcomes: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}
        """The first reason that was found for an outcome."""
        self.unsent: Counter[Fate] = Counter()
        self.lag = LatencyHistogram()
        self.latency = LatencyHistogram()
        """From the planned start to the end of the good answers."""
        self.other_latency = LatencyHistogram()
        """The same of answers with an error."""
        self.first_chunk = LatencyHistogram()
        self.gaps = LatencyHistogram()

    def record(self, shot: Shot) -> None:
        """Count a request that has ended."""
        self.offered += 1
        self.outcomes[shot.outcome] += 1
        self.resent += shot.is_resent
        self._record_client(shot)
        if shot.reason:
            self.reasons.setdefault(shot.outcome, shot.reason)
        if shot.fate in UNSENT:
            self.unsent[shot.fate] += 1
            return
        self.lag.add(shot.lag)
        self.on_time += shot.lag <= LONGEST_LAG
        if shot.fate is Fate.ANSWERED:
            self.answered += 1
            (self.latency if shot.is_good else self.other_latency).add(shot.latency)
        if shot.is_good:
            self.good += 1
            self.good_in_time += shot.done <= self.begin + self.seconds
        if self._are_streams and 0 < shot.status < 400:
            self._record_stream(shot)

    def _record_client(self, shot: Shot) -> None:
        self.requests += shot.requests
        self.retried += shot.requests > 1
        if shot.error:
            self.errors[shot.error] += 1
        if shot.refused:
            self.refusals[shot.refused] += 1

    def _record_stream(self, shot: Shot) -> None:
        self.streams += 1
        self.cut_streams += shot.fate in {Fate.CUT, Fate.MALFORMED} or bool(shot.code)
        if shot.first is not None:
            self.first_chunk.add(shot.first - shot.planned)
        for gap in shot.gaps:
            self.gaps.add(gap)

    def stop(self, at: float) -> None:
        """Note that no more requests are sent after this time, because the run was interrupted."""
        self.seconds = min(self.seconds, max(at - self.begin, 1e-9))
