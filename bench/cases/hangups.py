"""Hang-ups, and whether the work stops: a caller leaves while the handler computes, or while it streams."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cases.stuck import outcome
from harness import Case, Figures, Pace
from http_client import Client, as_json
from results import Column, Result
from servers import Server

LOOP_SECONDS, CHUNKS, PATIENCE = 4.0, 3_000_000, 10.0
WORK = {"loop": {"seconds": LOOP_SECONDS}, "count": {"n": CHUNKS}}


def leave(client: Client, request: bytes) -> None:
    """Send a request, read what arrives for 0.3 s, and close the connection."""
    client.send(request)
    client.sock.settimeout(0.05)
    end = time.perf_counter() + 0.3
    while time.perf_counter() < end:
        try:
            client.sock.recv(1 << 18)
        except TimeoutError:
            continue
    client.close()


def measure(server: Server, _pace: Pace, endpoint: str) -> Figures:
    """Hang up, then measure when the next request is answered, and the CPU time of the second that follows."""
    with server.client(PATIENCE) as stayer, ThreadPoolExecutor(1) as thread:
        leave(server.client(PATIENCE), server.request(as_json(WORK[endpoint])))
        answer = thread.submit(outcome, stayer, server.cheap())
        time.sleep(0.1)
        before = server.fine_cpu_seconds()
        time.sleep(1.0)
        busy = server.fine_cpu_seconds() - before
        status, seconds = answer.result()
    return {"next": seconds * 1000 if status == 200 else str(status), "busy": 100 * busy}


CASE = Case(name="hangups", endpoint="", measure=measure, parameters=tuple(WORK), most_rounds=2, limit=90)


def section(result: Result, _folder: Path) -> list[str]:
    """Return the part of the page."""
    lines = [
        "## Hang-ups",
        "",
        (
            "A caller leaves after 0.3 s. The next request needs no time: if it is answered at once, the worker "
            "has stopped, or has another thread for it. The CPU time of the second after the hang-up shows which."
        ),
    ]
    for endpoint, what in (
        ("loop", f"a Python loop of {LOOP_SECONDS:g} s"),
        ("count", f"a stream of {CHUNKS:,} chunks"),
    ):
        columns = [
            Column(f"left during {what}: next answer after, ms", "next"),
            Column("CPU afterwards, % of a core", "busy"),
        ]
        lines += ["", *result.table(columns, endpoint)]
    return lines
