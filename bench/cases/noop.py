"""The no-op: what a request costs when the handler computes ``input**2``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from closed_loop import closed_loop
from harness import Case, Figures, Pace
from http_client import as_json
from plots import bars
from results import Column, Result, times
from servers import Server

NUMBER = as_json({"input": 4.0})


def measure(server: Server, pace: Pace, _: Any) -> Figures:
    """Measure rate, latency and CPU at 1 and at 64 connections, then memory, then the CPU without requests."""
    closed_loop(server, NUMBER, connections=8, seconds=1)
    figures: Figures = {}
    for connections in (1, 64):
        load = closed_loop(server, NUMBER, connections=connections, seconds=pace.seconds)
        found = {"rate": load.rate, "p50": load.p50, "p99": load.p99, "cpu": load.cpu, "failed": load.failed}
        figures |= {f"{key}_{connections}": value for key, value in found.items()}
    figures["memory"] = server.memory_mib()
    figures["processes"] = len(server.pids())
    time.sleep(0.5)
    begin, before = time.perf_counter(), server.fine_cpu_seconds()
    time.sleep(pace.seconds)
    figures["idle"] = (server.fine_cpu_seconds() - before) / (time.perf_counter() - begin) * 100
    return figures


CASE = Case(name="noop", endpoint="square", measure=measure)


def section(result: Result, folder: Path) -> list[str]:
    """Return the part of the page, and draw the requests/s."""
    rates = {result.title(name): result.median(name, "rate_64") for name in result.names}
    (folder / "benchmarks-noop.svg").write_text(bars("No-op, 64 connections: requests/s", rates), encoding="utf-8")
    lines = ["## The no-op", "", "A JSON body with one number, and its square. Closed loop.", ""]
    for connections in (64, 1):
        columns = [
            Column(f"requests/s, {connections} connection{'s' * (connections > 1)}", f"rate_{connections}"),
            Column("p50, us", f"p50_{connections}"),
            Column("p99, us", f"p99_{connections}"),
            Column("CPU per request, all processes, us", f"cpu_{connections}", "{:,.1f}"),
            Column("failed", f"failed_{connections}"),
        ]
        lines += [*result.table(columns), ""]
    lines += ["![No-op, 64 connections: requests/s](benchmarks-noop.svg)", ""]
    lines += result.table([
        Column("memory, MiB", "memory"),
        Column("processes", "processes"),
        Column("CPU without requests, % of a core", "idle", "{:.2f}"),
    ])  # fmt: skip
    lines += ["", "Memory is that of all processes; pages that they share are counted once."]
    for other in ("bare", "mosec"):
        rate, cpu, p50 = (result.ratio(key, "penstock", other) for key in ("rate_64", "cpu_64", "p50_1"))
        if rate is not None:
            lines.append(
                f"Compared with {result.title(other)}, Penstock answers {times(rate)} the requests/s at 64 "
                f"connections, with {times(cpu)} the CPU time per request; its p50 at one connection is "
                f"{times(p50)} as long."
            )
    return lines
