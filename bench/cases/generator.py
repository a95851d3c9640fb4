"""The load generator itself, against a server whose delay is known."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from harness import Figures
from http_client import as_json, message
from open_loop import headroom, offer
from servers import tool

KNOWN = Path(__file__).resolve().parent.parent / "known_server.py"
DELAY, RATE, SECONDS = 0.05, 200.0, 3.0


def generator_figures() -> Figures:
    """Measure the rate that it keeps, its own lateness, the latencies that it sees, and its highest rate."""
    request = message("/", as_json({}))
    with tool([sys.executable, str(KNOWN), str(DELAY)], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        volley = asyncio.run(offer(port, request, rate=RATE, seconds=SECONDS, patience=1.0))
        most = asyncio.run(headroom(port, request, RATE))
    return {
        "delay": DELAY * 1000,
        "asked": RATE,
        "rate": len(volley.shots) / SECONDS,
        "late": volley.lateness(0.99) * 1000,
        "p50": volley.latency(0.5) * 1000,
        "p99": volley.latency(0.99) * 1000,
        "most": most,
    }
