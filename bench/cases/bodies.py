"""Large bodies: the handler returns the length of its bytes."""

from __future__ import annotations

import os
from pathlib import Path

from closed_loop import closed_loop
from harness import Case, Figures, Pace
from results import Column, Result
from servers import Server

KB_100, MB_5 = "100 KB", "5 MB"
SIZES = {KB_100: (100_000, 8), MB_5: (5_000_000, 2)}


def measure(server: Server, pace: Pace, size: str) -> Figures:
    """Measure the throughput of uploads of one size: 8 connections for the small ones, 2 for the large ones."""
    length, connections = SIZES[size]
    payload = server.file(os.urandom(length))
    closed_loop(server, payload, connections=connections, seconds=1)
    load = closed_loop(server, payload, connections=connections, seconds=pace.seconds)
    return {
        "rate": load.rate,
        "throughput": load.rate * length / 1e6,
        "p50": load.p50 / 1000,
        "p99": load.p99 / 1000,
        "cpu": load.cpu / 1000,
        "failed": load.failed,
    }


CASE = Case(name="bodies", endpoint="size", measure=measure, parameters=tuple(SIZES), most_rounds=3)


def section(result: Result, _folder: Path) -> list[str]:
    """Return the part of the page."""
    lines = [
        "## Large bodies",
        "",
        (
            "An upload, and its length as the answer. Closed loop, 8 connections for 100 KB, 2 for 5 MB. A failed "
            "request is one whose connection was closed before or instead of its response, or whose status is not "
            "200."
        ),
    ]
    for size in SIZES:
        columns = [
            Column(f"{size}: requests/s", "rate"),
            Column("MB/s", "throughput"),
            Column("p50, ms", "p50", "{:,.1f}"),
            Column("p99, ms", "p99", "{:,.1f}"),
            Column("CPU per request, ms", "cpu", "{:,.2f}"),
            Column("failed", "failed"),
        ]
        lines += ["", *result.table(columns, size)]
    return lines
