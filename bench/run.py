"""Penstock next to bare Falcon, in one run. Read the ratios first: they vary less than the figures of a noisy machine.

Needs wrk for the load (the Debian package of that name). Prints a Markdown table after about a minute and a half.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from client import Client
from servers import Server, bare, penstock

ROUNDS = 5
_SCRIPT = 'wrk.method="POST"; wrk.body=\'{"input": 4.0}\'; wrk.headers["Content-Type"]="application/json"'
_UNITS = {"us": 1.0, "ms": 1000.0, "s": 1e6}


def wrk(server: Server, connections: int, seconds: float, script: str) -> tuple[float, float]:
    """Load a server; return the requests per second and the median latency in microseconds."""
    url = f"http://127.0.0.1:{server.port}/square"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "-s", script, url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text:
        raise SystemExit(f"{server.name} answered errors:\n{text}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    median = re.search(r"50%\s+([\d.]+)(us|ms|s)", text)
    assert rate is not None, text
    assert median is not None, text
    return float(rate[1]), float(median[1]) * _UNITS[median[2]]


def throughput(server: Server, script: str) -> tuple[float, float]:
    """Return the requests per second at 64 connections, and the CPU microseconds of all processes per request."""
    before = server.cpu_seconds()
    rate, _ = wrk(server, 64, 3, script)
    return rate, (server.cpu_seconds() - before) / (rate * 3) * 1e6


def interleaved(servers: list[Server], measure: Callable[[Server], tuple[float, float]]) -> dict[str, list[float]]:
    """Measure in turns, so that other load on the machine affects all alike; return the medians of each server."""
    seen: dict[str, list[tuple[float, float]]] = {server.name: [] for server in servers}
    for _ in range(ROUNDS):
        for server in servers:
            seen[server.name].append(measure(server))
    return {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in seen.items()}


def idle_cpu(server: Server) -> float:
    """Return the CPU use of a server without requests, in per cent of a core."""
    before = server.cpu_seconds()
    time.sleep(5)
    return (server.cpu_seconds() - before) / 5 * 100


def chunks_per_second(server: Server) -> float:
    """Return the chunks per second of one stream, the best of three."""
    rates = []
    for _ in range(3):
        client = Client(server.port)
        start = time.perf_counter()
        client.send("/count", {"n": 100_000})
        rates.append(client.count_lines() / (time.perf_counter() - start))
        client.close()
    return max(rates)


def worker_pid(pool: str, port: int) -> int:
    """Return the process ID of a pool's only worker."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/status", timeout=5) as answer:
        pid: int = json.load(answer)["pools"][pool]["workers"][0]["pid"]
        return pid


def kill_to_answer(server: Server) -> float:
    """Return the milliseconds from a kill -9 of the only worker to the answer of a request sent right after it."""
    times = []
    for _ in range(ROUNDS):
        client = Client(server.port)
        client.ask("/square", {"input": 1})  # a finished attempt, so that the restarts are not repeated failures
        pid = worker_pid("default", server.port)
        os.kill(pid, signal.SIGKILL)
        status, seconds = client.ask("/square", {"input": 4})
        assert status == 200, status
        times.append(seconds * 1000)
        client.close()
    return statistics.median(times)


@contextmanager
def background_load(server: Server, script: str) -> Iterator[None]:
    """Keep 16 connections busy during the block."""
    url = f"http://127.0.0.1:{server.port}/square"
    process = subprocess.Popen(["wrk", "-t1", "-c16", "-d60s", "-s", script, url], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def lateness(server: Server, script: str) -> list[float]:
    """Return by how many milliseconds the 504 is later than the execution deadline of 200 ms under load, sorted."""
    times = []
    with background_load(server, script):
        client = Client(server.port)
        for _ in range(50):
            status, seconds = client.ask("/sleep", {"seconds": 5})
            assert status == 504, status
            times.append((seconds - 0.2) * 1000)
        client.close()
    return sorted(times)


def hang_up_to_free(server: Server) -> list[float]:
    """Return the milliseconds from a hang-up during a Python loop to the answer of the next request, sorted."""
    times = []
    for _ in range(20):
        leaver, stayer = Client(server.port), Client(server.port)
        leaver.send("/spin", {"seconds": 10})
        time.sleep(0.05)  # until it runs
        stayer.send("/spin", {"seconds": 0})
        time.sleep(0.02)  # until it is queued
        start = time.perf_counter()
        leaver.close()
        assert stayer.receive() == 200
        times.append((time.perf_counter() - start) * 1000)
        stayer.close()
    return sorted(times)


def percentile(values: list[float], share: float) -> float:
    """Return a quantile of sorted values."""
    return values[min(len(values) - 1, int(len(values) * share))]


def main() -> None:
    """Measure and print the table."""
    if shutil.which("wrk") is None:
        raise SystemExit("bench needs wrk: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        script = str(Path(folder) / "post.lua")
        Path(script).write_text(_SCRIPT)
        with bare() as falcon, penstock() as ours:
            rows = measure(falcon, ours, script)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}\n")
    print("| what | bare Falcon | Penstock | ratio |\n|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def measure(falcon: Server, ours: Server, script: str) -> list[tuple[str, str, str, str]]:
    """Measure everything; return the rows of the table."""
    rows = []

    def compare(what: str, theirs: float, own: float, form: str = "{:,.0f}") -> None:
        rows.append((what, form.format(theirs), form.format(own), f"{own / theirs:.2f}"))

    load = interleaved([falcon, ours], lambda server: throughput(server, script))
    compare("requests/s at 64 connections", load[falcon.name][0], load[ours.name][0])
    compare("CPU per request, all processes, us", load[falcon.name][1], load[ours.name][1], "{:.1f}")
    alone = interleaved([falcon, ours], lambda server: wrk(server, 1, 2, script))
    compare("p50 at 1 connection, us", alone[falcon.name][1], alone[ours.name][1])
    compare("idle CPU, % of a core", max(idle_cpu(falcon), 0.01), idle_cpu(ours), "{:.2f}")

    def state(what: str, value: str) -> None:
        rows.append((what, "-", value, "-"))

    state("chunks/s of one stream", f"{chunks_per_second(ours):,.0f}")
    state("kill -9 of the worker -> next answer, ms", f"{kill_to_answer(ours):.1f}")
    late = lateness(ours, script)
    state("504 later than its deadline under load, ms: p50 / p99", f"{percentile(late, 0.5):.1f} / {late[-1]:.1f}")
    free = hang_up_to_free(ours)
    state("hang-up -> slot free, Python loop, ms: p50 / max", f"{percentile(free, 0.5):.1f} / {free[-1]:.1f}")
    return rows


if __name__ == "__main__":
    sys.exit(main())
