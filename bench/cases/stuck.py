"""Behind a stuck request: each server is configured with a deadline of one second, and a handler sleeps for 20."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness import Case, Figures, Pace
from http_client import Client, as_json
from results import Column, Result
from servers import Server

DEADLINE, STUCK, PATIENCE = 1.0, 20.0, 10.0


def outcome(client: Client, request: bytes) -> tuple[int | str, float]:
    """Send a request and wait for ``PATIENCE`` seconds at most; return the status and the seconds it took."""
    begin = time.perf_counter()
    try:
        return client.ask(request)[::2]
    except TimeoutError:
        return f"no answer in {PATIENCE:g} s", time.perf_counter() - begin
    except (OSError, ValueError) as error:
        return f"no answer ({type(error).__name__})", time.perf_counter() - begin


def measure(server: Server, _pace: Pace, _: Any) -> Figures:
    """Measure when the stuck request is answered, and when the one behind it is."""
    with server.client(PATIENCE) as stuck, server.client(PATIENCE) as behind, ThreadPoolExecutor(1) as thread:
        first = thread.submit(outcome, stuck, server.request(as_json({"seconds": STUCK})))
        time.sleep(0.1)
        status, seconds = outcome(behind, server.cheap())
        stuck_status, stuck_seconds = first.result()
    return {
        "stuck_status": str(stuck_status),
        "stuck_late": (stuck_seconds - DEADLINE) * 1000 if isinstance(stuck_status, int) else "-",
        "status": str(status),
        "seconds": seconds if isinstance(status, int) else "-",
    }


CASE = Case(name="stuck", endpoint="sleep", measure=measure, options={"deadline": DEADLINE}, most_rounds=2, limit=60)


def section(result: Result, _folder: Path) -> list[str]:
    """Return the part of the page."""
    lines = [
        "## Behind a stuck request",
        "",
        (
            f"A handler sleeps for {STUCK:g} s; the server is configured with a deadline of {DEADLINE:g} s, if it "
            "has one. A second request, which needs no time, arrives 0.1 s later."
        ),
        "",
    ]
    return lines + result.table([
        Column("answer to the stuck one", "stuck_status"),
        Column("after its deadline, ms", "stuck_late", "{:,.1f}"),
        Column("answer to the one behind", "status"),
        Column("after, s", "seconds", "{:.2f}"),
    ])  # fmt: skip
