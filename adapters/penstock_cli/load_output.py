"""The figures of ``penstock load`` for a person: the live line, the table and the histogram."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from penstock_load import LINES, FigureLine, LatencyHistogram, LoadTally, bars, figure, ratio

_LABEL, _VALUE = 24, 14
_BAR = 40
# A figure of these that is 0 or missing is left out: most runs have none of it.
_OPTIONAL = ("other_latency.", "first_chunk.", "gaps.", "streams.", "sent.again", "client.")
_SETTINGS_THAT_MATTER = ("rate", "ramp", "duration", "patience", "poisson", "stream", "keep_alive", "through_client")


def live_line(tally: LoadTally, in_flight: int, elapsed: float, seconds: float) -> str:
    """Return the line that is shown while the load runs."""
    parts = [
        f"{elapsed:.0f}/{seconds:g} s",
        f"{tally.offered} ended",
        f"{tally.good} good",
        f"{in_flight} in flight",
        f"p50 {duration(tally.latency.quantile(0.5))}",
        f"p99 {duration(tally.latency.quantile(0.99))}",
        f"lag p99 {duration(tally.lag.quantile(0.99))}",
    ]
    return ", ".join(part for part in parts if not part.endswith("nan"))


def duration(seconds: float) -> str:
    """Return a duration with three digits and the unit that suits it."""
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if seconds * factor >= 0.9995:
            return f"{_three_digits(seconds * factor)} {unit}"
    return "nan" if seconds != seconds else f"{_three_digits(seconds * 1e6)} us"  # noqa: PLR0124 - not a number


def _three_digits(number: float) -> str:
    return f"{number:.2f}" if number < 9.995 else f"{number:.1f}" if number < 99.95 else f"{number:,.0f}"


def table_of(figures: Mapping[str, Any], latency: LatencyHistogram, before: Mapping[str, Any] | None = None) -> Text:
    """Return the figures of a run, its outcomes, the histogram of the good answers, and the reasons why it is invalid.

    Parameters
    ----------
    figures:
        The document of the run.
    latency:
        The latencies of its good answers.
    before:
        The document of an earlier run, which is shown beside it with the ratio of each figure.
    """
    text = Text()
    if before is not None:
        text.append(f"{'':{_LABEL}}{'this run':>{_VALUE}}{'before':>{_VALUE}}{'ratio':>9}\n", style="bold")
    for line in LINES:
        now, then = figure(figures, line.path), figure(before or {}, line.path)
        if not (line.path.startswith(_OPTIONAL) and not now and not then) and (now is not None or then is not None):
            text.append(_line(line.label, _shown(line, now), _shown(line, then) if before else None, ratio(then, now)))
    text.append("\n")
    for part in (*_outcome_lines(figures, before), *_client_lines(figures, before), *_bar_lines(latency, before)):
        text.append(part)
    for note in _notes(figures, before):
        text.append(f"\n{note}", style="yellow")
    for fault in figures["faults"]:
        text.append(f"\nThis run is invalid: {fault}.", style="bold red")
    text.rstrip()
    return text


def _line(label: str, now: str, then: str | None, change: float | None) -> str:
    if then is None:
        return f"{label:{_LABEL}}{now:>{_VALUE}}\n"
    shown = "" if change is None else f"{change:.3g} x"
    return f"{label:{_LABEL}}{now:>{_VALUE}}{then:>{_VALUE}}{shown:>9}\n"


def _shown(line: FigureLine, value: float | None) -> str:
    if value is None:
        return "-"
    if line.unit == "s":
        return duration(value)
    return f"{value:,.1f} /s" if line.unit == "/s" else f"{value:,.0f}"


def _outcome_lines(figures: Mapping[str, Any], before: Mapping[str, Any] | None) -> Iterator[str]:
    now, then = figures["outcomes"], (before or {}).get("outcomes", {})
    for name in sorted({*now, *then}, key=lambda name: -now.get(name, 0)):
        count, earlier = now.get(name, 0), then.get(name, 0)
        line = _line(name, f"{count:,}", f"{earlier:,}" if before else None, ratio(earlier, count))
        reason = figures["reasons"].get(name)
        yield line if reason is None else f"{line.rstrip()}  {reason}\n"


def _client_lines(figures: Mapping[str, Any], before: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the errors of calls through the client library by their class, and why they were not tried again."""
    for title, key in (("", "errors"), ("no retry: ", "refusals")):
        now = figures.get("client", {}).get(key, {})
        then = (before or {}).get("client", {}).get(key, {})
        if now or then:
            yield "\n"
        for name in sorted({*now, *then}, key=lambda name: -now.get(name, 0)):
            count, earlier = now.get(name, 0), then.get(name, 0)
            yield _line(f"{title}{name}", f"{count:,}", f"{earlier:,}" if before else None, ratio(earlier, count))


def _bar_lines(latency: LatencyHistogram, before: Mapping[str, Any] | None) -> Iterator[str]:
    now = dict(bars(latency))
    if not now:
        return
    then = {} if before is None else dict(bars(LatencyHistogram.from_document(before["histograms"]["latency"])))
    yield "\nlatency of the good answers\n"
    for end in sorted({*now, *then}):
        count = now.get(end, 0)
        bar = "#" * -(-_BAR * count // max(now.values()))
        earlier = "" if before is None else f", before {then.get(end, 0):,}"
        yield f"  up to {duration(end):>7} {bar:{_BAR}} {count:,}{earlier}\n"


def _notes(figures: Mapping[str, Any], before: Mapping[str, Any] | None) -> Iterator[str]:
    if figures["interrupted"]:
        yield f"The run was interrupted after {figures['seconds']:.1f} s."
    if before is None:
        return
    settings, earlier = figures["settings"], before.get("settings", {})
    for name in _SETTINGS_THAT_MATTER:
        if settings.get(name) != earlier.get(name):
            yield f"The earlier run had another {name}: {earlier.get(name)}, and not {settings.get(name)}."
    if not before.get("valid", True):
        yield "The earlier run was invalid."
