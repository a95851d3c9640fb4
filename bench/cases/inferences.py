"""Inferences: a small request of the Open Inference Protocol, as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from closed_loop import closed_loop
from contenders import FASTAPI, LITSERVE, MLSERVER, PENSTOCK
from harness import Case, Figures, Pace
from http_client import as_json
from results import Column, Result, times
from servers import IRIS, Server


def measure(server: Server, pace: Pace, _: Any) -> Figures:
    """Measure rate, latency and CPU at 64 connections."""
    closed_loop(server, as_json(IRIS), connections=8, seconds=1)
    load = closed_loop(server, as_json(IRIS), connections=64, seconds=pace.seconds)
    return {"rate": load.rate, "p50": load.p50, "p99": load.p99, "cpu": load.cpu, "failed": load.failed}


CASE = Case(
    name="infer",
    endpoint="v2/models/iris/infer",
    measure=measure,
    contenders=(PENSTOCK, MLSERVER, LITSERVE, FASTAPI),
)


def section(result: Result, _folder: Path) -> list[str]:
    """Return the part of the page."""
    lines = [
        "## Inferences",
        "",
        (
            "A request of the Open Inference Protocol: four numbers as JSON, and one in the response. Penstock and "
            "MLServer speak the protocol; with LitServe and FastAPI, the handler reads and writes the JSON itself, and "
            "checks nothing. FastAPI computes in its HTTP process. Closed loop, 64 connections."
        ),
        "",
    ]
    lines += result.table([
        Column("requests/s", "rate"),
        Column("p50, us", "p50"),
        Column("p99, us", "p99"),
        Column("CPU per request, all processes, us", "cpu"),
        Column("failed", "failed"),
    ])  # fmt: skip
    lines.append("")
    ratios = [(other, result.ratio("rate", "penstock", other)) for other in ("mlserver", "litserve", "fastapi")]
    found = [f"{times(ratio)} {result.title(other)}'s" for other, ratio in ratios if ratio is not None]
    if found:
        lines.append(f"Penstock's rate is {', '.join(found)}.")
    return lines
