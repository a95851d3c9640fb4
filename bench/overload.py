"""Goodput of a real server under overload: one worker, 50 ms per request, callers who hang up after a second.

No deadline headers, no tuning. Prints a Markdown table after about half a minute. The capacity is measured first, on
the same server, by connections that send one request after the other.
"""

from __future__ import annotations

import asyncio
import os
import platform
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = """
import time
from penstock import App

app = App(__name__)

@app.endpoint("/work", workers=1)
def work() -> str:
    time.sleep(0.05)
    return "done"
"""
HOST = "127.0.0.1"
REQUEST = b"POST /work HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n"
PATIENCE = 1.0
NOMINAL = 20.0  # requests per second, if the handler were the only cost


@dataclass
class Tally:
    """The responses that the callers received.

    Parameters
    ----------
    end:
        The time of ``perf_counter`` at which the last request is sent.
    in_time:
        The number of 200s before ``end``. Later ones do not count as goodput, which could otherwise exceed the
        capacity.
    statuses:
        The number of responses by status; 0 is a hang-up.
    times:
        The latency of each 200, in seconds.
    """

    end: float = float("inf")
    in_time: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Return a quantile of the latencies."""
        return sorted(self.times)[int(len(self.times) * share)] if self.times else float("nan")


async def ask(port: int, tally: Tally) -> None:
    """Send one request on a new connection, and hang up after ``PATIENCE`` seconds."""
    start = time.perf_counter()
    status, writer = 0, None
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(REQUEST)
            status = int((await reader.readuntil(b"\r\n\r\n")).split(maxsplit=2)[1])
    except (TimeoutError, OSError, EOFError):
        pass
    finally:
        if writer is not None:
            writer.close()
    tally.statuses[status] += 1
    if status == 200:
        tally.in_time += time.perf_counter() < tally.end
        tally.times.append(time.perf_counter() - start)


async def measure_capacity(port: int, seconds: float) -> float:
    """Return the requests per second of four connections that send without a pause."""
    tally = Tally()
    end = time.perf_counter() + seconds

    async def one() -> None:
        while time.perf_counter() < end:
            await ask(port, tally)

    start = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(4)))
    return tally.statuses[200] / (time.perf_counter() - start)


async def offer(port: int, rate: float, seconds: float, seed: int = 1) -> Tally:
    """Send requests at random times, at this mean rate, regardless of the state of earlier requests."""
    at = time.perf_counter()
    dice, tally = random.Random(seed), Tally(end=at + seconds)
    async with asyncio.TaskGroup() as group:
        while (at := at + dice.expovariate(rate)) < tally.end:
            await asyncio.sleep(at - time.perf_counter())
            group.create_task(ask(port, tally))
    return tally


@contextmanager
def served(**environment: str) -> Iterator[int]:
    """Serve the app during the block; yield the port."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "overload_app.py"
        path.write_text(SOURCE)
        command = [sys.executable, "-m", "penstock_cli", "serve", str(path), "--host", HOST, "--port", str(port)]
        process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.DEVNULL)
        try:
            asyncio.run(_wait_ready(port))
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


async def _wait_ready(port: int) -> None:
    for _ in range(300):
        tally = Tally()
        await ask(port, tally)
        if tally.statuses[200]:
            return
        await asyncio.sleep(0.1)
    raise SystemExit("the server did not become ready within 30 s")


def row(discipline: str, factor: float, seconds: float) -> str:
    """Measure one server under one load; return a row of the table."""
    with served(PENSTOCK_OVERLOAD_DISCIPLINE=discipline) as port:
        capacity = asyncio.run(measure_capacity(port, 3.0))
        tally = asyncio.run(offer(port, factor * NOMINAL, seconds))
    answers = tally.in_time
    return (
        f"| {discipline} | {factor:g} x | {capacity:.2f}/s | {answers / seconds:.2f}/s "
        f"| {100 * answers / seconds / capacity:.1f} % | {100 * answers / seconds / NOMINAL:.1f} % "
        f"| {tally.percentile(0.5):.3f} s | {tally.percentile(0.99):.3f} s "
        f"| {tally.statuses[503]} | {tally.statuses[0]} |"
    )


def main() -> None:
    """Measure the default discipline, or the ones named on the command line."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 15.0
    disciplines = sys.argv[2].split(",") if len(sys.argv) > 2 else ["adaptive"]
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {seconds:g} s each\n")
    print("| discipline | offered | capacity | answers | of the capacity | of 20/s | p50 | p99 | 503 | hung up |")
    print("|---" * 10 + "|")
    for discipline in disciplines:
        for factor in (2.0, 10.0):
            print(row(discipline, factor, seconds), flush=True)


if __name__ == "__main__":
    main()
