"""Batching: Magika, a small network that runs on the CPU, behind HTTP and without it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from closed_loop import closed_loop
from harness import Case, Figures, Pace
from results import Column, Result
from servers import SAMPLE, Server, tool

OFFLINE = Path(__file__).resolve().parent.parent / "peers" / "magika_offline.py"
CONNECTIONS = 16


def offline(server: Server, seconds: float) -> float:
    """Return the files per second of a loop in a process of its own, in the same environment."""
    command = [server.contender.python, str(OFFLINE), str(SAMPLE), str(seconds)]
    with tool(command, stdout=subprocess.PIPE) as process:
        return float(process.communicate(timeout=seconds + 60)[0])


def measure(server: Server, pace: Pace, _: Any) -> Figures:
    """Measure the loop, then the server at 16 connections, then the loop again."""
    payload = server.item(SAMPLE.read_bytes())
    closed_loop(server, payload, connections=CONNECTIONS, seconds=1)
    before = offline(server, pace.seconds)
    load = closed_loop(server, payload, connections=CONNECTIONS, seconds=pace.seconds)
    after = offline(server, pace.seconds)
    alone = (before + after) / 2
    return {
        "offline": alone,
        "rate": load.rate,
        "share": 100 * load.rate / alone,
        "p50": load.p50 / 1000,
        "p99": load.p99 / 1000,
        "failed": load.failed,
    }


CASE = Case(name="batching", endpoint="identify", measure=measure, most_rounds=3)


def section(result: Result, _folder: Path) -> list[str]:
    """Return the part of the page."""
    lines = [
        "## Batching",
        "",
        (
            f"Magika identifies the type of a file. {CONNECTIONS} connections, closed loop, batches of at most 8 "
            "where the server has them. The offline rate is that of a loop in a process of its own, in the same "
            "environment, right before and after. Magika's network gains nothing from larger batches on a CPU, and "
            "it may use every core, which the server needs as well: the target is 95 % of the offline rate."
        ),
        "",
    ]
    return lines + result.table([
        Column("files/s", "rate"),
        Column("offline", "offline"),
        Column("share, %", "share"),
        Column("p50, ms", "p50", "{:,.1f}"),
        Column("p99, ms", "p99", "{:,.1f}"),
        Column("failed", "failed"),
    ])  # fmt: skip
