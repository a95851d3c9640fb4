"""The tally of a run, and the figures that are made of it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from penstock_load import LINES, Fate, LatencyHistogram, LoadTally, Shot, bars, figure, figures_of, ratio


def shot(planned: float, done: float, fate: Fate = Fate.ANSWERED, *, lag: float = 0.0, **more: Any) -> Shot:
    return Shot(planned, planned + lag, done, fate, **({"status": 200} | more))


def tallied(*shots: Shot, seconds: float = 10.0, are_streams: bool = False) -> LoadTally:
    tally = LoadTally(0.0, seconds, are_streams=are_streams)
    for one in shots:
        tally.record(one)
    return tally


def figures(*shots: Shot, are_streams: bool = False) -> dict[str, Any]:
    return figures_of(tallied(*shots, are_streams=are_streams), {})


def test_a_late_request_counts_from_its_planned_time() -> None:
    """The wait for the generator itself is part of the latency, and is reported as lag."""
    found = figures(shot(1.0, 1.5, lag=0.4))
    assert found["latency"]["max"] == pytest.approx(0.5)
    assert found["lag"]["max"] == pytest.approx(0.4)
    assert found["sent"] == {"count": 1, "on_time": 0, "again": 0}


def test_only_answers_within_the_run_make_the_goodput() -> None:
    """Answers that come after the last request was sent are good, but would make the server look faster than it is."""
    found = figures(shot(1.0, 2.0), shot(9.9, 10.5), shot(3.0, 4.0, status=503))
    assert found["good"] == {"count": 2, "rate": 0.1}
    assert found["answered"]["count"] == 3


def test_outcomes_are_counted_by_status_and_code() -> None:
    """The code of the error beside the status; requests without a response by their fate."""
    found = figures(
        shot(0.0, 1.0),
        shot(0.0, 1.0, status=503, code="queue-full"),
        shot(0.0, 1.0, Fate.GIVEN_UP, status=0),
        shot(0.0, 1.0, Fate.CUT, code="handler-failed"),
        shot(0.0, 1.0, Fate.REFUSED, status=0, reason="[Errno 111] refused"),
    )
    assert found["outcomes"] == {
        "200": 1,
        "503 queue-full": 1,
        "connection refused": 1,
        "cut handler-failed": 1,
        "given up": 1,
    }
    assert found["reasons"] == {"connection refused": "[Errno 111] refused"}


def test_quick_errors_do_not_flatter_the_latency() -> None:
    """Refusals have a latency of their own."""
    found = figures(shot(0.0, 1.0), *(shot(0.0, 0.001, status=503) for _ in range(99)))
    assert found["latency"]["p50"] == 1.0
    assert found["other_latency"]["count"] == 99


def test_streams_have_a_first_chunk_gaps_and_cuts() -> None:
    """A stream that ends with an error counts as cut, and is not good; one that the caller left is not cut."""
    found = figures(
        shot(0.0, 3.0, first=1.0, gaps=[0.5, 1.5]),
        shot(0.0, 3.0, Fate.CUT, first=1.0, gaps=[]),
        shot(0.0, 3.0, first=1.0, code="timeout"),
        shot(0.0, 3.0, Fate.GIVEN_UP, first=1.0),
        shot(0.0, 3.0, Fate.CUT),
        shot(0.0, 3.0, status=503, first=1.0),
        shot(0.0, 3.0, Fate.GIVEN_UP, status=0),
        are_streams=True,
    )
    assert found["streams"] == {"count": 5, "cut": 3}
    assert found["first_chunk"]["count"] == 4
    assert (found["gaps"]["count"], found["gaps"]["max"]) == (2, 1.5)
    assert found["good"]["count"] == 1
    assert "200 timeout" in found["outcomes"]


def test_chunked_responses_are_not_streams_unless_they_are_meant_to_be() -> None:
    """Many servers send ordinary responses in chunks."""
    found = figures(shot(0.0, 3.0, first=1.0, gaps=[0.5]))
    assert (found["streams"]["count"], found["gaps"]["count"]) == (0, 0)


@pytest.mark.parametrize(
    ("shots", "words"),
    [
        ([shot(0.0, 1.0, lag=0.011)], "the generator was late"),
        ([shot(0.0, 1.0), shot(0.0, 0.0, Fate.NO_CONNECTION, status=0)], "--connections"),
        ([shot(0.0, 1.0), shot(0.0, 0.0, Fate.NO_DESCRIPTOR, status=0)], "ulimit -n"),
        ([shot(0.0, 1.0), shot(0.0, 0.0, Fate.NO_PORT, status=0)], "ip_local_port_range"),
        ([shot(0.0, 1.0, Fate.REFUSED, status=0)], "no request was answered"),
        ([], "no request was sent"),
    ],
)
def test_an_invalid_run_says_why(shots: list[Shot], words: str) -> None:
    """A generator that could not do its part has measured itself; the message has the fix."""
    found = figures(*shots)
    assert not found["valid"]
    assert words in "".join(found["faults"])


def test_a_run_on_time_is_valid() -> None:
    """One late request in more than a hundred does not spoil it."""
    found = figures(*(shot(0.0, 1.0) for _ in range(200)), shot(0.0, 1.0, lag=0.5))
    assert (found["valid"], found["faults"]) == (True, [])


def test_an_interrupted_run_has_the_rates_of_its_own_length() -> None:
    """The rates are those of the time until the interrupt."""
    tally = tallied(shot(0.0, 1.0), shot(1.0, 1.5))
    tally.stop(2.0)
    found = figures_of(tally, {}, is_interrupted=True)
    assert (found["seconds"], found["offered"]["rate"], found["interrupted"]) == (2.0, 1.0, True)


def test_the_document_is_json_and_has_every_line() -> None:
    """Missing figures are None, never a NaN, which JSON does not have; each line of the table finds its figure."""
    empty = json.loads(json.dumps(figures(), allow_nan=False))
    assert empty["latency"]["p50"] is None
    shots = shot(0.0, 1.0, first=0.5, gaps=[0.1]), shot(0.0, 1.0, status=500)
    full = json.loads(json.dumps(figures(*shots, are_streams=True), allow_nan=False))
    assert [line.path for line in LINES if figure(full, line.path) is None] == []
    assert LatencyHistogram.from_document(full["histograms"]["latency"]).number == 1


def test_ratios() -> None:
    """After over before; none if there was nothing before."""
    assert ratio(2.0, 3.0) == 1.5
    assert ratio(0.0, 3.0) is ratio(None, 3.0) is ratio(2.0, None) is None


def test_bars_have_every_duration_and_no_holes() -> None:
    """The ends are 1, 2 and 5 times powers of ten; an empty place between two others is shown as 0."""
    histogram = LatencyHistogram()
    for seconds in (0.0, 0.0015, 0.004, 0.045):
        histogram.add(seconds)
    found = bars(histogram)
    assert sum(count for _, count in found) == 4
    assert found[-5:] == [(0.002, 1), (0.005, 1), (0.01, 0), (0.02, 0), (0.05, 1)]
    assert bars(LatencyHistogram()) == []
    assert not math.isnan(found[0][0])
