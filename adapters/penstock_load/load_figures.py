"""The figures of a run: as one document for JSON, and as lines for a person."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from penstock_load.latency_histogram import LARGEST_ERROR, LatencyHistogram
from penstock_load.load_tally import LONGEST_LAG, LoadTally
from penstock_load.shots import Fate

VERSION = 1
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
_HISTOGRAMS = ("latency", "other_latency", "first_chunk", "gaps")


class FigureLine(NamedTuple):
    """One figure for a person.

    Parameters
    ----------
    label:
        Its name.
    path:
        Its place in the document: keys, separated by dots.
    unit:
        ``s`` for a duration, ``/s`` for a rate, empty for a count.
    """

    label: str
    path: str
    unit: str = ""


LINES = (
    FigureLine("offered", "offered.count"),
    FigureLine("offered rate", "offered.rate", "/s"),
    FigureLine("sent on time", "sent.on_time"),
    FigureLine("schedule lag p50", "lag.p50", "s"),
    FigureLine("schedule lag p99", "lag.p99", "s"),
    FigureLine("answered", "answered.count"),
    FigureLine("good answers", "good.count"),
    FigureLine("goodput", "good.rate", "/s"),
    *(
        FigureLine(f"{title} {label}", f"{name}.{key}", "s")
        for name, title in (
            ("latency", "latency"),
            ("other_latency", "latency of errors"),
            ("first_chunk", "first chunk"),
            ("gaps", "gap"),
        )
        for key, label in (("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p999", "p99.9"), ("max", "max"))
    ),
    FigureLine("streams begun", "streams.count"),
    FigureLine("streams cut", "streams.cut"),
    FigureLine("sent again", "sent.again"),
    FigureLine("requests", "client.requests"),
    FigureLine("calls tried again", "client.retried"),
)


def figures_of(tally: LoadTally, settings: Mapping[str, Any], *, is_interrupted: bool = False) -> dict[str, Any]:
    """Return everything that is known of a run, ready for JSON: durations in seconds, missing figures None.

    Parameters
    ----------
    tally:
        The tally of the run.
    settings:
        The settings of the run, for the reader of the document.
    is_interrupted:
        The run was ended early.
    """
    seconds = tally.seconds
    figures: dict[str, Any] = {
        "penstock_load": VERSION,
        "settings": dict(settings),
        "seconds": seconds,
        "interrupted": is_interrupted,
        "offered": {"count": tally.offered, "rate": tally.offered / seconds},
        "sent": {"count": tally.lag.number, "on_time": tally.on_time, "again": tally.resent},
        "lag": summary(tally.lag),
        "client": {
            "requests": tally.requests,
            "retried": tally.retried,
            "errors": dict(sorted(tally.errors.items())),
            "refusals": dict(sorted(tally.refusals.items())),
        },
        "answered": {"count": tally.answered},
        "good": {"count": tally.good, "rate": tally.good_in_time / seconds},
        "outcomes": dict(sorted(tally.outcomes.items())),
        "reasons": dict(sorted(tally.reasons.items())),
        "largest_error": LARGEST_ERROR,
    }
    histograms = {name: getattr(tally, name) for name in _HISTOGRAMS}
    figures |= {name: summary(histogram) for name, histogram in histograms.items()}
    figures["streams"] = {"count": tally.streams, "cut": tally.cut_streams}
    figures["histograms"] = {name: histogram.as_document() for name, histogram in histograms.items()}
    figures["faults"] = list(faults_of(tally))
    figures["valid"] = not figures["faults"]
    return figures


def summary(histogram: LatencyHistogram) -> dict[str, float | int | None]:
    """Return the count, the mean, the quantiles and the longest duration of a histogram."""
    found: dict[str, float | int | None] = {"count": histogram.number}
    values = {"mean": histogram.mean} | {name: histogram.quantile(share) for name, share in _QUANTILES.items()}
    values["max"] = histogram.longest
    return found | {name: None if math.isnan(value) else value for name, value in values.items()}


def faults_of(tally: LoadTally) -> Iterator[str]:
    """Yield the reasons why the figures say nothing about the server, each with the fix."""
    if not tally.offered:
        yield "no request was sent: the run was shorter than the time to the first one"
        return
    lag = tally.lag.quantile(0.99)
    if lag > LONGEST_LAG:
        yield (
            f"the generator was late: 1 request in 100 was sent more than {lag * 1000:.0f} ms after its time; lower "
            "the rate, or run the generator on a machine with a free core"
        )
    if number := tally.unsent[Fate.NO_CONNECTION]:
        yield (
            f"{number} requests were not sent, because all connections were busy; raise --connections, shorten "
            "--patience or lower the rate"
        )
    if number := tally.unsent[Fate.NO_DESCRIPTOR]:
        yield (
            f"{number} requests were not sent, because the file descriptors ran out; raise the limit with "
            "ulimit -n 65536, shorten --patience or lower the rate"
        )
    if number := tally.unsent[Fate.NO_PORT]:
        yield (
            f"{number} requests were not sent, because the local ports ran out; leave --no-keep-alive out, or widen "
            "net.ipv4.ip_local_port_range"
        )
    if not tally.answered and not tally.unsent:
        yield "no request was answered, so there is nothing to measure"


def figure(figures: Mapping[str, Any], path: str) -> float | None:
    """Return the figure at a place, or None if it is missing."""
    found: Any = figures
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def ratio(before: float | None, after: float | None) -> float | None:
    """Return how many times as large a figure is as before; None if one is missing or there was nothing before."""
    return None if before is None or after is None or before == 0 else after / before


def bars(histogram: LatencyHistogram) -> list[tuple[float, int]]:
    """Return the counts of a histogram by 1, 2, 5, 10, 20, 50 ...: upper ends in seconds, gaps between them included.

    A duration near an end may be counted on its other side, by the error of the histogram.
    """
    counts: dict[int, int] = {}
    for middle, count in histogram.buckets():
        place = _place_of(middle)
        counts[place] = counts.get(place, 0) + count
    if not counts:
        return []
    return [(_upper_end(place), counts.get(place, 0)) for place in range(min(counts), max(counts) + 1)]


def _place_of(seconds: float) -> int:
    place = max(0, 3 * math.floor(math.log10(max(seconds, 1e-9)) + 9) - 1)
    while _upper_end(place) < seconds:
        place += 1
    return place


def _upper_end(place: int) -> float:
    power, step = divmod(place, 3)
    return float(f"{(1, 2, 5)[step]}e{power - 9}")
