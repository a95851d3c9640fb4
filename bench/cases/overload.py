"""Overload: one worker, 50 ms per job, callers who arrive at random and hang up after a second."""

from __future__ import annotations

import asyncio
from pathlib import Path

from harness import Case, Figures, Pace
from http_client import as_json
from open_loop import NO_ANSWER, REFUSED, Volley, offer
from plots import lines as plot
from results import Column, Result
from servers import Server

JOB_SECONDS = 0.05
CAPACITY = 1 / JOB_SECONDS
PATIENCE = 1.0
FACTORS = (0.5, 1.0, 2.0, 5.0, 10.0)


def describe(volley: Volley) -> Figures:
    """Return the goodput and the latencies of a run."""
    end = volley.begin + volley.seconds
    in_time = len(volley.answered(by=end))  # later answers are left out, or goodput could exceed the capacity
    statuses = volley.statuses()
    offered = len(volley.shots)
    refused = sum(number for status, number in statuses.items() if status not in (200, NO_ANSWER))
    return {
        "offered": offered / volley.seconds,
        "goodput": in_time / volley.seconds,
        "share": 100 * in_time / min(offered, CAPACITY * volley.seconds),
        "p50": volley.latency(0.5) * 1000,
        "p99": volley.latency(0.99) * 1000,
        "refused": 100 * refused / offered,
        "closed": 100 * statuses[REFUSED] / offered,
        "gave_up": 100 * statuses[NO_ANSWER] / offered,
        "generator_late": volley.lateness(0.99) * 1000,
    }


def measure(server: Server, pace: Pace, factor: float) -> Figures:
    """Offer a multiple of what one worker can do, from an open-loop generator, to a fresh server."""
    request = server.request(as_json({"seconds": JOB_SECONDS}))
    with server.client() as client:
        for _ in range(5):
            client.ask(request)
    rate, seconds = factor * CAPACITY, max(6, 3 * pace.seconds)
    return describe(asyncio.run(offer(server.port, request, rate=rate, seconds=seconds, patience=PATIENCE)))


CASE = Case(name="overload", endpoint="sleep", measure=measure, parameters=FACTORS, most_rounds=2)


def section(result: Result, folder: Path) -> list[str]:
    """Return the part of the page, and draw the goodput."""
    goodput = {
        result.title(name): [result.median(name, "goodput", factor) for factor in FACTORS] for name in result.names
    }
    picture = plot("Answers per second in time; one worker does 20", "offered load", FACTORS, goodput)
    (folder / "benchmarks-overload.svg").write_text(picture, encoding="utf-8")
    lines = [
        "## Overload",
        "",
        (
            f"One worker takes {JOB_SECONDS * 1000:.0f} ms per job, so it can do {CAPACITY:.0f} per second. Callers "
            f"arrive at random, send no deadline, and hang up after {PATIENCE:g} s. Nothing is tuned. Open loop; a "
            "fresh server for each load."
        ),
        "",
        "![Goodput under overload](benchmarks-overload.svg)",
    ]
    for heading, key, form in (
        ("goodput, answers/s", "goodput", "{:.1f}"),
        ("p50 of the answers, ms", "p50", "{:,.0f}"),
        ("p99 of the answers, ms", "p99", "{:,.0f}"),
        ("refused, %", "refused", "{:.0f}"),
        ("gave up, %", "gave_up", "{:.0f}"),
    ):
        lines += ["", *result.across(Column(heading, key, form), FACTORS, "{:g} x")]
    return [*lines, "", *generator(result.data.get("generator"))]


def generator(found: Figures | None) -> list[str]:
    """Return what is known about the load generator."""
    if not found:
        return []
    most = f"up to {found['most']:,.0f} requests/s" if found["most"] else "no higher rate"
    return [
        (
            f"The generator was checked in the same run against a server that answers after {found['delay']:.0f} "
            f"ms: asked for {found['asked']:.0f} requests/s, it sent {found['rate']:.0f}, 99 of 100 within "
            f"{found['late']:.1f} ms of their time, and saw a p50 of {found['p50']:.1f} ms and a p99 of "
            f"{found['p99']:.1f} ms. It kept {most} with 99 of 100 requests within 5 ms of "
            "their time."
        ),
    ]
