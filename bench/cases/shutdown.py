"""SIGTERM under load, and the requests that are lost."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

from harness import Case, Figures, Pace
from http_client import as_json
from open_loop import REFUSED, burst, offer
from results import Column, Result
from servers import Server

RATE, SECONDS, STOP_AT, PATIENCE, EXIT_SECONDS = 40.0, 4.0, 2.0, 10.0, 30.0
BURST, BURST_SECONDS = 10, 0.03  # so that some are in flight
JOB = as_json({"seconds": 0.02})


async def stop_under_load(server: Server) -> Figures:
    """Offer 40 jobs of 20 ms per second, stop the server after 2 s, and sort the requests by what became of them."""
    request = server.request(JOB)
    load = asyncio.create_task(offer(server.port, request, rate=RATE, seconds=SECONDS, patience=PATIENCE))
    await asyncio.sleep(STOP_AT)
    more = asyncio.create_task(burst(server.port, request, BURST, PATIENCE))
    await asyncio.sleep(BURST_SECONDS)
    stopped = time.perf_counter()
    server.process.send_signal(signal.SIGTERM)
    ended: float | str = f"no end in {EXIT_SECONDS:g} s"
    while time.perf_counter() < stopped + EXIT_SECONDS:
        if server.process.poll() is not None:
            ended = time.perf_counter() - stopped
            break
        await asyncio.sleep(0.01)
    left = len(server.living_pids()) if isinstance(ended, float) else 0
    volley = await load
    volley.shots += (await more).shots
    before = [shot for shot in volley.shots if shot.planned < stopped]
    after = [shot for shot in volley.shots if shot.planned >= stopped]
    return {
        "in_flight": sum(shot.done > stopped for shot in before),
        "lost_before": sum(shot.status != 200 for shot in before),
        "answered_after": sum(shot.status == 200 for shot in after),
        "unavailable_after": sum(shot.status > 200 for shot in after),
        "refused_after": sum(shot.status == REFUSED for shot in after),
        "lost": sum(shot.status == 0 for shot in volley.shots) + sum(shot.status not in {200, 0} for shot in before),
        "lost_after": sum(shot.status == 0 for shot in after),
        "exit": ended,
        "left": left,
    }


def measure(server: Server, _pace: Pace, _: Any) -> Figures:
    """Run it once."""
    return asyncio.run(stop_under_load(server))


CASE = Case(name="shutdown", endpoint="sleep", measure=measure, most_rounds=3)


def section(result: Result, _folder: Path) -> list[str]:
    """Return the part of the page."""
    lines = [
        "## SIGTERM under load",
        "",
        (
            f"{RATE:.0f} jobs of 20 ms per second, each on a new connection; SIGTERM to the main process after "
            f"{STOP_AT:g} s, with {BURST} more on their way, so that some are in flight. A request that could not "
            "connect, or that was refused with a status, may go elsewhere. A lost one has no answer."
        ),
        "",
    ]
    return lines + result.table([
        Column("sent before it: in flight", "in_flight"),
        Column("of these lost", "lost_before"),
        Column("sent after it: answered", "answered_after"),
        Column("refused", "unavailable_after"),
        Column("could not connect", "refused_after"),
        Column("lost", "lost_after"),
        Column("main process ends after, s", "exit", "{:.2f}"),
        Column("processes that it leaves running", "left"),
    ])  # fmt: skip
