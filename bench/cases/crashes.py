"""A worker is killed with SIGKILL: under load, and alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import statistics
import time
from pathlib import Path
from typing import Any

from harness import Case, Figures, Pace
from http_client import as_json
from open_loop import offer
from results import Column, Result
from servers import Server

RATE, SECONDS, KILL_AT, PATIENCE = 50.0, 8.0, 2.0, 5.0
JOB = as_json({"seconds": 0.005})
READY_PATIENCE, ATTEMPT = 20.0, 0.2


def worker_of(server: Server) -> int:
    """Return the ID of the process that runs the handler: its answer is its ID."""
    with server.client() as client:
        return int(client.ask(server.cheap()).body)


async def kill_under_load(server: Server) -> Figures:
    """Offer 50 requests per second, kill the worker after 2 s, and count the requests without an answer."""
    victim = worker_of(server)
    request = server.request(JOB)
    load = asyncio.create_task(offer(server.port, request, rate=RATE, seconds=SECONDS, patience=PATIENCE))
    await asyncio.sleep(KILL_AT)
    killed = time.perf_counter()
    os.kill(victim, signal.SIGKILL)
    volley = await load
    after = [shot.done - killed for shot in volley.answered() if int(shot.body or 0) != victim]
    lost = [shot for shot in volley.shots if shot.status != 200]
    return {
        "lost": len(lost),
        "recovery": min(after) * 1000 if after else f"none in {SECONDS - KILL_AT:g} s",
        "slowest": max((shot.latency for shot in volley.answered()), default=float("nan")) * 1000,
    }


def kill_to_ready(server: Server) -> float | str:
    """Kill the worker, send a request at once, and again after an error or 0.2 s; return the ms until an answer."""
    victim = worker_of(server)
    begin = time.perf_counter()
    os.kill(victim, signal.SIGKILL)
    while time.perf_counter() < begin + READY_PATIENCE:
        with contextlib.suppress(OSError, ValueError), server.client(ATTEMPT) as client:
            answer = client.ask(server.cheap())
            if answer.status == 200 and int(answer.body) != victim:
                return (time.perf_counter() - begin) * 1000
        time.sleep(0.001)
    return f"none in {READY_PATIENCE:g} s"


def measure(server: Server, _pace: Pace, _: Any) -> Figures:
    """Kill under load, then three times without."""
    figures = asyncio.run(kill_under_load(server))
    times: list[float] = []
    for _number in range(3):
        found: float | str
        try:
            found = kill_to_ready(server)
        except OSError:
            found = "the server is gone"
        if isinstance(found, str):
            return figures | {"ready": found}
        times.append(found)
    return figures | {"ready": statistics.median(times)}


CASE = Case(name="crashes", endpoint="sleep", measure=measure, most_rounds=2)


def section(result: Result, _folder: Path) -> list[str]:
    """Return the part of the page."""
    lines = [
        "## A worker is killed",
        "",
        (
            f"SIGKILL to the process that runs the handler, {KILL_AT:g} s into {SECONDS:g} s of {RATE:.0f} requests "
            f"per second, open loop. A request is lost if it has no answer with 200 within {PATIENCE:g} s. Then, "
            "without load, a request is sent right after a kill, and again after an error, or after 0.2 s: the "
            "time is that until an answer."
        ),
        "",
    ]
    return lines + result.table([
        Column(f"lost, of {RATE * SECONDS:.0f}", "lost"),
        Column("kill to the first answer of a new process, ms", "recovery"),
        Column("slowest answer, ms", "slowest"),
        Column("without load: kill to answer, ms", "ready"),
    ])  # fmt: skip
